"""Recordings of hours: read window by window, wherever in the file, and never as a whole."""

import struct

import numpy as np
import pytest
import soundfile
from helpers.synthetic import hum, open_split
from lid_mapmix.data.dataset import EvaluationDataset
from lid_mapmix.data.loader import TaskLoader
from lid_mapmix.data.manifest.manifest import write_manifest
from lid_mapmix.data.windows import sliding_windows, window_batches

WINDOW, HOP = 6, 3


def write_silence(path, seconds, sample_rate):
    """Write 16-bit mono of zeros that take no disk."""
    size = 2 * seconds * sample_rate
    form = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, sample_rate, 2 * sample_rate, 2, 16)
    path.write_bytes(b"RIFF" + struct.pack("<I", 36 + size) + b"WAVE" + form + b"data" + struct.pack("<I", size))
    with path.open("rb+") as file:
        file.truncate(44 + size)


def write_noise(path, seconds, sample_rate):
    audio = hum(seconds, 200, 0, sample_rate)
    soundfile.write(path, np.stack([audio, -0.5 * audio], axis=1), sample_rate)


@pytest.fixture
def decoded(monkeypatch):
    """Return the list of the numbers of frames that are decoded at once."""
    numbers, read = [], soundfile.SoundFile.read

    def counting(self, frames=-1, **options):
        audio = read(self, frames, **options)
        numbers.append(len(audio))
        return audio

    monkeypatch.setattr(soundfile.SoundFile, "read", counting)
    return numbers


@pytest.mark.parametrize(
    ("name", "write", "seconds", "sample_rate"),
    [
        ("long.wav", write_silence, 3 * 3600, 8_000),
        ("long.flac", write_noise, 40, 44_100),
    ],
)
def test_each_window_decodes_only_itself(name, write, seconds, sample_rate, decoded, tmp_path):
    write(tmp_path / name, seconds, sample_rate)
    write_manifest(tmp_path / "train.csv", {"audiopath": [name], "class": ["aa-one"], "seconds": [seconds]})
    split, _ = open_split(tmp_path)
    windows = sliding_windows(split.counts, WINDOW, HOP)
    assert len(windows) == -(-(seconds - WINDOW) // HOP) + 1
    windows = windows[:: max(len(windows) // 300, 1)]  # of hours a part, from beginning to end
    batches = window_batches(windows[:, 2], 120, mix_lengths=False)
    seen = 0
    for waveforms, _ in TaskLoader(EvaluationDataset(split, windows), batches, workers=0):
        assert {len(waveform) for waveform in waveforms} == {WINDOW * 16_000}
        seen += len(waveforms)
    assert seen == len(decoded) == len(windows)
    # Besides a window, what the resampler's filter reaches into.
    assert max(decoded) <= (WINDOW + 0.05) * sample_rate


def test_a_window_far_into_a_flac_is_that_of_the_whole_file(tmp_path):
    write_noise(tmp_path / "long.flac", 40, 44_100)
    write_manifest(tmp_path / "train.csv", {"audiopath": ["long.flac"], "class": ["aa-one"], "seconds": [40]})
    split, _ = open_split(tmp_path)
    whole = split.read(0, 0, int(split.counts[0]))
    _, start, count = sliding_windows(split.counts, WINDOW, HOP)[-1].tolist()
    np.testing.assert_allclose(split.read(0, start, count), whole[start : start + count], atol=1e-6)
