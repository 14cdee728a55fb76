"""Whether an MP3 file says how long it is.

Encoders write its length into a first frame of their own (Xing, Info or VBRI). Where that is missing, as in what was
cut out of a stream, libsndfile guesses from the bit rate of the first frame, and reads no further than it has guessed:
of a file of variable bit rate that may be a fifth. Counting the frames tells.
"""

from typing import BinaryIO, NamedTuple

_ID3_BYTES = 10
_FRAME_HEADER_BYTES = 4
# Junk before the first frame, and tags behind the last, are looked through and passed over up to this.
_MOST_JUNK = 1 << 14
# Behind the frame's header and side information; that of MPEG 1 in stereo is the longest.
_LENGTH_TAGS = (b"Xing", b"Info", b"VBRI")
_LENGTH_TAG_BYTES = 64
# By the two bits of the version: 2.5, (none), 2, 1. kbit/s of layer III by four bits, of MPEG 1 and of the others.
_SAMPLE_RATES = ((11_025, 12_000, 8_000), (), (22_050, 24_000, 16_000), (44_100, 48_000, 32_000))
_BIT_RATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_BIT_RATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MPEG_1, _LAYER_3 = 3, 1
# Samples; two frames.
_TOLERANCE = 2 * 1152


class _Frame(NamedTuple):
    """Bytes and samples of a frame."""

    length: int
    samples: int


def is_guessed(file: BinaryIO, frames: int) -> bool:
    """Say whether the length of an MP3 file is a guess, and a wrong one.

    Parameters
    ----------
    file : the file, whose position is changed.
    frames : samples a channel, by libsndfile.
    """
    counted = _count_samples(file)
    # It may lack a little at its end, but must not end before it should.
    return counted is not None and not 0 <= counted - frames <= _TOLERANCE


def _count_samples(file: BinaryIO) -> int | None:
    """Return the samples of all frames; None where the file says its length, or is no plain sequence of frames."""
    file.seek(0)
    start = file.read(_ID3_BYTES)
    # The size of an ID3 tag has seven bits a byte.
    tag = sum(byte << shift for byte, shift in zip(start[6:], (21, 14, 7, 0), strict=False))
    file.seek(_ID3_BYTES + tag if start[:3] == b"ID3" else 0)
    content = file.read(_MOST_JUNK)
    at = next((place for place in range(len(content)) if _is_first_frame(content, place)), None)
    if at is None or any(name in content[at : at + _LENGTH_TAG_BYTES] for name in _LENGTH_TAGS):
        return None
    content += file.read()
    total = 0
    while (frame := _frame_at(content, at)) is not None and at + frame.length <= len(content):
        total += frame.samples
        at += frame.length
    return total if len(content) - at <= _MOST_JUNK else None


def _is_first_frame(content: bytes, place: int) -> bool:
    frame = _frame_at(content, place)
    return frame is not None and _frame_at(content, place + frame.length) is not None


def _frame_at(content: bytes, place: int) -> _Frame | None:
    """Return the frame of layer III that begins at a byte; None where there is none."""
    header = content[place : place + _FRAME_HEADER_BYTES]
    if len(header) < _FRAME_HEADER_BYTES or header[0] != 0xFF or header[1] >> 5 != 0b111:  # noqa: PLR2004
        return None
    version, layer = header[1] >> 3 & 0b11, header[1] >> 1 & 0b11
    bit_rate, sample_rate, padding = header[2] >> 4, header[2] >> 2 & 0b11, header[2] >> 1 & 1
    rates, bit_rates = _SAMPLE_RATES[version], _BIT_RATES_1 if version == _MPEG_1 else _BIT_RATES_2
    if layer != _LAYER_3 or sample_rate >= len(rates) or not 0 < bit_rate < len(bit_rates):
        return None
    samples = 1152 if version == _MPEG_1 else 576
    return _Frame(samples // 8 * 1000 * bit_rates[bit_rate] // rates[sample_rate] + padding, samples)
