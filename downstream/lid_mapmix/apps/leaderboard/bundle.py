"""A bundle of a leaderboard: a zip of scores, settings, versions and commands, from which every figure follows."""

import json
import math
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...files import replace_when_complete
from ..datamap_stage import file_digest
from ..run_folder import PARAMETERS_NAME, kept_settings
from .grid import Run
from .results import SCORE_FILES, read_result, summarize
from .state import STATE_NAME, Status, read_state
from .tables import FORMAT, NAME, content_of

_CONTENT = f"{NAME}.json"
_DIGESTS = "sha256.json"
# Figures go through text and another machine's arithmetic.
_TOLERANCE = 1e-6


def write_bundle(path: Path, root: Path, content: Mapping[str, Any]) -> None:
    """Write the bundle of the complete runs, complete or not at all.

    Parameters
    ----------
    path : the zip.
    root : folder of the grid.
    content : what `tables.content_of` returns.
    """
    names = [_CONTENT]
    for run in content["runs"]:
        if run["status"] == Status.COMPLETE.value:
            names += _files_of(root, root / run["folder"])
    digests = {name: file_digest(root / name) for name in dict.fromkeys(names)}
    with (
        replace_when_complete(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in digests:
            archive.write(root / name, name)
        archive.writestr(_DIGESTS, json.dumps(digests, indent=1))


def _files_of(root: Path, folder: Path) -> list[str]:
    """List what a run's figures, and its repetition, take; names are relative to the grid's folder."""
    state = read_state(folder)
    paths = [folder / name for name in (*SCORE_FILES, STATE_NAME, "settings.yaml", PARAMETERS_NAME)]
    paths.append(kept_settings(folder))
    if state.datamap:
        paths += [root / state.datamap / name for name in (STATE_NAME, "settings.yaml")]
    return [path.relative_to(root).as_posix() for path in paths if path.is_file()]


def verify(path: Path) -> list[str]:
    """Compute every figure of a bundle anew, and return a line for each that differs, and for each changed file.

    Raises
    ------
    UserError : no such file, or no bundle.
    """
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
            archive.extractall(folder)  # names that lead out of the folder are made to stay in it
            return list(_differences(path, Path(folder)))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. Name a bundle that --bundle wrote.") from None
    except zipfile.BadZipFile:
        raise UserError(f"{path}: is damaged, or no zip. Name a bundle that --bundle wrote.") from None


def _differences(path: Path, root: Path) -> Iterator[str]:
    try:
        content = json.loads((root / _CONTENT).read_text(encoding="utf-8"))
        digests = json.loads((root / _DIGESTS).read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError("another format")
        runs = [Run(run["upstream"], run["variant"], run["data"], int(run["seed"])) for run in content["runs"]]
        samples = int(content["samples"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{path}: is no bundle of a leaderboard. Name one that --bundle wrote.") from None
    for name, digest in digests.items():
        if (found := file_digest(root / name)) != digest:
            yield f"{name}: {'is another file than' if found else 'is not there as'} when it was packed"
    results = []
    for run, said in zip(runs, content["runs"], strict=True):
        # What was not complete has left nothing to compute from.
        if said["status"] == Status.COMPLETE.value:
            try:
                results.append(read_result(root, run, samples))
            except UserError as error:
                yield f"{run}: cannot be computed: {error}"
    again = content_of(results, summarize(results), samples)
    found_runs = {run["folder"]: run for run in again["runs"]}
    for said in content["runs"]:
        found = found_runs.get(said["folder"])
        if found is not None:
            yield from _compare(said["folder"], said, found)
    found_rows = {(row["upstream"], row["variant"]): row for row in again["rows"]}
    for row in content["rows"]:
        found = found_rows.get((row["upstream"], row["variant"]))
        if found is not None:
            # How many there were to be is not in the files.
            yield from _compare(f"{row['upstream']} {row['variant']}", row, found | {"runs": row["runs"]})
        elif row["complete"]:
            yield f"{row['upstream']} {row['variant']}: {row['complete']} runs are said, found none"


def _compare(place: str, said: Any, found: Any) -> Iterator[str]:
    if isinstance(said, Mapping) and isinstance(found, Mapping):
        for name in dict.fromkeys([*said, *found]):
            yield from _compare(f"{place} {name}", said.get(name), found.get(name))
        return
    numbers = [value for value in (said, found) if isinstance(value, int | float)]
    if len(numbers) == len((said, found)) and math.isclose(said, found, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE):
        return
    if said != found:
        yield f"{place}: {said!r} is said, {found!r} follows from the files"
