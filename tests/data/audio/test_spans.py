"""Which part of its file an utterance is."""

import csv

import numpy as np
import pytest
import soundfile
from helpers.synthetic import hum
from lid_mapmix.data.audio.reading import (
    MINIMUM_SAMPLES,
    SAMPLE_RATE,
)
from lid_mapmix.data.audio.spans import utterance_span, utterance_spans
from lid_mapmix.data.manifest.manifest import read_manifest
from lid_mapmix.utils.errors import UserError


def one_line(caught, path):
    """Check that an error is one line that names the file."""
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def manifest_of(folder, **columns):
    with (folder / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, columns.values()])
    return read_manifest(folder / "train.csv")


@pytest.mark.parametrize("rate", [SAMPLE_RATE, 44_100])
def test_a_truncated_wav_is_found_by_its_header(tmp_path, rate):
    path = tmp_path / "cut.wav"
    soundfile.write(path, hum(2.0, 200, 6, rate), rate)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    manifest = manifest_of(tmp_path, audiopath="cut.wav", **{"class": "a"}, seconds=2.0)
    with pytest.raises(UserError, match=r"found \d+ of \d+ declared bytes. It is truncated") as caught:
        utterance_span(manifest, 0)
    one_line(caught, path)


@pytest.mark.parametrize(("samples", "rate", "fine"), [(400, 16_000, True), (399, 16_000, False), (199, 8_000, False)])
def test_audio_under_400_samples_is_refused(tmp_path, samples, rate, fine):
    path = tmp_path / "short.wav"
    soundfile.write(path, hum(1.0, 200, 10, rate)[:samples], rate)
    manifest = manifest_of(tmp_path, audiopath="short.wav", **{"class": "a"}, seconds=0.02)
    if fine:
        assert utterance_span(manifest, 0) == (0, MINIMUM_SAMPLES)
        return
    with pytest.raises(UserError, match=r"at least 400 samples at 16 kHz \(25 ms\), found 39\d") as caught:
        utterance_span(manifest, 0)
    one_line(caught, path)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({}, (0, 32_000)),
        ({"start": 0.5}, (8_000, 24_000)),
        ({"start": "", "end": 1.5}, (0, 24_000)),
        ({"start": 0.25, "end": ""}, (4_000, 28_000)),
        ({"start": 0.25, "end": 0.75}, (4_000, 8_000)),
        ({"start": 1.0, "end": 2.05}, (16_000, 16_000)),
    ],
)
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_start_and_end_cut_a_file(tmp_path, times, expected, rate):
    soundfile.write(tmp_path / "a.wav", hum(2.0, 200, 11, rate), rate)
    manifest = manifest_of(tmp_path, audiopath="a.wav", **{"class": "a"}, seconds=0.5, **times)
    assert utterance_span(manifest, 0) == expected


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"seconds": 3.0}, r"expected 3\.00 s, as in .*train\.csv, found 2\.00 s"),
        (
            {"seconds": 1.0, "end": 2.5},
            r"expected at least 2\.50 s, the end of an utterance in .*train\.csv, found 2\.00 s",
        ),
        ({"seconds": 1.0, "start": 1.5}, r"expected 1\.00 s, as in .*, found 0\.50 s"),
        ({"seconds": 1.0, "start": 7.0}, r"expected 1\.00 s, as in .*, found 0\.00 s"),
        ({"seconds": 0.01, "start": 7.0}, "found 0\\."),
        ({"seconds": 0.01, "start": 1.0, "end": 1.01}, "found 160\\."),
    ],
)
def test_a_file_shorter_than_the_manifest_says_is_refused(tmp_path, columns, says):
    soundfile.write(tmp_path / "a.wav", hum(2.0, 200, 12), SAMPLE_RATE)
    manifest = manifest_of(tmp_path, audiopath="a.wav", **{"class": "a"}, **columns)
    with pytest.raises(UserError, match=says) as caught:
        utterance_span(manifest, 0)
    one_line(caught, tmp_path / "a.wav")


def test_all_headers_are_read_in_order_and_the_first_fault_is_told(tmp_path):
    names = [f"{number:02d}.wav" for number in range(20)]
    for number, name in enumerate(names):
        soundfile.write(tmp_path / name, hum(1.0, 200, 13)[: 1000 + 10 * number], SAMPLE_RATE)
    with (tmp_path / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["audiopath", "class", "seconds"], *([name, "a", 0.06] for name in names)])
    manifest = read_manifest(tmp_path / "train.csv")
    starts, counts = utterance_spans(manifest)
    assert starts.tolist() == [0] * 20
    assert counts.tolist() == [1000 + 10 * number for number in range(20)]
    assert counts.dtype == np.int64
    for number in (7, 15):
        (tmp_path / names[number]).write_bytes(b"")
    with pytest.raises(UserError, match=names[7]):
        utterance_spans(manifest)
