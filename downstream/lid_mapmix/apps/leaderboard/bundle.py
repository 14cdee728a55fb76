"""A bundle of a leaderboard: a zip of scores, settings, versions and commands that reproduces every figure."""

import contextlib
import errno
import json
import math
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...utils.errors import UserError, is_of_the_system
from ...utils.files import replace_when_complete
from ...utils.one_line import one_line
from ...utils.run_folder import RunFolder
from ..settings.arguments import SEED_LIMIT
from .grid import NAME_PATTERN, Run
from .results import read_result, summarize
from .state import SETTINGS_NAME, STATE_NAME, Status, read_state
from .tables import CONTENT_NAME, FORMAT, content_of

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


def verify(path: Path) -> list[str]:
    """Recompute every figure of a bundle, and return one line per figure that differs.

    Raises UserError: the file does not exist, or is not a bundle.
    """
    with tempfile.TemporaryDirectory() as folder:
        _unpack(path, Path(folder))
        content = _read_content(path, Path(folder))
        return [one_line(line.replace(f"{folder}/", f"{path}: ")) for line in _differences(content, Path(folder))]


def _unpack(path: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            if size > _MAX_RATIO * path.stat().st_size + _SPARE_BYTES:
                raise UserError(f"{path}: unpacks to {size:,} bytes; {_NO_BUNDLE}")
            # Names are kept inside the folder and links become files; damage is found by the CRC of each file.
            archive.extractall(folder)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. {_NAME_ONE}") from None
    # A damaged archive raises any of these; one with a password raises RuntimeError.
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        # A long name is the archive's.
        if is_of_the_system(error) and getattr(error, "errno", None) != errno.ENAMETOOLONG:
            raise
        raise UserError(f"{path}: expected a zip, found a damaged or another file. {_NAME_ONE}") from None


def _read_content(path: Path, root: Path) -> dict[str, Any]:
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
        runs = {_run(run): dict(run) for run in content["runs"]}
        rows = {f"{row['upstream']} {row['variant']}": dict(row) for row in content["rows"]}
        if any({"folder", "status"} - stated.keys() for stated in runs.values()):
            raise ValueError
        return {"samples": int(content["samples"]), "runs": runs, "rows": rows}
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


def _differences(content: Mapping[str, Any], root: Path) -> Iterator[str]:
    # Only complete runs have score files.
    complete = {run: stated for run, stated in content["runs"].items() if stated["status"] == Status.COMPLETE.value}
    results = []
    for run in complete:
        try:
            results.append(read_result(root, run, content["samples"]))
        # Scores and settings of others may hold any value.
        except (UserError, *_FAULTS) as error:
            yield f"{run}: cannot be recomputed: {type(error).__name__}: {error}"
    again = content_of(results, summarize(results), content["samples"])
    for result, found in zip(results, again["runs"], strict=True):
        yield from _compare(result.run.folder.as_posix(), complete[result.run], found)
    found_rows = {f"{row['upstream']} {row['variant']}": row for row in again["rows"]}
    for place in dict.fromkeys([*content["rows"], *found_rows]):
        stated, found = content["rows"].get(place), found_rows.get(place, {"complete": 0})
        if stated is None:
            yield f"{place}: no row is stated, but its runs are in the bundle"
        elif found["complete"] or stated.get("complete"):
            # The number of requested runs cannot be recomputed.
            yield from _compare(place, stated, found | {"runs": stated.get("runs")})


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
