"""Several files in one, which libsndfile reads as the first of them; and none of it where there is one file."""

import io

import numpy as np
import pytest
import soundfile
from helpers.synthetic import hum
from lid_mapmix.data.audio.faults import AudioFileError, FileFault
from lid_mapmix.data.audio.reading import read_header


def encoded(seconds, seed, form, subtype=None, rate=16_000, channels=1):
    file = io.BytesIO()
    audio = np.stack([hum(seconds, 200, seed + channel, rate) for channel in range(channels)], axis=1)
    soundfile.write(file, audio, rate, format=form, subtype=subtype)
    return file.getvalue()


FORMS = [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("OGG", "OPUS")]


@pytest.mark.parametrize("lengths", [(1.0, 1.0), (1.0, 20.0), (20.0, 1.0), (10.0, 10.0), (8.0, 8.0, 8.0)])
@pytest.mark.parametrize(("form", "subtype"), FORMS)
def test_joined_files_are_refused(tmp_path, form, subtype, lengths):
    """Only the first was read, without a word."""
    path = tmp_path / f"a.{form.lower()}"
    path.write_bytes(b"".join(encoded(seconds, seed, form, subtype) for seed, seconds in enumerate(lengths)))
    with pytest.raises(AudioFileError, match=r"found several \w+ files in one") as caught:
        read_header(path)
    assert caught.value.fault is FileFault.JOINED
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seconds", [0.05, 1.0, 12.0])
@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (48_000, 2)])
@pytest.mark.parametrize(("form", "subtype"), FORMS)
def test_one_file_is_one_file(tmp_path, form, subtype, rate, channels, seconds):
    path = tmp_path / f"a.{form.lower()}"
    path.write_bytes(encoded(seconds, 1, form, subtype, rate, channels))
    header = read_header(path)
    assert (header.frames, header.sample_rate, header.channels) == (round(seconds * rate), rate, channels)


def test_a_flac_that_is_silent_at_first_is_one_file(tmp_path):
    """Most of its frames are in its first bytes."""
    audio = np.concatenate([np.zeros(16_000 * 60), np.random.default_rng(0).uniform(-1, 1, 16_000 * 20)])
    soundfile.write(tmp_path / "a.flac", audio, 16_000)
    assert read_header(tmp_path / "a.flac").frames == len(audio)


@pytest.mark.parametrize(("form", "flags"), [("WAV", "-ignore_length 1 "), ("AIFF", "")])
def test_an_unfinished_header_is_named_and_repaired(tmp_path, form, flags):
    """It "holds no audio", though a recorder was only stopped before it wrote the length."""
    path = tmp_path / f"call.{form.lower()}"
    content = bytearray(encoded(1.0, 1, form))
    if form == "WAV":
        content[40:44] = bytes(4)
    else:
        # COMM: channels, then the number of frames; SSND: the number of bytes.
        for chunk, offset in ((b"COMM", 10), (b"SSND", 4)):
            place = content.index(chunk) + offset
            content[place : place + 4] = bytes(3) + bytes([8 if chunk == b"SSND" else 0])
    path.write_bytes(content)
    with pytest.raises(AudioFileError, match="found an unfinished header: no samples in a file of") as caught:
        read_header(path)
    assert caught.value.fault is FileFault.UNKNOWN_LENGTH
    assert f"ffmpeg {flags}-i call.{form.lower()} call" in str(caught.value)
