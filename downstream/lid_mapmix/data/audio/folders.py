"""Audio files in a folder, recognised by their extensions."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from ...utils.errors import UserError

EXTENSIONS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".sph")


def _refuse(fault: UserError) -> None:
    raise fault


def audio_below(folder: Path, report: Callable[[UserError], None] = _refuse) -> list[Path]:
    """Return the audio files of a folder and its subfolders, sorted; follows links, and visits each folder once.

    Parameters
    ----------
    folder : where to look.
    report : called with the error of each unreadable folder, which is then skipped; raises it by default.

    Raises
    ------
    UserError : a folder cannot be read.
    """

    def unreadable(error: OSError) -> None:
        report(UserError(f"{error.filename}: cannot be read ({error.strerror}). Correct its permissions, or move it."))

    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(folder, onerror=unreadable, followlinks=True):
        # Sorted, so that of two paths to a folder the same one is always skipped.
        folders.sort()
        state = Path(parent).stat()
        if (state.st_dev, state.st_ino) in seen:
            folders.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        # macOS writes files named ._NAME.wav without audio.
        found += [
            Path(parent) / name
            for name in names
            # Not pathlib, which is far slower.
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS  # noqa: PTH122
        ]
    return sorted(found)


def listing_digest(folder: Path) -> str:
    """Return a digest of the audio files of a folder: SHA-256 of their names and sizes.

    Their content, which may be gigabytes, is not read; their times, which copying and unpacking change, are not used.

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
