"""A bundle of a leaderboard: a zip of scores, settings, versions and commands, from which every figure follows."""

import json
import math
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...utils.digests import file_digest
from ...utils.errors import UserError
from ...utils.files import replace_when_complete
from ...utils.run_folder import RunFolder
from .grid import NAME_PATTERN, Run
from .results import read_result, summarize
from .state import SETTINGS_NAME, STATE_NAME, Status, read_state
from .tables import CONTENT_NAME, FORMAT, content_of

_DIGESTS = "sha256.json"
# Figures go through text and another machine's arithmetic.
_TOLERANCE = 1e-6
# Files of scores are numbers, each with an id: they shrink to a third, not to a hundredth.
_MOST_TIMES = 100
_SPARE_BYTES = 10_000_000
_NO_BUNDLE = "is no bundle of a leaderboard. Name one that --bundle wrote."


def write_bundle(path: Path, root: Path, content: Mapping[str, Any]) -> None:
    """Write the bundle of the complete runs, complete or not at all; the same runs give the same bytes.

    Parameters
    ----------
    path : the zip.
    root : folder of the grid.
    content : what `tables.content_of` returns.
    """
    names = [CONTENT_NAME]
    for run in content["runs"]:
        if run["status"] == Status.COMPLETE.value:
            names += _files_of(root, root / run["folder"])
    digests = {name: file_digest(root / name) for name in dict.fromkeys(names)}
    with replace_when_complete(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in digests:
            with (root / name).open("rb") as file, archive.open(_entry(name), "w", force_zip64=True) as packed:
                shutil.copyfileobj(file, packed)
        archive.writestr(_entry(_DIGESTS), json.dumps(digests, indent=1))


def _entry(name: str) -> zipfile.ZipInfo:
    """Return the entry of a file, without its time."""
    entry = zipfile.ZipInfo(name)
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    return entry


def _files_of(root: Path, folder: Path) -> list[str]:
    """List what a run's figures, and its repetition, take; names are relative to the grid's folder."""
    state = read_state(folder)
    run = RunFolder(folder)
    paths = [run.scores("test"), run.scores("dev"), folder / STATE_NAME, folder / SETTINGS_NAME, run.parameters]
    paths.append(run.settings_file())
    if state.datamap:
        paths += [root / state.datamap / name for name in (STATE_NAME, SETTINGS_NAME)]
    return [path.relative_to(root).as_posix() for path in paths if path.is_file()]


def verify(path: Path) -> list[str]:
    """Compute every figure of a bundle anew, and return a line for each that differs, and for each changed file.

    Raises
    ------
    UserError : no such file, or no bundle.
    """
    with tempfile.TemporaryDirectory() as folder:
        names = _unpack(path, Path(folder))
        said = _read_said(path, Path(folder))
        return [*_changed_files(names, Path(folder)), *_differences(said, Path(folder))]


def _unpack(path: Path, folder: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            if size > _MOST_TIMES * path.stat().st_size + _SPARE_BYTES:
                raise UserError(f"{path}: would unpack to {size:,} bytes; {_NO_BUNDLE}")
            archive.extractall(folder)  # names that lead out of the folder are made to stay in it
            return archive.namelist()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. Name a bundle that --bundle wrote.") from None
    # What a damaged archive raises depends on where it is damaged; RuntimeError is of one with a password.
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        raise UserError(f"{path}: is damaged, or no zip. Name a bundle that --bundle wrote.") from None


@dataclass(frozen=True)
class _Said:
    """What a bundle says.

    Attributes
    ----------
    samples : resamples of its tests.
    runs : each with what is said of it.
    rows : upstream and variant → what is said of it.
    """

    samples: int
    runs: list[tuple[Run, dict[str, Any]]]
    rows: dict[tuple[str, str], dict[str, Any]]


def _read_said(path: Path, root: Path) -> _Said:
    """Read what a bundle says, the form of it checked.

    Raises
    ------
    UserError : it is no bundle, or one of another version.
    """
    try:
        content = json.loads((root / CONTENT_NAME).read_text(encoding="utf-8"))
        form = str(content["format"])
        if form != FORMAT and form.startswith(FORMAT.rstrip("0123456789")):
            raise UserError(f"{path}: expected {FORMAT!r}, found {form!r}. Verify it by the version that packed it.")
        if form != FORMAT or content["samples"] < 1:
            raise ValueError
        runs = [(_run(run), dict(run)) for run in content["runs"]]
        rows = {(str(row["upstream"]), str(row["variant"])): dict(row) for row in content["rows"]}
        if any({"folder", "status"} - said.keys() for _, said in runs):
            raise ValueError
        return _Said(int(content["samples"]), runs, rows)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path}: {_NO_BUNDLE}") from None


def _run(said: Mapping[str, Any]) -> Run:
    run = Run(said["upstream"], said["variant"], said["data"], int(said["seed"]))
    # They name folders, which are to be those of the bundle.
    if not all(NAME_PATTERN.fullmatch(name) for name in (run.upstream, run.variant, run.data)):
        raise ValueError
    return run


def _changed_files(names: list[str], root: Path) -> Iterator[str]:
    try:
        digests = dict(json.loads((root / _DIGESTS).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        yield f"{_DIGESTS}: cannot be read"
        return
    for name, digest in digests.items():
        if name not in names:
            yield f"{name}: is not there as when it was packed"
        elif file_digest(root / name) != digest:
            yield f"{name}: is another file than when it was packed"
    yield from (f"{name}: was not packed" for name in names if name not in digests and name != _DIGESTS)


def _differences(said: _Said, root: Path) -> Iterator[str]:
    results = []
    for run, of_run in said.runs:
        # What was not complete has left nothing to compute from.
        if of_run["status"] == Status.COMPLETE.value:
            try:
                results.append(read_result(root, run, said.samples))
            except UserError as error:
                yield f"{run}: cannot be computed: {error}"
    again = content_of(results, summarize(results), said.samples)
    found_runs = {run["folder"]: run for run in again["runs"]}
    for run, of_run in said.runs:
        if (found := found_runs.get(run.folder.as_posix())) is not None:
            yield from _compare(run.folder.as_posix(), of_run, found)
    found_rows = {(row["upstream"], row["variant"]): row for row in again["rows"]}
    for names in dict.fromkeys([*said.rows, *found_rows]):
        row, found, place = said.rows.get(names), found_rows.get(names), " ".join(names)
        if row is None:
            yield f"{place}: no row is said, its runs are there"
        elif found is not None:
            # How many there were to be is not in the files.
            yield from _compare(place, row, found | {"runs": row.get("runs")})
        elif row.get("complete"):
            yield f"{place}: {row['complete']} runs are said, found none"


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
