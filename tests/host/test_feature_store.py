import json
import multiprocessing
import os
import pickle
import signal

import numpy as np
import pytest
from lid_mapmix.host import feature_store
from lid_mapmix.host.feature_store import FeatureStore, SlotLayout, allocated_bytes
from lid_mapmix.utils.errors import UserError

HEADER = {"cut": "crops of 8 s every 4 s", "slots": 5}
CAPACITIES = np.array([3, 1, 4, 2, 5])


def layout(capacities=CAPACITIES, layers=2, dim=3):
    return SlotLayout(capacities, layers, dim)


def features(slot, frames=None, seed=0):
    shape = (2, CAPACITIES[slot] if frames is None else frames, 3)
    return np.random.default_rng([slot, seed]).standard_normal(shape).astype(np.float16)


def filled(store):
    return sum(map(store.holds, range(len(store))))


def test_what_was_written_is_read_by_whoever_opens_it(tmp_path):
    store = FeatureStore(tmp_path / "train", layout(), HEADER)
    assert filled(store) == 0
    store.write([4, 1], [features(4), features(1)])
    store.write([2], [features(2, frames=3)])
    for each in (store, FeatureStore(tmp_path / "train", layout(), HEADER), pickle.loads(pickle.dumps(store))):
        assert [each.holds(slot) for slot in range(5)] == [False, True, True, False, True]
        assert filled(each) == 3
        for slot, frames in ((1, 1), (2, 3), (4, 5)):
            assert each.read(slot).dtype == np.float16
            np.testing.assert_array_equal(each.read(slot), features(slot, frames))


def test_a_copy_in_another_process_sees_what_is_written_later(tmp_path):
    store = FeatureStore(tmp_path, layout(), HEADER)
    copy = pickle.loads(pickle.dumps(store))
    assert len(pickle.dumps(store)) < 2000, "files do not travel"
    store.write([0], [features(0)])
    assert copy.holds(0)
    np.testing.assert_array_equal(copy.read(0), features(0))


def test_sizes_are_known_beforehand_and_taken_as_slots_are_filled(tmp_path):
    large = layout(np.full(10, 1000), layers=13, dim=64)
    store = FeatureStore(tmp_path, large, HEADER)
    assert large.byte_count == (tmp_path / "features.f16").stat().st_size == 10 * 1000 * 13 * 64 * 2
    assert allocated_bytes(tmp_path) == 0
    store.write([7], [np.ones((13, 1000, 64), dtype=np.float16)])
    # A page more on either side, as a slot does not begin with one.
    assert allocated_bytes(tmp_path) == pytest.approx(large.byte_count / 10, abs=8192)
    assert allocated_bytes(tmp_path / "nothing") == 0


@pytest.mark.parametrize("shape", [(3, 3, 3), (2, 4, 3), (2, 3, 4), (2, 0, 3)])
def test_features_of_another_shape_are_a_defect(shape, tmp_path):
    store = FeatureStore(tmp_path, layout(), HEADER)
    with pytest.raises(ValueError, match="expected 2 layers of 1 to 3 frames of 3 in slot 0"):
        store.write([0], [np.ones(shape, dtype=np.float16)])
    assert not store.holds(0)


def test_what_the_folder_holds_is_compared(tmp_path):
    FeatureStore(tmp_path, layout(), HEADER)
    with pytest.raises(UserError) as caught:
        FeatureStore(tmp_path, layout(), {**HEADER, "cut": "crops of 6 s every 3 s"})
    assert str(caught.value) == (
        f"{tmp_path}: cut of the features: expected crops of 6 s every 3 s, found crops of 8 s every 4 s. "
        "Use another folder by --cache-features, or delete this one."
    )


@pytest.mark.parametrize("name", ["features.f16", "frames.u32"])
@pytest.mark.parametrize("fault", ["cut off", "gone"])
def test_a_damaged_folder_is_refused(name, fault, tmp_path):
    FeatureStore(tmp_path, layout(), HEADER)
    if fault == "gone":
        (tmp_path / name).unlink()
    else:
        os.truncate(tmp_path / name, 7)
    with pytest.raises(UserError, match=rf"{name}: expected .* bytes, found [07]\. Delete the folder"):
        FeatureStore(tmp_path, layout(), HEADER)


def test_a_damaged_header_is_refused(tmp_path):
    FeatureStore(tmp_path, layout(), HEADER)
    (tmp_path / "header.json").write_text("{")
    with pytest.raises(UserError, match=r"header\.json: is damaged"):
        FeatureStore(tmp_path, layout(), HEADER)


@pytest.mark.parametrize("text", ["3", "[1]", "null"])
def test_a_header_that_is_no_mapping_is_damaged(text, tmp_path):
    FeatureStore(tmp_path, layout(), HEADER)
    (tmp_path / "header.json").write_text(text)
    with pytest.raises(UserError, match=r"header\.json: is damaged"):
        FeatureStore(tmp_path, layout(), HEADER)


def test_a_slot_with_more_frames_than_it_holds_is_damaged(tmp_path):
    # The features of its neighbour would be read as its own.
    store = FeatureStore(tmp_path, layout(), HEADER)
    store.write([0, 1], [features(0), features(1)])
    with (tmp_path / "frames.u32").open("r+b") as file:
        file.write(np.array([4], dtype="<u4").tobytes())
    with pytest.raises(UserError, match=r"frames\.u32: is damaged: a slot has more frames than its capacity"):
        FeatureStore(tmp_path, layout(), HEADER)


def test_what_an_interrupted_process_had_begun_to_make_is_made_anew(tmp_path):
    (tmp_path / "frames.u32").write_bytes(b"\xff" * 20)
    (tmp_path / "features.f16").write_bytes(b"half")
    assert filled(FeatureStore(tmp_path, layout(), HEADER)) == 0
    assert json.loads((tmp_path / "header.json").read_text()) == HEADER


def _fill_until_killed(folder, call):
    calls = 0
    original = feature_store.os.pwrite

    def pwrite(descriptor, content, offset):
        nonlocal calls
        calls += 1
        if calls == call:
            original(descriptor, content[: len(content) // 2], offset)
            os.kill(os.getpid(), signal.SIGKILL)
        return original(descriptor, content, offset)

    feature_store.os.pwrite = pwrite
    store = FeatureStore(folder, layout(), HEADER)
    store.write([0, 1], [features(0), features(1)])
    store.write([2, 3], [features(2), features(3)])


# Two slots: their features are the calls 1 and 2, their numbers of frames 3 and 4; then the next two.
@pytest.mark.parametrize(("call", "complete"), [(1, 0), (2, 0), (3, 0), (4, 1), (5, 2), (6, 2), (8, 3)])
def test_a_killed_process_leaves_slots_that_are_right_or_empty(call, complete, tmp_path):
    process = multiprocessing.get_context("fork").Process(target=_fill_until_killed, args=(tmp_path, call))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    store = FeatureStore(tmp_path, layout(), HEADER)
    # Half a number of frames may be that number already, as its upper bytes are zeros.
    assert [store.holds(slot) for slot in range(complete)] == [True] * complete
    for slot in range(5):
        if store.holds(slot):
            np.testing.assert_array_equal(store.read(slot), features(slot))
    store.write(range(5), [features(slot) for slot in range(5)])
    assert filled(store) == 5


def _fill(folder, first):
    store = FeatureStore(folder, layout(), HEADER)
    for _ in range(20):
        for slot in np.roll(np.arange(5), first):
            store.write([slot], [features(slot)])


def test_two_processes_may_fill_the_same_slots(tmp_path):
    FeatureStore(tmp_path, layout(), HEADER)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_fill, args=(tmp_path, first)) for first in (0, 3)]
    for process in processes:
        process.start()
    store = FeatureStore(tmp_path, layout(), HEADER)
    while any(process.is_alive() for process in processes):
        for slot in range(5):
            if store.holds(slot):
                np.testing.assert_array_equal(store.read(slot), features(slot))
    assert [process.exitcode for process in processes] == [0, 0]
    assert filled(store) == 5
