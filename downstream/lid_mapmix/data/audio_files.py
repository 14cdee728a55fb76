"""Which files of a folder are audio, by their names."""

import os
from collections.abc import Callable
from pathlib import Path

from ..errors import UserError
from .audio import EXTENSIONS


def _refuse(fault: UserError) -> None:
    raise fault


def audio_below(folder: Path, report: Callable[[UserError], None] = _refuse) -> list[Path]:
    """Return the audio files of a folder and all below it, sorted.

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

    return sorted(
        Path(parent) / name
        for parent, _, names in os.walk(folder, onerror=unreadable)
        for name in names
        # macOS leaves files named ._NAME.wav that hold no audio.
        if not name.startswith(".") and os.path.splitext(name)[1].lower() in EXTENSIONS  # noqa: PTH122 - far quicker
    )
