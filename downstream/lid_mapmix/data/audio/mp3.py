"""The length of MP3 files, by their frames.

Encoders write the length into a first frame of their own (Xing, Info or VBRI). libsndfile relies on it, so of several
joined files it reads the first only. If that frame is missing, as in a part cut from a stream, libsndfile guesses the
length from the bit rate of the first frame: some samples too many, or a fifth if the bit rate varies. Here frames are
counted where the length is not declared, or contradicts the size of the file.
"""

from pathlib import Path
from typing import BinaryIO, NamedTuple

from .conversion import to_wav
from .faults import RESTORE, FileFault, unreadable_end

_ID3_BYTES = 10
_FRAME_HEADER_BYTES = 4
# Maximum junk before the first frame that is skipped, and between others, where libmpg123 gives up after it.
_MAX_JUNK = 1 << 14
_MAX_GAP = 1 << 10
# After the frame's header and side information; that of MPEG 1 in stereo is the longest.
_LENGTH_TAGS = (b"Xing", b"Info", b"VBRI")
_LENGTH_TAG_BYTES = 64
_HAS_FRAMES, _HAS_BYTES = 1, 2
# Of a file with the right length: an ID3 tag of version 1, and a frame that the declared bytes may leave out.
_SIZE_TOLERANCE = 600
# By the two version bits: 2.5, (none), 2, 1. kbit/s of layer III by four bits, for MPEG 1 and for the others.
_SAMPLE_RATES = ((11_025, 12_000, 8_000), (), (22_050, 24_000, 16_000), (44_100, 48_000, 32_000))
_BIT_RATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_BIT_RATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MPEG_1, _LAYER_3, _MONO = 3, 1, 3
# Frames that the guess may lack at the end.
_MAX_MISSING = 2


class _Frame(NamedTuple):
    """A frame: number of bytes and samples, and its sample rate and whether it is mono."""

    length: int
    samples: int
    form: tuple[int, bool]


def true_length(path: Path, file: BinaryIO, size: int, frames: int) -> int:
    """Return the samples per channel of an MP3 file of `size` bytes, of which libsndfile says that it has `frames`.

    Raises AudioFileError: libsndfile would not read all of it.
    """
    file.seek(0)
    at = _id3_bytes(file.read(_ID3_BYTES))
    file.seek(at)
    content = file.read(_MAX_JUNK)
    first = next((place for place in range(len(content)) if _is_first_frame(content, place)), None)
    if first is None:
        return frames
    declared, declared_bytes = _declared(content[first:])
    if declared and declared_bytes and abs(size - at - first - declared_bytes) <= _SIZE_TOLERANCE:
        return frames
    count, samples = _count(path, content[first:] + file.read())
    if not declared:
        # The first frame has no audio if it has such a tag, even one without the number of frames.
        counted = (count - (declared is not None)) * samples
        if counted - frames > _MAX_MISSING * samples:
            found = "an MP3 of variable bit rate without a Xing or Info frame"
            raise unreadable_end(path, FileFault.UNKNOWN_LENGTH, found, to_wav(path))
        return min(counted, frames)
    if count > declared + 2:
        found = f"several MP3 files in one: {count - 1} frames, not {declared}"
        raise unreadable_end(path, FileFault.JOINED, found, to_wav(path))
    if count < declared:
        raise unreadable_end(path, FileFault.TRUNCATED, f"{count - 1} of {declared} declared MP3 frames", RESTORE)
    return frames


def _declared(content: bytes) -> tuple[int | None, int]:
    """Return the numbers of frames, None if there is no such tag, and bytes (0: none) that the first frame declares."""
    place, name = max((content.find(tag, 0, _LENGTH_TAG_BYTES), tag) for tag in _LENGTH_TAGS)
    if place < 0:
        return None, 0
    fields = [int.from_bytes(content[at : at + 4]) for at in range(place + 4, place + 18, 4)]
    if name == b"VBRI":
        return int.from_bytes(content[place + 14 : place + 18]), int.from_bytes(content[place + 10 : place + 14])
    flags, *rest = fields
    return (rest.pop(0) if flags & _HAS_FRAMES else 0), (rest.pop(0) if flags & _HAS_BYTES else 0)


def _count(path: Path, content: bytes) -> tuple[int, int]:
    """Return the number of frames of a file that begins with one, and the samples of each."""
    at = count = 0
    first: _Frame | None = None
    while True:
        frame = _frame_at(content, at)
        if frame is None or at + frame.length > len(content):
            found = _next_frame(content, at)
            if found is None:
                return count, first.samples if first else 0
            if found - at > _MAX_GAP and content[at : at + 3] != b"ID3":
                gap = f"{found - at} bytes of other data between MP3 frames"
                raise unreadable_end(path, FileFault.UNREADABLE, gap, to_wav(path))
            at = found
            continue
        first = first or frame
        if frame.form != first.form:
            found_forms = "several MP3 files in one, of different rates or channels"
            raise unreadable_end(path, FileFault.JOINED, found_forms, to_wav(path))
        at += frame.length
        count += 1


def _next_frame(content: bytes, at: int) -> int | None:
    """Return the place of the next two frames, after tags and other data."""
    at += _id3_bytes(content[at : at + _ID3_BYTES])
    while (at := content.find(b"\xff", at)) >= 0:
        if _is_first_frame(content, at):
            return at
        at += 1
    return None


def _id3_bytes(start: bytes) -> int:
    """Return the length of the ID3 tag that begins with `start`, 0 if there is none."""
    if start[:3] != b"ID3":
        return 0
    # Its size has seven bits per byte.
    return _ID3_BYTES + sum((byte & 0x7F) << shift for byte, shift in zip(start[6:], (21, 14, 7, 0), strict=False))


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
    length = samples // 8 * 1000 * bit_rates[bit_rate] // rates[sample_rate] + padding
    return _Frame(length, samples, (rates[sample_rate], header[3] >> 6 == _MONO))
