"""What ``lid-mapmix score`` prints, and the same as plain values for JSON."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...scoring.bootstrap import LEVEL, Difference, Interval
from ...scoring.scorecard import System
from ..report.tables import format_table

COLUMNS = ("acc", "wf1", "c_acc", "ece", "eer", "c_primary", "c_primary_min", "cllr", "count")
CALIBRATION_COLUMNS = ("acc", "ece", "cross_entropy", "c_primary", "c_primary_min", "cllr")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LEVEL = f"{LEVEL:.0%}".replace("%", " %")


@dataclass(frozen=True, eq=False)
class Scored:
    """A system with its scores.

    Attributes
    ----------
    letter : by which tables name it; empty where it is the only one.
    system : what was scored.
    overall : score → value.
    intervals : score → its interval; empty where none were asked for.
    slices : way of slicing → slice → score → value.
    calibration : ``before`` and ``after`` → score → value; empty where none was asked for.
    """

    letter: str
    system: System
    overall: Mapping[str, Any]
    intervals: Mapping[str, Interval]
    slices: Mapping[str, Mapping[str, Mapping[str, Any]]]
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


def letters(count: int) -> list[str]:
    """Return names for `count` systems: none for one, then A, B, …, and numbers beyond Z."""
    return [""] if count == 1 else [*_LETTERS[:count], *map(str, range(len(_LETTERS) + 1, count + 1))]


def describe(scored: Scored) -> str:
    """Return a line on the file of a system."""
    output = scored.system.output
    prefix = f"{scored.letter}  " if scored.letter else ""
    return f"{prefix}{output.path}: {output.format}, {len(output)} utterances, {len(output.classes)} classes"


def score_table(systems: Sequence[Scored]) -> str:
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


def calibration_table(systems: Sequence[Scored]) -> str:
    """Lay out the scores of all systems before and after calibration."""
    return format_table(
        {
            _row(one.letter, name): {column: scores[column] for column in CALIBRATION_COLUMNS}
            for one in systems
            for name, scores in one.calibration.items()
        }
    )


def difference_table(compared: Compared) -> str:
    """Lay out two systems' scores, a row each, their differences with intervals, and p-values."""
    first, second = compared.first, compared.second
    names = first.letter, second.letter, f"{second.letter} − {first.letter}"
    rows = {}
    for score in COLUMNS:
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


def plain_system(scored: Scored) -> dict[str, Any]:
    """Return all that is known of a system's scores, for JSON."""
    output = scored.system.output
    return plain(
        {
            "file": str(output.path),
            "format": str(output.format),
            "classes": list(output.classes),
            "overall": scored.overall,
            "intervals": {name: [one.low, one.high] for name, one in scored.intervals.items()},
            **{f"by_{way}": slices for way, slices in scored.slices.items()},
            **({"calibration": scored.calibration} if scored.calibration else {}),
        }
    )


def plain_comparison(compared: Compared) -> dict[str, Any]:
    """Return all that is known of a difference, for JSON."""
    return plain(
        {
            "first": str(compared.first.system.output.path),
            "second": str(compared.second.system.output.path),
            "differences": {
                name: {"value": one.value, "low": one.low, "high": one.high, "p": one.p}
                for name, one in compared.differences.items()
            },
            "mcnemar_p": compared.mcnemar,
        }
    )


def plain(value: Any) -> Any:
    """Return a value with None in place of what is no finite number, at any depth."""
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _row(letter: str, name: str) -> str:
    return f"{letter} {name}".strip()


def _cells(scores: Mapping[str, Any]) -> dict[str, float]:
    return {name: scores[name] for name in COLUMNS if _is_known(scores.get(name))}


def _is_known(value: Any) -> bool:
    return value is not None and not math.isnan(value)
