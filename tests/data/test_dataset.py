import csv
import os

import numpy as np
import pytest
import soundfile
import torch
from helpers.synthetic import make_corpus, open_split
from hypothesis import given, settings
from hypothesis import strategies as st
from lid_mapmix.data.crops import NO_SLOT, Crops
from lid_mapmix.data.dataset import EvaluationDataset, Split
from lid_mapmix.data.export.packing import pack
from lid_mapmix.data.labels import Labels
from lid_mapmix.data.manifest.manifest import read_manifest
from lid_mapmix.mapmix.mixup import MixSpace, mix_waveforms
from lid_mapmix.training.sampler import NO_PARTNER, Draw
from lid_mapmix.training.train_dataset import TrainDataset
from lid_mapmix.utils.errors import UserError

LENGTHS = (0.3, 0.5, 0.8, 2.0)
CROP = 0.5


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """Return utterances whose samples are their own numbers, so that a crop says where it is from."""
    folder = tmp_path_factory.mktemp("ramps")
    rows = []
    for number, seconds in enumerate(LENGTHS):
        ramp = np.arange(1, round(seconds * 16_000) + 1) / 65_536
        soundfile.write(folder / f"{number}.wav", ramp, 16_000, subtype="FLOAT")
        rows.append([f"{number}.wav", "ba"[number % 2], seconds, ""])
    # A part of the last file.
    rows.append(["3.wav", "a", 0.6, 1.0])
    with (folder / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["audiopath", "class", "seconds", "start", "id"], *([*r, i] for i, r in enumerate(rows))]
        )
    return Split.open(read_manifest(folder / "train.csv"), Labels({"x": ("a", "b")}))


def training(split, crop_seconds, seed, *mix_space, step_seconds=None, **keywords):
    return TrainDataset(split, Crops(split.counts, crop_seconds, step_seconds), seed, *mix_space, **keywords)


def test_a_split_knows_classes_and_lengths(split):
    assert split.target_classes.tolist() == [1, 0, 1, 0, 0]
    assert split.starts.tolist() == [0, 0, 0, 0, 16_000]
    assert split.counts.tolist() == [4800, 8000, 12_800, 32_000, 16_000]
    assert (split.read(4, 10, 3) * 65_536).tolist() == [16_011, 16_012, 16_013]


@settings(deadline=None)
@given(anchor=st.integers(0, 4), partner=st.integers(-1, 4), epoch=st.integers(0, 50), seed=st.integers(0, 9))
def test_a_crop(split, anchor, partner, epoch, seed):
    dataset = training(split, CROP, seed)
    draw, crops, *_ = dataset[Draw(anchor, partner, 0.25, epoch)]
    utterances = [anchor] if partner == NO_PARTNER else [anchor, partner]
    assert draw == Draw(anchor, partner, 0.25, epoch)
    assert len(crops) == len(utterances)
    for utterance, (waveform, first, count, _) in zip(utterances, crops, strict=True):
        assert waveform.shape == (8000,)
        assert waveform.dtype == np.float32
        assert count == min(8000, split.counts[utterance])
        assert np.flatnonzero(waveform).tolist() == list(range(first, first + count))
        numbers = waveform[first : first + count] * 65_536
        assert (np.diff(numbers) == 1).all()
        start = numbers[0] - 1 - split.starts[utterance]
        assert 0 <= start <= split.counts[utterance] - count
    again = training(split, CROP, seed)
    again[Draw(2, 3, 0.5, epoch)]
    for (one, *place), (other, *other_place) in zip(crops, again[draw][1], strict=True):
        np.testing.assert_array_equal(one, other)
        assert place == other_place


def test_crops_and_padding_take_every_position(split):
    dataset = training(split, CROP, 0)
    starts = [dataset[Draw(3, NO_PARTNER, 1.0, epoch)][1][0][0][0] * 65_536 - 1 for epoch in range(300)]
    firsts = [dataset[Draw(0, NO_PARTNER, 1.0, epoch)][1][0][1] for epoch in range(300)]
    for places, most in ((starts, 24_000), (firsts, 3200)):
        # Uniform over 0 … most: the mean within 4 standard errors, the extremes near the ends.
        assert np.mean(places) == pytest.approx(most / 2, abs=4 * most / np.sqrt(12 * 300))
        assert min(places) < 0.05 * most
        assert max(places) > 0.95 * most


def test_the_first_and_the_last_position_are_among_them(split):
    starts = [training(split, 12_798 / 16_000, 0)[Draw(2, NO_PARTNER, 1.0, epoch)][1][0][0] for epoch in range(60)]
    assert {round(waveform[0] * 65_536) - 1 for waveform in starts} == {0, 1, 2}
    paddings = [training(split, 4802 / 16_000, 0)[Draw(0, NO_PARTNER, 1.0, epoch)][1][0] for epoch in range(60)]
    assert {first for _, first, *_ in paddings} == {0, 1, 2}


def test_the_same_utterance_is_cut_differently_by_epoch_role_and_seed(split):
    crops = {
        "epoch 0": training(split, CROP, 0)[Draw(3, 3, 1.0, 0)][1],
        "epoch 1": training(split, CROP, 0)[Draw(3, 3, 1.0, 1)][1],
        "seed 1": training(split, CROP, 1)[Draw(3, 3, 1.0, 0)][1],
    }
    places = {(name, role): crop[0][0] for name, pair in crops.items() for role, crop in enumerate(pair)}
    assert len(set(places.values())) == len(places)


def test_anchors_come_before_partners(split):
    dataset = training(split, CROP, 0)
    items = [dataset[Draw(anchor, partner, 0.25, 0)] for anchor, partner in ((0, 3), (2, 1), (1, 4))]
    waveforms, batch = dataset.collate(items)
    assert waveforms.shape == (6, 8000)
    assert waveforms.dtype == torch.float32
    expected = [items[row][1][role] for role in (0, 1) for row in range(3)]
    np.testing.assert_array_equal(waveforms.numpy(), np.stack([crop[0] for crop in expected]))
    assert batch.waveforms.first.tolist() == [crop[1] for crop in expected]
    assert batch.waveforms.count.tolist() == [crop[2] for crop in expected] == [4800, 8000, 8000, 8000, 8000, 8000]
    assert batch.anchor.tolist() == [0, 2, 1]
    assert batch.anchor_classes.tolist() == [1, 1, 0]
    assert batch.partner_classes.tolist() == [0, 0, 0]
    assert batch.weight.tolist() == [0.25] * 3
    assert batch.anchor_classes.dtype == torch.int64


def test_without_partners_there_are_only_anchors(split):
    dataset = training(split, CROP, 0)
    waveforms, batch = dataset.collate([dataset[Draw(anchor, NO_PARTNER, 1.0, 0)] for anchor in (1, 0)])
    assert waveforms.shape == (2, 8000)
    assert batch.partner_classes is None
    assert batch.anchor_classes.tolist() == [0, 1]
    assert batch.waveforms.count.tolist() == [8000, 4800]


def test_windows_of_evaluation(split):
    dataset = EvaluationDataset(split, np.array([[3, 100, 400], [4, 0, 500], [0, 4000, 800]]))
    windows, batch = dataset.collate([dataset[number] for number in (2, 0, 1)])
    assert [(window[0] * 65_536).item() for window in windows] == [4001, 101, 16_001]
    assert [len(window) for window in windows] == batch.waveforms.count.tolist() == [800, 400, 500]
    assert batch.utterance.tolist() == [0, 3, 4]
    assert batch.waveforms.first.tolist() == [0, 0, 0]


def test_a_fault_is_found_when_a_split_is_opened(tmp_path):
    folder = make_corpus(tmp_path, sizes={"train": 2, "dev": 1})
    _, labels = open_split(folder)
    with pytest.raises(UserError, match=r"expected the classes .*, found ybb-two"):
        Split.open(read_manifest(folder / "dev.csv"), Labels({"x": labels.classes[:-1]}))
    (folder / "audio/dev/xaa-two-0.wav").unlink()
    with pytest.raises(UserError, match=r"xaa-two-0\.wav: no such audio file"):
        open_split(folder, "dev")


@pytest.mark.parametrize(("anchor", "partner"), [(3, 2), (0, 1), (0, 3), (1, 0)])
def test_mixed_input_is_one_waveform_of_both_crops(split, anchor, partner):
    drawn = Draw(anchor, partner, 0.25, epoch=3)
    crops = training(split, CROP, 5)[drawn].crops
    dataset = training(split, CROP, 5, MixSpace.INPUT)
    mixed = dataset[drawn]
    ((waveform, first, count, _),) = mixed.crops
    starts, ends = [crop[1] for crop in crops], [crop[1] + crop[2] for crop in crops]
    assert (first, first + count) == (min(starts), max(ends))
    real = [slice(start, end) for start, end in zip(starts, ends, strict=True)]
    expected = mix_waveforms(crops[0][0], crops[1][0], 0.25, real=(real[0], real[1]))
    np.testing.assert_array_equal(waveform, expected)
    waveforms, batch = dataset.collate([mixed])
    assert waveforms.shape == (1, 8000)
    assert batch.partner_classes.tolist() == [split.target_classes[partner]]
    assert batch.waveforms.count.tolist() == [count]


def test_crops_on_a_grid_start_at_its_steps_or_end_with_the_audio(split):
    dataset = training(split, CROP, 0, step_seconds=0.4)
    found = {utterance: set() for utterance in range(5)}
    for utterance, places in found.items():
        for epoch in range(60):
            _, ((waveform, first, count, slot),), *_ = dataset[Draw(utterance, NO_PARTNER, 1.0, epoch)]
            assert first == 0
            assert np.flatnonzero(waveform).tolist() == list(range(count))
            start = round(waveform[0] * 65_536) - 1 - split.starts[utterance]
            assert dataset.crops.grid[slot].tolist() == [utterance, start, count]
            places.add((slot, start))
    # Utterances of 0.3, 0.5, 0.8, 2 and 1 s; a step is 6400 samples.
    starts = [[0], [0], [0, 4800], [0, 6400, 12_800, 19_200, 24_000], [0, 6400, 8000]]
    assert [sorted(start for _, start in places) for places in found.values()] == starts
    assert sorted(slot for places in found.values() for slot, _ in places) == list(range(12))


def test_crops_anywhere_have_no_number(split):
    dataset = training(split, CROP, 0)
    _, batch = dataset.collate([dataset[Draw(3, 2, 0.25, 0)]])
    assert batch.waveforms.slot.tolist() == [NO_SLOT, NO_SLOT]


def test_audio_whose_features_are_kept_is_not_read(split, monkeypatch):
    drawn, kept = Draw(3, 2, 0.25, 1), set()
    dataset = training(split, CROP, 0, step_seconds=0.4, is_kept=lambda slot: slot in kept)
    waveforms, batch = dataset.collate([dataset[drawn]])
    assert waveforms.ne(0).all()
    slots = batch.waveforms.slot.tolist()
    kept.add(slots[1])
    half, same = dataset.collate([dataset[drawn]])
    assert torch.equal(half[0], waveforms[0])
    assert not half[1].any()
    kept.add(slots[0])
    monkeypatch.setattr(Split, "read", None)
    silence, _ = dataset.collate([dataset[drawn]])
    assert silence.shape == waveforms.shape
    assert not silence.any()
    for name in ("first", "count", "slot"):
        assert torch.equal(getattr(same.waveforms, name), getattr(batch.waveforms, name))
    windows = EvaluationDataset(split, np.array([[3, 100, 400], [4, 0, 500]]), is_kept=lambda number: number == 1)
    (window,), batch = windows.collate([windows[1]])
    assert window.shape == (500,)
    assert batch.utterance.tolist() == [4]
    assert batch.waveforms.slot.tolist() == [1]


@pytest.mark.parametrize("change", ["audio", "time"])
def test_what_names_audio_in_shards_changes_with_it(change, tmp_path):
    make_corpus(tmp_path / "loose", sizes={"train": 2}, seconds=0.2)
    pack(tmp_path / "loose", tmp_path / "packed")
    windows = np.array([[0, 0, 400], [1, 0, 400]])
    before = open_split(tmp_path / "packed")[0].audio_digest(windows)
    assert open_split(tmp_path / "packed")[0].audio_digest(windows) == before
    if change == "audio":
        pack(tmp_path / "loose", tmp_path / "packed", shard_bytes=1000, overwrite=True)
    else:
        os.utime(tmp_path / "packed/train-000000.tar", (1, 1))
    assert open_split(tmp_path / "packed")[0].audio_digest(windows) != before


@pytest.mark.parametrize("change", ["audio", "time", "order", "part"])
def test_what_names_the_audio_changes_with_it(change, tmp_path):
    folder = make_corpus(tmp_path, sizes={"train": 2}, seconds=0.2)
    windows = np.array([[0, 0, 400], [1, 0, 400]])
    before = open_split(folder)[0].audio_digest(windows)
    assert open_split(folder)[0].audio_digest(windows) == before
    path, manifest = folder / "audio/train/xaa-one-0.wav", folder / "train.csv"
    if change == "audio":
        soundfile.write(path, np.zeros(4000), 16_000)
    elif change == "time":
        os.utime(path, (1, 1))
    elif change == "order":
        header, one, two, *rest = manifest.read_text().splitlines()
        manifest.write_text("\n".join([header, two, one, *rest]))
    else:
        windows[1, 1] = 1
    assert open_split(folder)[0].audio_digest(windows) != before
