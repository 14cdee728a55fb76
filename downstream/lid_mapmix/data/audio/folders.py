"""Audio files in a folder, recognised by their extensions."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path

from ...utils.errors import UserError

# What libsndfile reads, except what is seldom a recording: matrices (.mat), features (.htk), headerless samples (.raw).
EXTENSIONS = (
    ".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".mp2", ".sph", ".aif", ".aiff",
    ".aifc", ".au", ".snd", ".caf", ".voc", ".svx", ".avr", ".paf", ".pvf", ".sf",
)  # fmt: skip


def _refuse(fault: UserError) -> None:
    raise fault


def audio_below(
    folder: Path,
    report: Callable[[UserError], None] = _refuse,
    extensions: Collection[str] = EXTENSIONS,
    left_out: Counter[str] | None = None,
) -> list[Path]:
    """Return the audio files of a folder and its subfolders, sorted; follows links, and visits each folder once.

    Raises UserError: a folder cannot be read.

    `folder`: where to look. `report`: called with the error of each unreadable folder, which is then skipped; raises it
    by default. `extensions`: of audio, in lower case. `left_out`: if given, the other files are added to it, by
    extension; "" for none.
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
        for name in names:
            # macOS writes files named ._NAME.wav without audio.
            if name.startswith("."):
                continue
            # Not pathlib, which is far slower.
            extension = os.path.splitext(name)[1].lower()  # noqa: PTH122
            if extension in extensions:
                found.append(Path(parent) / name)
            elif left_out is not None:
                left_out[extension] += 1
    return sorted(found)


def describe_left_out(left_out: Counter[str]) -> str:
    """Return the numbers of files by extension as text."""
    return ", ".join(f"{count} {extension or 'without an extension'}" for extension, count in left_out.most_common())


def listing_digest(folder: Path) -> str:
    """Return a digest of the audio files of a folder: SHA-256 of their names and sizes.

    Their content, which may be gigabytes, is not read; their times, which copying and unpacking change, are not used.

    Raises UserError: a folder cannot be read.
    """
    digest = hashlib.sha256()
    for path in audio_below(folder):
        digest.update(
            f"{path.relative_to(folder).as_posix()}\0{path.stat().st_size}\0".encode(errors="surrogateescape")
        )
    return digest.hexdigest()
