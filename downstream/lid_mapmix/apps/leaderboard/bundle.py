"""A bundle of a leaderboard: a zip of scores, settings, versions and commands that reproduces every figure."""

import contextlib
import errno
import json
import math
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...utils.digests import file_digest
from ...utils.errors import UserError, is_of_the_system
from ...utils.files import replace_when_complete
from ...utils.one_line import one_line
from ...utils.run_folder import RunFolder
from ..settings.arguments import SEED_LIMIT
from .grid import NAME_PATTERN, Run
from .results import read_result, summarize
from .state import SETTINGS_NAME, STATE_NAME, Status, read_state
from .tables import CONTENT_NAME, FORMAT, content_of

_DIGESTS = "sha256.json"
# Figures are rounded as text, and recomputed on another machine.
_TOLERANCE = 1e-6
# Score files shrink to about a third, never to a hundredth: a zip that unpacks to more is refused.
_MAX_RATIO = 100
_SPARE_BYTES = 10_000_000
_NAME_ONE = "Name a bundle that --bundle wrote."
_NO_BUNDLE = f"expected a bundle of a leaderboard. {_NAME_ONE}"
# What values of others raise where they are computed with.
_FAULTS = (ArithmeticError, ValueError, TypeError, LookupError, AttributeError, MemoryError, RecursionError, OSError)
# More resamples would take hours.
_MAX_SAMPLES = 100_000


def write_bundle(path: Path, root: Path, content: Mapping[str, Any]) -> None:
    """Write a bundle of the complete runs, complete or not at all; the same runs give the same bytes.

    `content`: result of `tables.content_of`.
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
    """Return the zip entry of a file, without its time stamp."""
    entry = zipfile.ZipInfo(name)
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    return entry


def _files_of(root: Path, folder: Path) -> list[str]:
    """List the files needed to recompute the figures of a run and to repeat it, relative to the folder of the grid."""
    state = read_state(folder)
    run = RunFolder(folder)
    paths = [
        run.scores("test"),
        run.scores("dev"),
        run.metrics("test"),
        folder / STATE_NAME,
        folder / SETTINGS_NAME,
        run.parameters,
    ]
    paths.append(run.settings_file())
    if state.datamap:
        paths += [root / state.datamap / name for name in (STATE_NAME, SETTINGS_NAME)]
    return [path.relative_to(root).as_posix() for path in paths if path.is_file()]


def verify(path: Path) -> list[str]:
    """Recompute every figure of a bundle, and return one line per figure that differs and per changed file.

    Raises UserError: the file does not exist, or is not a bundle.
    """
    with tempfile.TemporaryDirectory() as folder:
        names = _unpack(path, Path(folder))
        stated = _read_stated(path, Path(folder))
        lines = [*_changed_files(path, names, Path(folder)), *_differences(stated, Path(folder))]
        return [one_line(line.replace(f"{folder}/", f"{path}: ")) for line in lines]


def _check_name(path: Path, name: str) -> None:
    """Refuse a name that is not below the bundle's own folder on every system. Raises UserError: it is such a name."""
    if re.search(r"[\\:\0]|^/|(^|/)\.\.(/|$)", name) or not name:
        raise UserError(f"{path}: expected names of files in the bundle, found {name!a}. {_NAME_ONE}")


def _unpack(path: Path, folder: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            if size > _MAX_RATIO * path.stat().st_size + _SPARE_BYTES:
                raise UserError(f"{path}: unpacks to {size:,} bytes; {_NO_BUNDLE}")
            for entry in archive.infolist():
                _check_name(path, entry.filename)
                if stat.S_ISLNK(entry.external_attr >> 16):
                    raise UserError(f"{path}: expected files, found the link {entry.filename!a}. {_NAME_ONE}")
            archive.extractall(folder)
            return archive.namelist()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. Name a bundle that --bundle wrote.") from None
    except UserError:
        raise
    # A damaged archive raises any of these; one with a password raises RuntimeError.
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        # A long name is the archive's.
        if is_of_the_system(error) and getattr(error, "errno", None) != errno.ENAMETOOLONG:
            raise
        raise UserError(f"{path}: expected a zip, found a damaged or another file. {_NAME_ONE}") from None


@dataclass(frozen=True)
class _Stated:
    """The content of leaderboard.json in a bundle."""

    samples: int
    runs: list[tuple[Run, dict[str, Any]]]  # runs with their stated values
    rows: dict[tuple[str, str], dict[str, Any]]  # (upstream, variant) → stated values


def _read_stated(path: Path, root: Path) -> _Stated:
    """Read leaderboard.json of a bundle, and check its structure.

    Raises UserError: it is not a bundle, or one of another version.
    """
    try:
        content = json.loads((root / CONTENT_NAME).read_text(encoding="utf-8"))
        form = str(content["format"])
        if form != FORMAT and form.startswith(FORMAT.rstrip("0123456789")):
            raise UserError(
                f"{path}: expected {FORMAT!r}, found {form!r}. Verify it by the version of lid_mapmix that packed it."
            )
        if form != FORMAT or not 1 <= content["samples"] <= _MAX_SAMPLES:
            raise ValueError
        runs = [(_run(run), dict(run)) for run in content["runs"]]
        rows = {(str(row["upstream"]), str(row["variant"])): dict(row) for row in content["rows"]}
        if any({"folder", "status"} - stated.keys() for _, stated in runs):
            raise ValueError
        return _Stated(int(content["samples"]), runs, rows)
    except _FAULTS:
        raise UserError(f"{path}: {_NO_BUNDLE}") from None


def _run(stated: Mapping[str, Any]) -> Run:
    run = Run(stated["upstream"], stated["variant"], stated["data"], int(stated["seed"]))
    # The names become paths, which must stay inside the bundle.
    if (
        not all(NAME_PATTERN.fullmatch(name) for name in (run.upstream, run.variant, run.data))
        or not 0 <= run.seed < SEED_LIMIT
    ):
        raise ValueError
    return run


def _changed_files(path: Path, names: list[str], root: Path) -> Iterator[str]:
    try:
        digests = json.loads((root / _DIGESTS).read_text(encoding="utf-8")).items()
    except _FAULTS:
        yield f"{_DIGESTS}: cannot be read"
        return
    for name, digest in digests:
        _check_name(path, name)
        if name not in names:
            yield f"{name}: is missing"
        elif file_digest(root / name) != digest:
            yield f"{name}: has changed since it was packed"
    yield from (f"{name}: was not packed" for name in names if name not in dict(digests) and name != _DIGESTS)


def _differences(stated: _Stated, root: Path) -> Iterator[str]:
    results = []
    for run, of_run in stated.runs:
        # Only complete runs have score files.
        if of_run["status"] == Status.COMPLETE.value:
            try:
                results.append(read_result(root, run, stated.samples))
            except UserError as error:
                yield f"{run}: cannot be recomputed: {error}"
            # Scores and settings of others may hold any value.
            except _FAULTS as error:
                yield f"{run}: cannot be recomputed: {type(error).__name__}: {error}"
    again = content_of(results, summarize(results), stated.samples)
    found_runs = {run["folder"]: run for run in again["runs"]}
    for run, of_run in stated.runs:
        if (found := found_runs.get(run.folder.as_posix())) is not None:
            yield from _compare(run.folder.as_posix(), of_run, found)
    found_rows = {(row["upstream"], row["variant"]): row for row in again["rows"]}
    for names in dict.fromkeys([*stated.rows, *found_rows]):
        row, found, place = stated.rows.get(names), found_rows.get(names), " ".join(names)
        if row is None:
            yield f"{place}: no row is stated, but its runs are in the bundle"
        elif found is not None:
            # The number of requested runs cannot be recomputed.
            yield from _compare(place, row, found | {"runs": row.get("runs")})
        elif row.get("complete"):
            yield f"{place}: {row['complete']} runs are stated, found none"


def _compare(place: str, stated: Any, found: Any) -> Iterator[str]:
    if isinstance(stated, Mapping) and isinstance(found, Mapping):
        for name in dict.fromkeys([*stated, *found]):
            yield from _compare(f"{place} {name}", stated.get(name), found.get(name))
        return
    numbers = [value for value in (stated, found) if isinstance(value, int | float)]
    with contextlib.suppress(OverflowError):  # a whole number larger than any float
        if len(numbers) == len((stated, found)) and math.isclose(stated, found, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE):
            return
    if stated != found:
        yield f"{place}: {stated!r} is stated, {found!r} was recomputed"
