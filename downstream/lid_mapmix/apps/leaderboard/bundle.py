"""A bundle of a leaderboard: a zip of scores, settings, versions and commands that reproduces every figure."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...utils.files import replace_when_complete
from ...utils.run_folder import RunFolder
from .state import SETTINGS_NAME, STATE_NAME, Status, read_state
from .tables import CONTENT_NAME


def write_bundle(path: Path, root: Path, content: Mapping[str, Any]) -> None:
    """Write a bundle of the complete runs, complete or not at all; the same runs give the same bytes.

    `content`: result of `tables.content_of`.
    """
    names = [CONTENT_NAME]
    for run in content["runs"]:
        if run["status"] == Status.COMPLETE.value:
            names += _files_of(root, root / run["folder"])
    with replace_when_complete(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in dict.fromkeys(names):
            entry = zipfile.ZipInfo(name)  # without the time stamp of the file
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, (root / name).read_bytes(), zipfile.ZIP_DEFLATED)


def _files_of(root: Path, folder: Path) -> list[str]:
    """List the files needed to recompute the figures of a run and to repeat it, relative to the folder of the grid."""
    state = read_state(folder)
    run = RunFolder(folder)
    paths = [
        run.scores("test"),
        run.scores("dev"),
        run.metrics("test"),
        run.calibration,
        folder / STATE_NAME,
        folder / SETTINGS_NAME,
        run.parameters,
    ]
    paths.append(run.settings_file())
    if state.datamap:
        paths += [root / state.datamap / name for name in (STATE_NAME, SETTINGS_NAME)]
    return [path.relative_to(root).as_posix() for path in paths if path.is_file()]
