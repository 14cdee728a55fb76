"""The length of MP3 files: declared, guessed by libsndfile, or counted; joined and truncated files."""

import io

import numpy as np
import pytest
import soundfile
from helpers.synthetic import hum
from lid_mapmix.data.audio.faults import AudioFileError, FileFault
from lid_mapmix.data.audio.reading import read_audio, read_header
from lid_mapmix.utils.errors import UserError


def speech(rate, seconds=6.0):
    """Return tones that a variable bit rate spends little on, and then noise."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(rate).standard_normal(len(time)) * (time > seconds / 2)
    return (0.3 * np.sin(2 * np.pi * 300 * time) * (time < 1) + 0.1 * noise).astype(np.float32)


def encoded(audio, rate, mode="CONSTANT", *, has_length=True):
    """Return an MP3, without its first frame unless it is to have its length."""
    file = io.BytesIO()
    soundfile.write(file, audio, rate, format="MP3", bitrate_mode=mode, compression_level=0.5)
    content = file.getvalue()
    # The next frame begins with the same bytes.
    return content if has_length else content[content.index(content[:2], 4) :]


def write(path, rate, mode, *, has_length, before=b"", behind=b""):
    path.write_bytes(before + encoded(speech(rate), rate, mode, has_length=has_length) + behind)
    return path


def fault_of(path):
    with pytest.raises(AudioFileError) as caught:
        read_header(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value.fault, str(caught.value)


ID3 = b"ID3\x04\x00\x00\x00\x00\x02\x00" + bytes(256)
TAG = b"TAG" + bytes(125)
APE = b"APETAGEX" + bytes(range(256)) * 40


@pytest.mark.parametrize(
    ("rate", "mode", "before"), [(16_000, "VARIABLE", b""), (44_100, "VARIABLE", ID3), (24_000, "AVERAGE", b"")]
)
def test_an_mp3_of_variable_bit_rate_without_its_length_is_refused(tmp_path, rate, mode, before):
    """The guess was a fifth of the audio, and cannot be exceeded."""
    path = write(tmp_path / "a.mp3", rate, mode, has_length=False, before=before)
    assert soundfile.info(path).frames < 5.9 * rate
    fault, message = fault_of(path)
    assert fault is FileFault.UNKNOWN_LENGTH
    assert "variable bit rate without a Xing or Info frame. Convert it: ffmpeg -i a.mp3 a.wav" in message


@pytest.mark.parametrize(
    ("rate", "mode", "before", "behind"),
    [
        (44_100, "CONSTANT", b"", b""),
        (48_000, "CONSTANT", b"", TAG),
        (16_000, "CONSTANT", ID3, b""),
        (16_000, "CONSTANT", b"", APE),
        (44_100, "CONSTANT", b"", APE),
    ],
)
def test_a_guess_of_a_few_samples_too_many_is_replaced_by_the_count(tmp_path, rate, mode, before, behind):
    """57 of 205 public files were refused for it, though all of their frames can be read."""
    path = write(tmp_path / "a.mp3", rate, mode, has_length=False, before=before, behind=behind)
    header = read_header(path)
    assert 0 <= header.frames - 6 * rate < 3 * 1152
    whole = read_audio(path)
    assert len(whole) == header.samples
    np.testing.assert_allclose(read_audio(path, header.samples - 5000, 5000), whole[-5000:], rtol=0, atol=1e-6)
    assert len(read_audio(path, 0, 5000, recorded=header.samples)) == 5000
    with pytest.raises(UserError, match=rf"expected 96000 samples .* found {header.samples}\."):
        read_audio(path, 0, 5000, recorded=96_000)


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE", "AVERAGE"])
@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize(
    ("before", "behind"), [(b"", b""), (ID3, TAG), (bytes(100), APE)], ids=["plain", "tags", "junk"]
)
def test_a_length_that_is_declared_is_believed(tmp_path, rate, mode, before, behind):
    path = write(tmp_path / "a.mp3", rate, mode, has_length=True, before=before, behind=behind)
    assert read_header(path).frames == 6 * rate
    assert len(read_audio(path)) == 96_000


@pytest.mark.parametrize("between", [b"", ID3, TAG + ID3], ids=["plain", "ID3", "tags"])
@pytest.mark.parametrize("seconds", [1.0, 3.0, 5.0])
def test_joined_mp3_files_are_refused(tmp_path, between, seconds, capfd):
    """Only the first was read, without a word."""
    parts = [encoded(hum(3.0, 200, 1), 16_000), encoded(hum(seconds, 200, 2), 16_000)]
    (tmp_path / "a.mp3").write_bytes(between.join(parts))
    fault, message = fault_of(tmp_path / "a.mp3")
    assert fault is FileFault.JOINED
    assert "several MP3 files in one" in message
    assert "ffmpeg -i a.mp3 a.wav" in message
    assert capfd.readouterr().err == ""


def test_joined_mp3_files_without_lengths_are_read_to_their_end_or_refused(tmp_path):
    one, other = (encoded(hum(2.0, 200, 1, rate), rate, has_length=False) for rate in (16_000, 24_000))
    (tmp_path / "same.mp3").write_bytes(one + one)
    assert read_header(tmp_path / "same.mp3").frames == len(read_audio(tmp_path / "same.mp3")) > 64_000
    (tmp_path / "rates.mp3").write_bytes(one + other)
    assert fault_of(tmp_path / "rates.mp3")[0] is FileFault.JOINED
    (tmp_path / "gap.mp3").write_bytes(one + bytes(5000) + one)
    assert fault_of(tmp_path / "gap.mp3")[0] is FileFault.UNREADABLE


def test_a_truncated_mp3_is_found_by_its_header(tmp_path, capfd):
    content = encoded(hum(3.0, 200, 1), 16_000)
    (tmp_path / "a.mp3").write_bytes(content[: len(content) // 2])
    fault, message = fault_of(tmp_path / "a.mp3")
    assert fault is FileFault.TRUNCATED
    assert "declared MP3 frames" in message
    assert capfd.readouterr().err == ""
