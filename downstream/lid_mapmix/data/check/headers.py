"""Headers of audio files, and whether the files agree with them."""

import os
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO

import soundfile

from ...utils.errors import UserError
from ..audio.mp3 import is_guessed
from ..audio.reading import NOT_SEEKABLE, UNKNOWN_FRAMES, open_audio
from ..audio.shards import find_member, holding_file, open_bytes

_CHUNK_HEADER_BYTES = 8
_SPHERE_BYTES = 1024
_MAX_CHUNKS = 64
# Less than any header followed by audio.
_MIN_BYTES = 1_000
# Writers that cannot know the length, such as sox writing to a pipe, use lengths from here on.
_UNKNOWN_BYTES = 0x7FFF_0000
# PCM, float, A-law, µ-law, and their extensible forms: a fixed number of bytes per frame.
_PLAIN_FORMATS = (1, 3, 6, 7, 0xFFFE)


class FileFault(IntEnum):
    """Fault of a file, as far as its header shows it."""

    NONE = 0
    MISSING = 1
    EMPTY = 2
    UNREADABLE = 3
    UNKNOWN_LENGTH = 4
    TRUNCATED = 5

    @property
    def kind(self) -> str:
        """The name of the finding in findings.KINDS."""
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True)
class FileHeader:
    """The header of a file."""

    fault: FileFault
    detail: str = ""  # details of the fault, as text
    frames: int = 0  # samples per channel; 0 if unreadable
    sample_rate: int = 0  # samples per second
    channels: int = 0
    contradicts: bool = False  # whether the header has two different rates


@dataclass(frozen=True)
class _Declared:
    """Bytes of audio declared in a header, bytes present in the file, and declared bytes per second (0: none)."""

    declared: int
    present: int
    bytes_per_second: int = 0
    frame_bytes: int = 0


def read_file_header(path: Path) -> FileHeader:
    """Read a header; a fault is returned, never raised."""
    try:
        return _read(path)
    except (soundfile.SoundFileError, OSError) as error:
        return _unreadable(path, str(error))
    except UserError as error:  # of a member
        fault = FileFault.UNREADABLE if holding_file(path).is_file() else FileFault.MISSING
        return FileHeader(fault, str(error).removeprefix(f"{path}: "))


def _read(path: Path) -> FileHeader:
    opened = open_audio(path, only_header=True) if find_member(path) else soundfile.SoundFile(os.fsencode(path))
    with opened as file:
        frames, rate, channels = file.frames, file.samplerate, file.channels
        container, subtype, seekable = file.format, file.subtype, file.seekable()
    if frames <= 0 or rate <= 0:
        member = find_member(path)
        size = path.stat().st_size if member is None else member.size
        # A recorder that was stopped before it wrote the length leaves such a file.
        begun = "" if size < _MIN_BYTES else f" in its header, which was never completed: the file has {size} bytes"
        return FileHeader(FileFault.EMPTY, f"no samples{begun}")
    if frames == UNKNOWN_FRAMES:
        return FileHeader(FileFault.UNKNOWN_LENGTH, "as flac written to a pipe")
    if not seekable:
        return FileHeader(FileFault.UNREADABLE, NOT_SEEKABLE.format(subtype))
    if container == "MP3":
        with open_bytes(path) as content:
            if is_guessed(content, frames):
                return FileHeader(FileFault.UNKNOWN_LENGTH, "an MP3 without a Xing or Info frame")
    declared = _declared(path, container)
    fault, detail, contradicts = FileFault.NONE, "", False
    if declared is not None:
        contradicts = 0 < declared.bytes_per_second != rate * declared.frame_bytes
        if declared.present < declared.declared:
            fault = FileFault.TRUNCATED
            detail = f"{declared.declared} bytes of audio declared, {declared.present} present"
        elif contradicts:
            detail = f"{rate} Hz, but {declared.bytes_per_second} bytes per second of {declared.frame_bytes} per sample"
    return FileHeader(fault, detail, frames, rate, channels, contradicts)


def _unreadable(path: Path, reason: str) -> FileHeader:
    try:
        if not path.is_file():
            return FileHeader(FileFault.MISSING)
        if path.stat().st_size == 0:
            return FileHeader(FileFault.EMPTY, "0 bytes")
        with path.open("rb") as file:
            if b"shorten" in file.read(_SPHERE_BYTES):
                reason = "SPHERE compressed by shorten: decompress it with sph2pipe"
    except OSError as error:
        reason = error.strerror or str(error)
    return FileHeader(FileFault.UNREADABLE, reason.rsplit("': ", 1)[-1].strip(" ."))


def _declared(path: Path, container: str) -> _Declared | None:
    """Return what a WAV or SPHERE header declares; None for other files, or without a length.

    libsndfile itself accepts a truncated file as complete.
    """
    if container not in ("WAV", "WAVEX", "NIST"):
        return None
    with open_bytes(path) as file:
        size = file.seek(0, 2)
        file.seek(0)
        return _declared_by_sphere(file, size) if container == "NIST" else _declared_by_riff(file, size)


def _declared_by_riff(file: BinaryIO, size: int) -> _Declared | None:
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
            return _Declared(length, size - file.tell(), bytes_per_second, frame_bytes)
        start = file.tell()
        if name == b"fmt ":
            form = file.read(14)
            if int.from_bytes(form[:2], "little") in _PLAIN_FORMATS:
                bytes_per_second, frame_bytes = (
                    int.from_bytes(form[8:12], "little"),
                    int.from_bytes(form[12:], "little"),
                )
        file.seek(start + length + length % 2)
    return None


def _declared_by_sphere(file: BinaryIO, size: int) -> _Declared | None:
    lines = file.read(_SPHERE_BYTES).decode("latin-1").splitlines()
    fields = {parts[0]: parts[2] for parts in (line.split(" ", 2) for line in lines) if len(parts) == 3}  # noqa: PLR2004
    try:
        count, width = int(fields["sample_count"]), int(fields["sample_n_bytes"])
        return _Declared(count * width * int(fields.get("channel_count", 1)), size - int(lines[1]))
    except (KeyError, ValueError, IndexError):
        return None
