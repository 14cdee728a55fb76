import csv
import logging

import numpy as np
import pytest
import torch
from helpers.synthetic import make_corpus, open_split
from lid_mapmix.config.schema import DatamapConfig
from lid_mapmix.mapmix.datamap_files import read_class_similarity, read_datamap
from lid_mapmix.mapmix.dynamics import write_epoch
from lid_mapmix.training import dynamics
from lid_mapmix.training.dynamics import DynamicsRecording, copy_epochs, first_unrecorded
from lid_mapmix.utils.errors import UserError
from lid_mapmix.utils.run_folder import RunFolder
from reference.dynamics import measures_of

COUNT, BATCH = 12, 5


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return open_split(make_corpus(tmp_path_factory.mktemp("recording"), sizes={"train": 3}, seconds=0.1))


def logits_of(epoch, indices):
    """Return what the model says of utterances in an epoch."""
    return torch.stack(
        [torch.randn(4, generator=torch.Generator().manual_seed(100 * epoch + i)) for i in indices.tolist()]
    )


def steps(epoch):
    order = torch.from_numpy(np.random.default_rng(epoch).permutation(COUNT))
    return list(order.split(BATCH))


def record(recording, epoch, batches, *, fresh=True):
    if fresh:
        recording.start_epoch()
    for indices in batches:
        recording.add(
            epoch, indices, torch.from_numpy(recording.split.target_classes)[indices], logits_of(epoch, indices)
        )


def start(folder, data, **config):
    return DynamicsRecording(RunFolder(folder), *data, DatamapConfig(**config))


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_complete_epoch_leaves_a_map(data, tmp_path):
    split, labels = data
    recording = start(tmp_path, data)
    for epoch in range(3):
        record(recording, epoch, steps(epoch))
    assert sorted(path.name for path in recording.folder.dynamics.iterdir()) == [
        f"epoch-000{epoch}.npz" for epoch in range(3)
    ]
    found = read_datamap(tmp_path / "datamap.csv")
    everyone = torch.arange(COUNT)
    softmax = [logits_of(epoch, everyone).softmax(dim=1).numpy() for epoch in range(3)]
    for index in range(COUNT):
        target_classes = split.target_classes[index]
        expected = measures_of(
            [row[index, target_classes] for row in softmax], [row[index].argmax() == target_classes for row in softmax]
        )
        for name, value in expected.items():
            if value is None:
                assert np.isnan(getattr(found, name)[index])
            else:
                assert getattr(found, name)[index] == pytest.approx(value, abs=1e-6), name
        assert found.regions[index] == (
            "easy"
            if expected["confidence"] > 0.6 and expected["variability"] < 0.3
            else "hard"
            if expected["confidence"] < 0.3 and expected["variability"] < 0.2
            else "ambiguous"
        )
    assert {"ambiguous", "hard"} <= set(found.regions)
    class_similarity = [np.mean([row[split.target_classes == c] for row in softmax], axis=(0, 1)) for c in range(4)]
    np.testing.assert_allclose(
        read_class_similarity(tmp_path / "class_similarity.csv", labels.classes), class_similarity, atol=1e-6
    )
    with (tmp_path / "datamap.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["audiopath"] for row in rows] == split.manifest.columns["audiopath"].tolist()
    assert {row["epochs"] for row in rows} == {"3"}


def test_the_regions_are_those_of_the_configuration(data, tmp_path):
    recording = start(tmp_path, data, regions="quantile", easy_fraction=0.5, hard_fraction=0.25)
    record(recording, 0, steps(0))
    found = read_datamap(tmp_path / "datamap.csv")
    assert [(found.regions == name).sum() for name in ("easy", "ambiguous", "hard")] == [6, 3, 3]
    assert found.confidence[found.regions == "easy"].min() > found.confidence[found.regions == "hard"].max()


def test_half_an_epoch_leaves_nothing(data, tmp_path):
    recording = start(tmp_path, data)
    record(recording, 0, steps(0)[:2])
    assert contents(tmp_path) == {}
    with pytest.raises(UserError, match="at least one complete epoch"):
        recording.write_datamap()


def test_half_an_epoch_leaves_the_map_of_those_before(data, tmp_path):
    recording = start(tmp_path, data)
    record(recording, 0, steps(0))
    before = contents(tmp_path)
    record(recording, 1, steps(1)[:2])
    assert contents(tmp_path) == before


@pytest.mark.parametrize("stopped_after", [0, 1, 2])
def test_a_run_resumed_within_an_epoch_leaves_the_same_files(data, tmp_path, stopped_after):
    unbroken = start(tmp_path / "unbroken", data)
    for epoch in range(2):
        record(unbroken, epoch, steps(epoch))
    broken = start(tmp_path / "broken", data)
    record(broken, 0, steps(0))
    record(broken, 1, steps(1)[:stopped_after])
    torch.save(broken.state(), tmp_path / "state.pt")
    # What came after the checkpoint is lost.
    record(broken, 1, steps(1)[stopped_after : stopped_after + 1], fresh=False)
    resumed = start(tmp_path / "broken", data)
    resumed.restore(torch.load(tmp_path / "state.pt", weights_only=True), epoch=1)
    resumed.resume()
    record(resumed, 1, steps(1)[stopped_after:], fresh=False)
    one, other = contents(tmp_path / "unbroken"), contents(tmp_path / "broken")
    assert one.keys() == other.keys() == {"datamap.csv", "class_similarity.csv", *(f"epoch-000{e}.npz" for e in (0, 1))}
    for name in ("datamap.csv", "class_similarity.csv"):
        assert one[name] == other[name]


def test_epochs_beyond_the_checkpoint_are_recorded_anew(data, tmp_path):
    recording = start(tmp_path, data)
    record(recording, 0, steps(0))
    complete = recording.state()
    for epoch in (1, 2, 3):
        record(recording, epoch, steps(epoch))
    resumed = start(tmp_path, data)
    resumed.restore(complete, epoch=0)
    assert len(list(recording.folder.dynamics.iterdir())) == 4, "nothing is touched before the run goes on"
    resumed.resume()
    assert [path.name for path in recording.folder.dynamics.iterdir()] == ["epoch-0000.npz"]


def test_going_on_without_the_epochs_before_is_said(data, tmp_path, caplog):
    recording = start(tmp_path / "one", data)
    for epoch in (0, 1):
        record(recording, epoch, steps(epoch))
    other = start(tmp_path / "other", data)
    other.restore(recording.state(), epoch=1)
    other.resume()
    assert "expected the recorded epochs 0, 1 of the resumed run, found none" in caplog.text


def test_a_map_gone_on_with_elsewhere_has_no_epoch_beyond_the_checkpoint_and_no_false_warning(data, tmp_path, caplog):
    recording = start(tmp_path / "one", data)
    for epoch in (0, 1):
        record(recording, epoch, steps(epoch))
    state = recording.state()
    for epoch in (2, 3):
        record(recording, epoch, steps(epoch))
    other = start(tmp_path / "other", data)
    other.restore(state, epoch=1)
    copy_epochs(RunFolder(tmp_path / "one"), RunFolder(tmp_path / "other"), first_unrecorded(1, state))
    other.resume()
    assert not caplog.text
    assert sorted(contents(tmp_path / "other")) == ["epoch-0000.npz", "epoch-0001.npz"]


def test_an_epoch_recorded_twice_counts_once(data, tmp_path):
    recording = start(tmp_path, data)
    record(recording, 0, steps(0))
    before = contents(tmp_path)
    record(recording, 0, steps(0))
    assert contents(tmp_path)["datamap.csv"] == before["datamap.csv"]


def test_starting_afresh_forgets_the_epochs_of_an_earlier_run(data, tmp_path):
    earlier = start(tmp_path, data)
    for epoch in (0, 1, 2):
        record(earlier, epoch, steps(epoch))
    (earlier.folder.dynamics / "notes.txt").write_text("mine")
    (tmp_path / "datamap.png").touch()
    recording = start(tmp_path, data)
    recording.reset()
    assert sorted(contents(tmp_path)) == ["notes.txt"]
    record(recording, 0, steps(7))
    assert sorted(path.name for path in recording.folder.dynamics.iterdir()) == ["epoch-0000.npz", "notes.txt"]
    assert set(read_datamap(tmp_path / "datamap.csv").epochs.tolist()) == {1}
    start(tmp_path / "empty", data).reset()


def test_the_epochs_of_other_data_are_refused(data, tmp_path):
    record(start(tmp_path / "run", data), 0, steps(0))
    split, labels = data
    others = type(labels)(dict(reversed(labels.clusters.items())))
    with pytest.raises(UserError, match="expected dynamics of this manifest and these labels"):
        DynamicsRecording(RunFolder(tmp_path / "run"), split, others, DatamapConfig()).write_datamap()


def test_an_incomplete_epoch_is_left_out_and_said_so(data, tmp_path, caplog):
    recording = start(tmp_path, data)
    record(recording, 0, steps(0))
    record(recording, 1, steps(1)[:2])
    write_epoch(recording.folder.dynamics, 1, recording._recorder, recording.digest)
    with caplog.at_level(logging.WARNING):
        start(tmp_path, data).write_datamap()
    assert "(1,) are incomplete and not used" in caplog.text
    assert set(read_datamap(tmp_path / "datamap.csv").epochs.tolist()) == {1}


def test_the_gradient_is_not_kept(data, tmp_path):
    recording = start(tmp_path, data)
    logits = torch.zeros(2, 4, dtype=torch.bfloat16, requires_grad=True)
    recording.add(0, torch.tensor([0, 1]), torch.tensor([0, 0]), logits)
    assert recording.state()["probabilities"].tolist() == [0.25, 0.25]
    assert not any(value.requires_grad for value in recording.state().values() if torch.is_tensor(value))


def test_no_epoch_is_read_again_by_the_run_that_has_recorded_it(data, tmp_path, monkeypatch):
    read, read_dynamics = [], dynamics.read_dynamics
    monkeypatch.setattr(dynamics, "read_dynamics", lambda *given: read.append(given) or read_dynamics(*given))
    recording = start(tmp_path, data)
    for epoch in range(4):
        recording.start_epoch()
        record(recording, epoch, steps(epoch))
    assert len(read) == 1
    kept = (tmp_path / "datamap.csv").read_bytes()
    start(tmp_path, data).write_datamap()
    assert (tmp_path / "datamap.csv").read_bytes() == kept


def test_an_epoch_of_a_diverged_training_enters_no_map(data, tmp_path):
    recording = start(tmp_path, data)
    record(recording, 0, steps(0))
    kept = (tmp_path / "datamap.csv").read_bytes()
    recording.start_epoch()
    target_classes = torch.from_numpy(recording.split.target_classes)
    with pytest.raises(UserError, match=r"epoch-0001\.npz: expected probabilities from 0 to 1.*diverged"):
        for indices in steps(1):
            recording.add(1, indices, target_classes[indices], torch.full((len(indices), 4), torch.nan))
    assert (tmp_path / "datamap.csv").read_bytes() == kept
