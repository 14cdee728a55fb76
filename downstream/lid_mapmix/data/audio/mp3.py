"""Detects MP3 files whose length libsndfile guesses wrongly.

Encoders write the length into a first frame of their own (Xing, Info or VBRI). If it is missing, as in a part cut from
a stream, libsndfile guesses the length from the bit rate of the first frame, and reads no further: of a file with
variable bit rate this may be a fifth. Here the frames are counted.
"""

from typing import BinaryIO, NamedTuple

_ID3_BYTES = 10
_FRAME_HEADER_BYTES = 4
# Maximum junk before the first frame, and tags after the last one, that are skipped.
_MAX_JUNK = 1 << 14
# After the frame's header and side information; that of MPEG 1 in stereo is the longest.
_LENGTH_TAGS = (b"Xing", b"Info", b"VBRI")
_LENGTH_TAG_BYTES = 64
# By the two version bits: 2.5, (none), 2, 1. kbit/s of layer III by four bits, for MPEG 1 and for the others.
_SAMPLE_RATES = ((11_025, 12_000, 8_000), (), (22_050, 24_000, 16_000), (44_100, 48_000, 32_000))
_BIT_RATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_BIT_RATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MPEG_1, _LAYER_3 = 3, 1
# Samples; two frames.
_TOLERANCE = 2 * 1152


class _Frame(NamedTuple):
    """Number of bytes and samples of a frame."""

    length: int
    samples: int


def is_guessed(file: BinaryIO, frames: int) -> bool:
    """Return whether the length of an MP3 file is a wrong guess.

    Parameters
    ----------
    file : the file; its position is changed.
    frames : samples per channel, by libsndfile.
    """
    counted = _count_samples(file)
    # A few samples may be missing at the end.
    return counted is not None and not 0 <= counted - frames <= _TOLERANCE


def _count_samples(file: BinaryIO) -> int | None:
    """Return the samples of all frames; None if the file has its length, or is not a plain sequence of frames."""
    file.seek(0)
    start = file.read(_ID3_BYTES)
    # The size of an ID3 tag has seven bits per byte.
    tag = sum(byte << shift for byte, shift in zip(start[6:], (21, 14, 7, 0), strict=False))
    file.seek(_ID3_BYTES + tag if start[:3] == b"ID3" else 0)
    content = file.read(_MAX_JUNK)
    at = next((place for place in range(len(content)) if _is_first_frame(content, place)), None)
    if at is None or any(name in content[at : at + _LENGTH_TAG_BYTES] for name in _LENGTH_TAGS):
        return None
    content += file.read()
    total = 0
    while (frame := _frame_at(content, at)) is not None and at + frame.length <= len(content):
        total += frame.samples
        at += frame.length
    return total if len(content) - at <= _MAX_JUNK else None


def _is_first_frame(content: bytes, place: int) -> bool:
    frame = _frame_at(content, place)
    return frame is not None and _frame_at(content, place + frame.length) is not None


def _frame_at(content: bytes, place: int) -> _Frame | None:
    """Return the layer III frame that starts at a byte, or None."""
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
