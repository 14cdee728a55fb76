"""The length of MP3 files, by their frames.

Encoders write the length into a first frame of their own (Xing, Info or VBRI). libsndfile relies on it, so of several
joined files it reads the first only. If that frame is missing, as in a part cut from a stream, libsndfile guesses the
length from the bit rate of the first frame: some samples too many, or a fifth if the bit rate varies. Here frames are
counted where the length is not declared, or contradicts the size of the file.
"""

from typing import BinaryIO, NamedTuple

from .faults import FileFault

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


class Length(NamedTuple):
    """Samples per channel that can be read, or a fault, described."""

    frames: int
    fault: FileFault = FileFault.NONE
    detail: str = ""


def true_length(file: BinaryIO, size: int, frames: int) -> Length:
    """Return the length of an MP3 file of `size` bytes, of which libsndfile says that it has `frames` samples."""
    at = _after_id3(file, 0)
    file.seek(at)
    content = file.read(_MAX_JUNK)
    first = next((place for place in range(len(content)) if _is_first_frame(content, place)), None)
    if first is None:
        return Length(frames)
    declared, declared_bytes = _declared(content[first:])
    if declared is not None and declared_bytes and abs(size - at - first - declared_bytes) <= _SIZE_TOLERANCE:
        return Length(frames)
    return _judge(content[first:] + file.read(), frames, declared)


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


def _judge(content: bytes, frames: int, declared: int | None) -> Length:
    """Compare the frames of a file that starts with one with what its first frame declares, or with the guess."""
    count, samples, fault = _count(content)
    if fault is not None:
        return Length(frames, *fault)
    if declared is not None:
        count -= 1
    if declared and abs(count - declared) > 1:
        if count > declared:
            return Length(frames, FileFault.JOINED, f"several MP3 files in one: {count} frames, not {declared}")
        return Length(frames, FileFault.TRUNCATED, f"{count} of {declared} declared MP3 frames")
    if not declared and count * samples - frames > _MAX_MISSING * samples:
        return Length(frames, FileFault.UNKNOWN_LENGTH, "an MP3 of variable bit rate without a Xing or Info frame")
    return Length(frames if declared else min(count * samples, frames))


def _count(content: bytes) -> tuple[int, int, tuple[FileFault, str] | None]:
    """Return the number of frames, the samples of each, and a fault that keeps libmpg123 from reading them all."""
    at = count = 0
    first: _Frame | None = None
    while True:
        frame = _frame_at(content, at)
        if frame is None or at + frame.length > len(content):
            found = _next_frame(content, at)
            if found is None:
                return count, first.samples if first else 0, None
            if found - at > _MAX_GAP and content[at : at + 3] != b"ID3":
                return count, 0, (FileFault.UNREADABLE, f"{found - at} bytes of other data between MP3 frames")
            at = found
            continue
        first = first or frame
        if frame.form != first.form:
            return count, 0, (FileFault.JOINED, "several MP3 files in one, of different rates or channels")
        at += frame.length
        count += 1


def _next_frame(content: bytes, at: int) -> int | None:
    """Return the place of the next two frames, after tags and other data."""
    if content[at : at + 3] == b"ID3":
        at += _id3_bytes(content[at : at + _ID3_BYTES])
    while (at := content.find(b"\xff", at)) >= 0:
        if _is_first_frame(content, at):
            return at
        at += 1
    return None


def _after_id3(file: BinaryIO, at: int) -> int:
    file.seek(at)
    start = file.read(_ID3_BYTES)
    return at + _id3_bytes(start) if start[:3] == b"ID3" else at


def _id3_bytes(start: bytes) -> int:
    # The size of an ID3 tag has seven bits per byte.
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
