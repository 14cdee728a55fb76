"""Which files of a folder are audio, by their names."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from ...utils.errors import UserError

EXTENSIONS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".sph")


def _refuse(fault: UserError) -> None:
    raise fault


def audio_below(folder: Path, report: Callable[[UserError], None] = _refuse) -> list[Path]:
    """Return the audio files of a folder and all below it, sorted; through links too, and each folder once.

    Parameters
    ----------
    folder : where to look.
    report : is told of each folder that cannot be read, the others go on; by default the first is raised.

    Raises
    ------
    UserError : a folder cannot be read.
    """

    def unreadable(error: OSError) -> None:
        report(UserError(f"{error.filename}: cannot be read ({error.strerror}). Correct its rights, or move it away."))

    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(folder, onerror=unreadable, followlinks=True):
        # In order, so that of two ways to a folder it is always the same that is gone.
        folders.sort()
        state = Path(parent).stat()
        if (state.st_dev, state.st_ino) in seen:
            folders.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        # macOS leaves files named ._NAME.wav that hold no audio.
        found += [
            Path(parent) / name
            for name in names
            # Not Path, which is far slower.
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS  # noqa: PTH122
        ]
    return sorted(found)


def listing_digest(folder: Path) -> str:
    """Return what names the audio of a folder: the SHA-256 of the names and sizes of its files.

    Content is not read, of what may be gigabytes, nor the time, which copying and unpacking change.

    Raises
    ------
    UserError : a folder cannot be read.
    """
    digest = hashlib.sha256()
    for path in audio_below(folder):
        digest.update(
            f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode(errors="surrogateescape")
        )
    return digest.hexdigest()
