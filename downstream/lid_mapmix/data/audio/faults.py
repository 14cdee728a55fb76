"""What is wrong with an audio file, as far as its header and its container show it."""

from enum import IntEnum
from pathlib import Path

from ...utils.errors import UserError

RESTORE = "It is truncated: restore it or remove it."


class FileFault(IntEnum):
    """Fault of a file."""

    NONE = 0
    MISSING = 1
    EMPTY = 2
    UNREADABLE = 3
    UNKNOWN_LENGTH = 4
    TRUNCATED = 5
    JOINED = 6

    @property
    def kind(self) -> str:
        """The name of the finding in check.findings.KINDS."""
        return self.name.lower().replace("_", " ")


class AudioFileError(UserError):
    """A fault of an audio file; its message begins with the file's name."""

    def __init__(self, message: str, fault: FileFault = FileFault.UNREADABLE) -> None:
        super().__init__(message)
        self.fault = fault


class ForeignAudioError(AudioFileError):
    """Audio that libsndfile does not read but ffmpeg does, such as m4a."""


def unreadable_end(path: Path, fault: FileFault, found: str, remedy: str) -> AudioFileError:
    """Return the error of a file of which libsndfile does not read all."""
    return AudioFileError(f"{path}: expected audio that can be read to its end, found {found}. {remedy}", fault)
