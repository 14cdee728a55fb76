"""Faults of WAV, SPHERE, FLAC and Ogg files that libsndfile does not report: it reads the first of several joined files
and the beginning of a truncated one as if it were all.

Only headers and a few places of a file are read.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_CHUNK_HEADER_BYTES = 8
_SPHERE_BYTES = 1024
_MAX_CHUNKS = 64
# Writers that cannot know the length, such as sox writing to a pipe, use lengths from here on.
_UNKNOWN_BYTES = 0x7FFF_0000
# PCM, float, A-law, µ-law, and their extensible forms: a fixed number of bytes per frame.
_PLAIN_FORMATS = (1, 3, 6, 7, 0xFFFE)
# Longer than pages of Ogg usually are.
_PLACE_BYTES = 1 << 14
# Of frames of FLAC, if the file does not say how long they are.
_FLAC_FRAME_BYTES = 1 << 15
_PLACES = 5
# Magic, version 0, flags; granule position, serial number, sequence number.
_OGG_PAGE = re.compile(rb"OggS\x00([\x00-\x07])(.{8})(.{4})(.{4})", re.DOTALL)
_OGG_FIRST_PAGE = 2
_FLAC_START = re.compile(rb"fLaC([\x00\x80])\x00\x00\x22")
_FLAC_INFO_BYTES = 34


@dataclass(frozen=True)
class Declared:
    """Bytes of audio declared in a header, bytes present in the file, and declared bytes per second (0: none)."""

    declared: int
    present: int
    bytes_per_second: int = 0
    frame_bytes: int = 0


def declared_by_riff(file: BinaryIO, size: int) -> Declared | None:
    """Return what a WAV header declares; None without a length."""
    file.seek(12)
    bytes_per_second = frame_bytes = 0
    for _ in range(_MAX_CHUNKS):
        chunk = file.read(_CHUNK_HEADER_BYTES)
        if len(chunk) < _CHUNK_HEADER_BYTES:
            return None
        name, length = chunk[:4], int.from_bytes(chunk[4:], "little")
        if name == b"data":
            if length == 0 or length >= _UNKNOWN_BYTES:
                return None
            return Declared(length, size - file.tell(), bytes_per_second, frame_bytes)
        start = file.tell()
        if name == b"fmt ":
            form = file.read(14)
            if int.from_bytes(form[:2], "little") in _PLAIN_FORMATS:
                bytes_per_second, frame_bytes = (int.from_bytes(each, "little") for each in (form[8:12], form[12:]))
        file.seek(start + length + length % 2)
    return None


def declared_by_sphere(file: BinaryIO, size: int) -> Declared | None:
    """Return what a SPHERE header declares; None without a length."""
    file.seek(0)
    lines = file.read(_SPHERE_BYTES).decode("latin-1").splitlines()
    fields = {parts[0]: parts[2] for parts in (line.split(" ", 2) for line in lines) if len(parts) == 3}  # noqa: PLR2004
    try:
        count, width = int(fields["sample_count"]), int(fields["sample_n_bytes"])
        return Declared(count * width * int(fields.get("channel_count", 1)), size - int(lines[1]))
    except (KeyError, ValueError, IndexError):
        return None


def is_joined_wav(file: BinaryIO) -> bool:
    """Return whether another RIFF file follows the first one."""
    file.seek(0)
    start = file.read(_CHUNK_HEADER_BYTES)
    file.seek(_CHUNK_HEADER_BYTES + int.from_bytes(start[4:], "little"))
    return start[:4] == b"RIFF" == file.read(4)


def is_chained_ogg(file: BinaryIO, size: int) -> bool:
    """Return whether a stream follows the end of the first ones: a serial number that does not begin with the file, or
    sequence numbers that decrease.
    """
    first: set[bytes] = set()
    last: dict[bytes, int] = {}
    has_begun = False
    for page in (page for place in _places(file, size) for page in _OGG_PAGE.finditer(place)):
        begins, serial, number = page[1][0] & _OGG_FIRST_PAGE, page[3], int.from_bytes(page[4], "little")
        if begins and not has_begun:
            first.add(serial)
        has_begun |= not begins
        if serial not in first or number < last.get(serial, 0):
            return True
        last[serial] = number
    return False


def is_joined_flac(file: BinaryIO, size: int) -> bool:
    """Return whether another FLAC file follows the first one.

    The whole file is searched only if the frame numbers at a few places do not increase up to the declared length.
    """
    file.seek(0)
    head = file.read(_PLACE_BYTES)
    start = _FLAC_START.search(head)
    if start is None:
        return False
    info, at, is_last = head[start.end() :], start.end() + _FLAC_INFO_BYTES, start[1] != b"\x00"
    # So that a place has the start of a frame of full length.
    length = 3 * (int.from_bytes(info[7:10]) or _FLAC_FRAME_BYTES)
    block_size, samples = int.from_bytes(info[2:4]), int.from_bytes(info[13:18]) % 2**36
    file.seek(at)
    while not is_last and len(header := file.read(4)) == 4:  # noqa: PLR2004
        is_last, at = bool(header[0] >> 7), at + 4 + int.from_bytes(header[1:])
        file.seek(at)
    # Sync code, blocking strategy, block size and rate: equal in all frames but the last.
    frame = re.compile(re.escape(file.read(3)) + rb"[^\xff](.{7})", re.DOTALL)
    numbers = [_utf8_number(found[1]) for place in _places(file, size, at, length) for found in frame.finditer(place)]
    if numbers == sorted(numbers) and block_size * max(numbers, default=0) < samples:
        return False
    file.seek(at)
    return _FLAC_START.search(file.read()) is not None


def _places(file: BinaryIO, size: int, start: int = 0, length: int = _PLACE_BYTES) -> Iterator[bytes]:
    """Yield the content of a file at its start, at its end and between them, or all of it if it is small."""
    if size - start <= _PLACES * length:
        file.seek(start)
        yield file.read()
        return
    for number in range(_PLACES):
        file.seek(start + (size - start - length) * number // (_PLACES - 1))
        yield file.read(length)


def _utf8_number(content: bytes) -> int:
    """Return a number of up to 36 bits in FLAC's extension of UTF-8."""
    first = content[0]
    ones = 8 - (first ^ 0xFF).bit_length()
    number = first & (0x7F >> ones)
    for byte in content[1 : max(ones, 1)]:
        number = number << 6 | byte & 0x3F
    return number
