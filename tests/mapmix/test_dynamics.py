import os
import signal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lid_mapmix.mapmix import dynamics as dynamics_module
from lid_mapmix.mapmix.dynamics import EpochRecorder, read_dynamics, write_epoch
from lid_mapmix.utils.errors import UserError

UTTERANCES, CLASSES, BATCH = 23, 4, 5
GOLD = np.arange(UTTERANCES) % CLASSES


def epoch_of(seed, utterances=UTTERANCES, classes=CLASSES):
    """Return the order, target classes and softmax rows of one made-up epoch."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(utterances, classes)).astype(np.float32)
    softmax = torch.from_numpy(logits).softmax(-1)
    target_classes = np.arange(utterances) % classes
    return generator.permutation(utterances), target_classes, softmax


def add_in_batches(recorder, order, target_classes, softmax):
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        recorder.add(torch.from_numpy(rows), torch.from_numpy(target_classes[rows]), softmax[rows])


def written(directory, epoch, data, *, digest="f"):
    order, target_classes, softmax = data
    recorder = EpochRecorder(len(target_classes), softmax.shape[1])
    add_in_batches(recorder, order, target_classes, softmax)
    return write_epoch(directory, epoch, recorder, digest)


def test_what_goes_in_comes_out(tmp_path):
    epochs = {number: epoch_of(number) for number in (0, 1, 12)}
    for number, (order, target_classes, softmax) in epochs.items():
        path = written(tmp_path, number, (order, target_classes, softmax))
    assert path.name == "epoch-0012.npz"
    read = read_dynamics(tmp_path, GOLD, CLASSES, "f")
    assert read.epochs.tolist() == [0, 1, 12]
    assert read.incomplete_epochs == ()
    assert read.probabilities.dtype == np.float32
    assert read.correct.dtype == bool
    sums, counts = np.zeros((CLASSES, CLASSES)), np.zeros(CLASSES)
    for row, (_, target_classes, softmax) in enumerate(epochs.values()):
        for utterance in range(UTTERANCES):
            probabilities = softmax[utterance].tolist()
            c = target_classes[utterance]
            assert read.probabilities[row, utterance] == probabilities[c]
            assert read.predictions[row, utterance] == probabilities.index(max(probabilities))
            assert read.correct[row, utterance] == (probabilities.index(max(probabilities)) == c)
            sums[c] += probabilities
            counts[c] += 1
    np.testing.assert_allclose(read.softmax_sums, sums, rtol=1e-12)
    assert read.softmax_counts.tolist() == counts.tolist()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32))
def test_the_order_does_not_matter(tmp_path_factory, seed):
    order, target_classes, softmax = epoch_of(seed)
    sorted_, shuffled = tmp_path_factory.mktemp("sorted"), tmp_path_factory.mktemp("shuffled")
    written(sorted_, 3, (np.arange(UTTERANCES), target_classes, softmax))
    written(shuffled, 3, (order, target_classes, softmax))
    one, other = (read_dynamics(folder, target_classes, CLASSES, "f") for folder in (sorted_, shuffled))
    assert (one.probabilities == other.probabilities).all()
    assert (one.predictions == other.predictions).all()
    assert (one.softmax_counts == other.softmax_counts).all()
    np.testing.assert_allclose(one.softmax_sums, other.softmax_sums, rtol=1e-12)


def test_more_than_256_classes(tmp_path):
    target_classes = np.arange(300)
    recorder = EpochRecorder(300, 300)
    recorder.add(
        target_classes, target_classes, np.roll(np.eye(300, dtype=np.float32), 1, axis=1)
    )  # each answers the next class
    write_epoch(tmp_path, 0, recorder, "f")
    read = read_dynamics(tmp_path, target_classes, 300, "f")
    assert read.predictions[0].tolist() == [*range(1, 300), 0]
    assert not read.correct.any()


@pytest.mark.parametrize("stop", [0, 5, 20])
def test_resume_in_mid_epoch_is_exact(tmp_path, stop):
    order, target_classes, softmax = epoch_of(0)
    straight = written(tmp_path / "straight", 0, (order, target_classes, softmax))
    before = EpochRecorder(UTTERANCES, CLASSES)
    add_in_batches(before, order[:stop], target_classes, softmax)
    state = before.state()
    add_in_batches(before, order[stop:], target_classes, softmax)  # the state is a copy: this must not reach it
    torch.save(state, tmp_path / "state.ckpt")
    after = EpochRecorder(UTTERANCES, CLASSES)
    add_in_batches(after, order[:10], target_classes, softmax)  # restoring replaces what is there
    after.restore(torch.load(tmp_path / "state.ckpt", weights_only=True))
    assert after.count == stop
    assert not after.is_complete
    add_in_batches(after, order[stop:], target_classes, softmax)
    assert after.is_complete
    resumed = write_epoch(tmp_path / "resumed", 0, after, "f")
    assert resumed.read_bytes() == straight.read_bytes()


def test_writing_twice_changes_nothing(tmp_path):
    first = written(tmp_path, 0, epoch_of(0)).read_bytes()
    assert written(tmp_path, 0, epoch_of(0)).read_bytes() == first
    assert len(list(tmp_path.iterdir())) == 1


def test_under_ten_bytes_an_utterance_and_epoch(tmp_path):
    count = 100_000
    recorder = EpochRecorder(count, 2)
    recorder.add(np.arange(count), np.zeros(count, dtype=np.int64), np.full((count, 2), 0.5, dtype=np.float32))
    assert write_epoch(tmp_path, 0, recorder, "f").stat().st_size < 10 * count


@pytest.mark.parametrize("fault", ["missing", "doubled", "half missing"])
def test_incomplete_epoch_is_left_out_and_listed(tmp_path, fault):
    order, target_classes, softmax = epoch_of(0)
    written(tmp_path, 0, (order, target_classes, softmax))
    taken = {"missing": order[1:], "doubled": np.append(order[1:], order[1]), "half missing": order[::2]}[fault]
    written(tmp_path, 1, (taken, target_classes, softmax))
    read = read_dynamics(tmp_path, GOLD, CLASSES, "f")
    assert read.epochs.tolist() == [0]
    assert read.incomplete_epochs == (1,)
    assert read.probabilities.shape == read.correct.shape == (1, UTTERANCES)
    assert read.softmax_counts.sum() == UTTERANCES  # nothing of the incomplete epoch


@settings(max_examples=20)
@given(count=st.integers(1, 5), skip=st.integers(0, 5), keep=st.none() | st.integers(1, 6))
def test_epochs_at_the_start_are_skipped_and_then_so_many_kept(tmp_path_factory, count, skip, keep):
    folder, chosen = tmp_path_factory.mktemp("all"), tmp_path_factory.mktemp("chosen")
    for epoch in range(count):
        written(folder, epoch, epoch_of(epoch))
    expected = list(range(count))[skip:][:keep]
    for epoch in expected:
        written(chosen, epoch, epoch_of(epoch))
    if not expected:
        with pytest.raises(
            UserError, match=f"after the first {skip}, found {count} complete epochs. Lower --skip-first"
        ):
            read_dynamics(folder, GOLD, CLASSES, "f", skip_first=skip, keep_first=keep)
        return
    found = read_dynamics(folder, GOLD, CLASSES, "f", skip_first=skip, keep_first=keep)
    alone = read_dynamics(chosen, GOLD, CLASSES, "f")
    for name, values in vars(alone).items():
        np.testing.assert_array_equal(getattr(found, name), values, err_msg=name)


def test_an_incomplete_epoch_is_none_of_those_skipped(tmp_path):
    recorder = EpochRecorder(UTTERANCES, CLASSES)
    write_epoch(tmp_path, 0, recorder, "f")
    for epoch in (1, 2):
        written(tmp_path, epoch, epoch_of(epoch))
    found = read_dynamics(tmp_path, GOLD, CLASSES, "f", skip_first=1)
    assert (found.epochs.tolist(), found.incomplete_epochs) == ([2], (0,))


def test_no_complete_epoch_says_what_to_do(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError, match=r"found none.*Train the variant datamap"):
            read_dynamics(folder, GOLD, CLASSES, "f")


def test_epochs_of_other_data_are_refused(tmp_path):
    path = written(tmp_path, 0, epoch_of(0), digest="other")
    with pytest.raises(UserError, match=r"epoch-0000.*found dynamics of other data \(other\)"):
        read_dynamics(tmp_path, GOLD, CLASSES, "f")
    with pytest.raises(UserError, match="expected 22 utterances and 4 classes, found others"):
        read_dynamics(tmp_path, GOLD[1:], CLASSES, "other")
    with pytest.raises(UserError, match="expected 23 utterances and 5 classes, found others"):
        read_dynamics(tmp_path, GOLD, CLASSES + 1, "other")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match="damaged"):
        read_dynamics(tmp_path, GOLD, CLASSES, "other")


def test_diverged_training_is_said(tmp_path):
    order, target_classes, softmax = epoch_of(0)
    softmax[3] = np.nan
    written(tmp_path, 0, (order, target_classes, softmax))
    with pytest.raises(UserError, match="diverged"):
        read_dynamics(tmp_path, GOLD, CLASSES, "f")


def test_failure_inside_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = written(tmp_path, 0, epoch_of(0))
    before = path.read_bytes()

    def fail(file, **_):
        file.write(b"half a file")
        raise KeyboardInterrupt

    monkeypatch.setattr(dynamics_module.np, "savez", fail)
    with pytest.raises(KeyboardInterrupt):
        written(tmp_path, 0, epoch_of(1))
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_bytes() == before


def test_kill_inside_write_leaves_no_epoch(tmp_path, monkeypatch):
    recorder = EpochRecorder(UTTERANCES, CLASSES)
    recorder.add(*epoch_of(0))

    def be_killed(file, **_):
        file.write(b"half a file")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(dynamics_module.np, "savez", be_killed)
    child = os.fork()
    if child == 0:
        write_epoch(tmp_path, 0, recorder, "f")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    monkeypatch.undo()
    assert not list(tmp_path.glob("epoch-*"))
    write_epoch(tmp_path, 0, recorder, "f")  # what the kill left behind is in nobody's way
    assert read_dynamics(tmp_path, GOLD, CLASSES, "f").epochs.tolist() == [0]


def test_who_was_not_heard_has_had_its_turn_and_leaves_nothing(tmp_path):
    order, target_classes, softmax = epoch_of(3)
    whole, recorder = EpochRecorder(UTTERANCES, CLASSES), EpochRecorder(UTTERANCES, CLASSES)
    heard = np.arange(UTTERANCES) % 5 != 2
    whole.add(order[heard[order]], target_classes[order][heard[order]], softmax[order][heard[order]])
    recorder.add(order, target_classes[order], softmax[order], heard[order])
    assert recorder.is_complete
    write_epoch(tmp_path, 0, recorder, "f")
    read = read_dynamics(tmp_path, GOLD, CLASSES, "f")
    assert read.incomplete_epochs == ()
    np.testing.assert_array_equal(np.isnan(read.probabilities[0]), ~heard)
    assert not read.correct[0][~heard].any()
    assert (read.predictions[0][~heard] == target_classes[~heard]).all()
    np.testing.assert_array_equal(read.softmax_counts, whole.arrays()["softmax_counts"])
    np.testing.assert_allclose(read.softmax_sums, whole.arrays()["softmax_sums"], rtol=1e-12)
    again = EpochRecorder(UTTERANCES, CLASSES)
    again.restore(recorder.state())
    np.testing.assert_array_equal(again.arrays()["probabilities"], recorder.arrays()["probabilities"])


def test_state_of_other_data_is_refused():
    state = EpochRecorder(24, 4).state()
    with pytest.raises(UserError, match="Resume with the manifest"):
        EpochRecorder(23, 4).restore(state)


def test_an_empty_batch_is_nothing():
    recorder = EpochRecorder(3, 2)
    recorder.add(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros((0, 2), dtype=np.float32))
    assert recorder.count == 0
