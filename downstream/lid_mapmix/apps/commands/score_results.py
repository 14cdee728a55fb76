"""What ``lid-mapmix score`` computes, prints, draws, and writes by --json, where what is not defined is null.

============== ===================================================================================================
key            content
============== ===================================================================================================
systems        of each FILE: file, format, classes, overall (score → value), intervals (score → [low, high]), and where
               asked for by_WAY (slice → score → value) and calibration (before, after → score → value, reliability)
comparisons    of each FILE after the first: first, second, differences (score → value, low, high, p), mcnemar_p
bootstrap      samples, seed, level
============== ===================================================================================================
"""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...scoring.bootstrap import FEWEST, LEVEL, Difference, mcnemar
from ...scoring.calibration import Calibration, compare, write_calibration
from ...scoring.files.own import write_metrics
from ...scoring.files.system_output import align
from ...scoring.metrics import accuracy, expected_calibration_error, reliability_curve
from ...scoring.scorecard import Scores, System, differences_of, make_system, score_system
from ..report.figures import draw_reliability
from ..report.tables import format_table
from .score_files import (
    calibration_of,
    clusters_of,
    kept_labels,
    read_systems,
    refuse_files_in_the_way,
    require_scores,
    require_truth,
)

_COLUMNS = ("acc", "wf1", "c_acc", "ece", "eer", "c_primary", "c_primary_min", "cllr", "count")
_CALIBRATION_COLUMNS = ("acc", "ece", "cross_entropy", "c_primary", "c_primary_min", "cllr")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LEVEL = f"{LEVEL:.0%}".replace("%", " %")


@dataclass(frozen=True, eq=False, kw_only=True)
class Scored(Scores):
    """A system with its scores.

    Attributes
    ----------
    letter : by which tables name it; empty where it is the only one.
    system : what was scored.
    calibration : ``before`` and ``after`` → score → value; empty where none was asked for.
    """

    letter: str
    system: System
    calibration: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class Compared:
    """A system against the first.

    Attributes
    ----------
    first, second : the two.
    differences : score → difference second less first with its interval and p; without resamples these are NaN.
    mcnemar : p-value that both are equally often right.
    """

    first: Scored
    second: Scored
    differences: Mapping[str, Difference]
    mcnemar: float


def score_systems(options: argparse.Namespace) -> None:
    """Score each FILE, compare it to the first, and print, draw and write what came of it.

    Raises
    ------
    UserError : a file in the way, a damaged file, files that do not fit each other.
    """
    refuse_files_in_the_way(options)
    labels = kept_labels(options)
    outputs = align(read_systems(options, labels))
    require_truth(outputs[0], "--key")
    if options.reliability:
        require_scores(outputs[0], "--reliability")
    cluster_of = clusters_of(outputs[0], labels, options.labels)
    systems = [make_system(one, cluster_of) for one in outputs]
    calibrations = [calibration_of(options, labels, one, place) for place, one in enumerate(outputs)]
    names = letters(len(systems))
    scored = [_score(*parts, options) for parts in zip(names, systems, calibrations, strict=True)]
    compared = [_compare(scored[0], other, options) for other in scored[1:]]
    _print(scored, compared, [one for one in calibrations if one], options)
    _write(scored, compared, calibrations[0], options)


def _score(letter: str, system: System, calibration: Calibration | None, options: argparse.Namespace) -> Scored:
    scores = score_system(system, options.by, options.samples, options.seed)
    before_and_after = {} if calibration is None else _before_and_after(system, scores.overall, calibration)
    return Scored(**vars(scores), letter=letter, system=system, calibration=before_and_after)


def _before_and_after(
    system: System, overall: Mapping[str, Any], calibration: Calibration
) -> dict[str, dict[str, Any]]:
    values, truth = system.log_likelihoods, system.truth
    found = compare(calibration, values, truth, system.output.column("source"))
    # Before calibration a system's own ratios count, which compare does not know.
    before = {"acc": overall["acc"], **{name: overall.get(name, score) for name, score in found["before"].items()}}
    after = {"acc": accuracy(np.exp(calibration.log_probabilities(values)), truth), **found["after"]}
    return {"before": before, "after": after}


def _compare(first: Scored, second: Scored, options: argparse.Namespace) -> Compared:
    names = [name for name in first.overall if first.system.has(name) and second.system.has(name)]
    resampled = differences_of(first.system, second.system, options.samples, options.seed) if options.samples else {}
    none = float("nan")
    differences = {}
    for name in names:
        # A bootstrap computes in 32 bits; the difference itself need not.
        one, other = first.overall[name], second.overall[name]
        if name not in ("count", "targets", "sources") and one is not None and other is not None:
            interval = resampled.get(name, Difference(none, none, none, none))
            differences[name] = replace(interval, value=other - one)
    return Compared(first, second, differences, mcnemar(first.system.is_right, second.system.is_right))


def _print(
    scored: Sequence[Scored],
    compared: Sequence[Compared],
    calibrations: Sequence[Calibration],
    options: argparse.Namespace,
) -> None:
    print("\n".join(map(_describe, scored)), end="\n\n")
    print(_score_table(scored))
    origin = options.labels or "the part of a class's name before '-'; others by --labels FILE"
    print(f"\nclusters: {origin}")
    if options.samples:
        print(f"intervals: {options.samples} resamples of {_resampled(scored[0].system)}")
    if calibrations:
        named = [f"{path} ({one.kind})" for path, one in zip(options.calibrate, calibrations, strict=True)]
        print(f"\ncalibrated by {', '.join(named)}\n\n{_calibration_table(scored)}")
    for one in compared:
        print(f"\n{_difference_table(one)}")


def _resampled(system: System) -> str:
    group, count = system.output.column("group"), len(system.output)
    drawn = f"{count} utterances"
    if group is not None:
        count = len(np.unique(group[group != ""])) + int((group == "").sum())
        drawn = f"{count} groups of {drawn}"
    return drawn if count >= FEWEST else f"{drawn}: so few that intervals are too narrow and p too small"


def _write(
    scored: Sequence[Scored],
    compared: Sequence[Compared],
    calibration: Calibration | None,
    options: argparse.Namespace,
) -> None:
    writers: list[tuple[str | None, Callable[[Path], None]]] = [
        (options.json, partial(write_metrics, metrics=_content(scored, compared, options))),
        (options.reliability, partial(_draw, scored=scored[0])),
    ]
    if calibration is not None:
        writers.append((options.save_calibration, partial(write_calibration, calibration=calibration)))
    asked = [(Path(name), write) for name, write in writers if name]
    for number, (path, write) in enumerate(asked):
        write(path)
        # Said at once: it is there even where the next cannot be written.
        print(f"  {path}" if number else f"\nwritten:\n  {path}")


def _draw(path: Path, scored: Scored) -> None:
    if scored.calibration:
        curves = {name: scores["reliability"] for name, scores in scored.calibration.items()}
        draw_reliability(path, curves, {name: scores["ece"] for name, scores in scored.calibration.items()})
        return
    probabilities, truth = np.exp(scored.system.log_likelihoods), scored.system.truth
    curves = {"scores": reliability_curve(probabilities, truth)}
    draw_reliability(path, curves, {"scores": expected_calibration_error(probabilities, truth)})


def letters(count: int) -> list[str]:
    """Return names for `count` systems: none for one, then A, B, …, and numbers beyond Z."""
    return [""] if count == 1 else [*_LETTERS[:count], *map(str, range(len(_LETTERS) + 1, count + 1))]


def _describe(scored: Scored) -> str:
    """Return a line on the file of a system."""
    output = scored.system.output
    prefix = f"{scored.letter}  " if scored.letter else ""
    return f"{prefix}{output.path}: {output.format.name}, {len(output)} utterances, {len(output.classes)} classes"


def _score_table(systems: Sequence[Scored]) -> str:
    """Lay out the scores of all systems, overall with intervals and then slice by slice."""
    rows: dict[str, dict[str, float]] = {}
    for one in systems:
        rows[_row(one.letter, "overall")] = _cells(one.overall)
        if one.intervals:
            rows[_row(one.letter, f"{_LEVEL} from")] = _cells({name: i.low for name, i in one.intervals.items()})
            rows[_row(one.letter, f"{_LEVEL} to")] = _cells({name: i.high for name, i in one.intervals.items()})
    for way, slices in systems[0].slices.items():
        for name in slices:
            for one in systems:
                rows[_row(one.letter, f"{way} {name}")] = _cells(one.slices[way][name])
    return format_table(rows)


def _calibration_table(systems: Sequence[Scored]) -> str:
    """Lay out the scores of all systems before and after calibration."""
    return format_table(
        {
            _row(one.letter, name): {column: scores[column] for column in _CALIBRATION_COLUMNS}
            for one in systems
            for name, scores in one.calibration.items()
        }
    )


def _difference_table(compared: Compared) -> str:
    """Lay out two systems' scores, a row each, their differences with intervals, and p-values."""
    first, second = compared.first, compared.second
    names = first.letter, second.letter, f"{second.letter} − {first.letter}"
    rows = {}
    for score in _COLUMNS:
        if score in compared.differences:
            difference = compared.differences[score]
            values = (first.overall[score], second.overall[score], difference.value)
            rows[score] = dict(zip(names, values, strict=True))
            rows[score] |= {f"{_LEVEL} from": difference.low, "to": difference.high, "p": difference.p}
    known = [name for name in next(iter(rows.values())) if any(_is_known(row[name]) for row in rows.values())]
    rows = {score: {name: row[name] for name in known if _is_known(row[name])} for score, row in rows.items()}
    has_groups = first.system.output.column("group") is not None
    note = ", which those of one group are not" if has_groups else ""
    return (
        f"{format_table(rows)}\n\nMcNemar's exact test of acc: p = {compared.mcnemar:.3g} "
        f"(takes utterances as independent{note})"
    )


def _content(scored: Sequence[Scored], compared: Sequence[Compared], options: argparse.Namespace) -> dict[str, Any]:
    """Return all that is known, for JSON."""
    systems = [
        {
            "file": str(one.system.output.path),
            "format": one.system.output.format.name,
            "classes": list(one.system.output.classes),
            "overall": one.overall,
            "intervals": {name: [interval.low, interval.high] for name, interval in one.intervals.items()},
            **{f"by_{way}": slices for way, slices in one.slices.items()},
            **({"calibration": one.calibration} if one.calibration else {}),
        }
        for one in scored
    ]
    comparisons = [
        {
            "first": str(one.first.system.output.path),
            "second": str(one.second.system.output.path),
            "differences": {name: asdict(difference) for name, difference in one.differences.items()},
            "mcnemar_p": one.mcnemar,
        }
        for one in compared
    ]
    bootstrap = {"samples": options.samples, "seed": options.seed, "level": LEVEL}
    return _plain({"systems": systems, "comparisons": comparisons, "bootstrap": bootstrap})


def _plain(value: Any) -> Any:
    """Return a value with None in place of what is no finite number, at any depth."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _row(letter: str, name: str) -> str:
    return f"{letter} {name}".strip()


def _cells(scores: Mapping[str, Any]) -> dict[str, float]:
    return {name: scores[name] for name in _COLUMNS if _is_known(scores.get(name))}


def _is_known(value: Any) -> bool:
    return value is not None and not math.isnan(value)
