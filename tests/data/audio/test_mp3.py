"""MP3 files that do not say how long they are: libsndfile's guess is not believed where counting says otherwise."""

import numpy as np
import pytest
import soundfile
from lid_mapmix.data.audio.reading import read_audio, read_header
from lid_mapmix.utils.errors import UserError


def speech(rate, seconds=6.0):
    """Return tones that a variable bit rate spends little on, and then noise."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(rate).standard_normal(len(time)) * (time > seconds / 2)
    return (0.3 * np.sin(2 * np.pi * 300 * time) * (time < 1) + 0.1 * noise).astype(np.float32)


def write(path, rate, mode, *, says_its_length, before=b"", behind=b""):
    """Write an MP3, without its first frame unless it is to say its length; the next one begins with the same bytes."""
    soundfile.write(path, speech(rate), rate, format="MP3", bitrate_mode=mode, compression_level=0.5)
    content = path.read_bytes()
    if not says_its_length:
        content = content[content.index(content[:2], 4) :]
    path.write_bytes(before + content + behind)
    return path


ID3 = b"ID3\x04\x00\x00\x00\x00\x02\x00" + bytes(256)


@pytest.mark.parametrize(
    ("rate", "mode", "before"),
    [
        (44_100, "CONSTANT", b""),
        (16_000, "CONSTANT", ID3),
        (16_000, "VARIABLE", b""),
        (44_100, "VARIABLE", ID3),
        (24_000, "AVERAGE", b""),
    ],
)
def test_a_length_that_was_guessed_is_no_length(tmp_path, rate, mode, before):
    """Of a variable bit rate the guess was a fifth of the audio; of 44.1 kHz too much, and its end broke off."""
    path = write(tmp_path / "a.mp3", rate, mode, says_its_length=False, before=before)
    guess = soundfile.info(path).frames
    assert guess < 5.9 * rate or len(soundfile.read(path)[0]) < guess
    with pytest.raises(UserError, match=r"a\.mp3: expected its length in the header, found an MP3 without a Xing"):
        read_header(path)
    assert read_file_header(path).fault is FileFault.UNKNOWN_LENGTH


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE", "AVERAGE"])
@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize(("before", "behind"), [(b"", b""), (ID3, b"TAG" + bytes(125)), (bytes(100), b"")])
def test_a_length_that_is_said_is_believed(tmp_path, rate, mode, before, behind):
    path = write(tmp_path / "a.mp3", rate, mode, says_its_length=True, before=before, behind=behind)
    assert read_header(path).frames == 6 * rate
    assert read_file_header(path).fault is FileFault.NONE
    assert len(read_audio(path)) == 96_000


@pytest.mark.parametrize("behind", [b"", b"TAG" + bytes(125)])
def test_a_guess_that_is_right_is_taken(tmp_path, behind):
    path = write(tmp_path / "a.mp3", 16_000, "CONSTANT", says_its_length=False, behind=behind)
    header = read_header(path)
    assert 0 <= header.frames - 96_000 < 3_000
    assert len(read_audio(path)) == header.frames
    assert read_file_header(path).fault is FileFault.NONE
