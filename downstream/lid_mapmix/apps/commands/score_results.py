"""``lid-mapmix score``: compute, print, draw and write scores. The JSON of --json (undefined values are null):

============== ===================================================================================================
key            content
============== ===================================================================================================
systems        per FILE: file, format, classes, overall (score → value), intervals (score → [low, high]), and by flags
               by_WAY (slice → score → value) and calibration (before, after → score → value, reliability)
comparisons    per FILE after the first: first, second, differences (score → value, low, high, p), mcnemar_p
bootstrap      samples, seed, level, drawn (what was drawn)
============== ===================================================================================================
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...data.labels import read_labels
from ...scoring.bootstrap import LEVEL, Difference, Interval, mcnemar
from ...scoring.calibration import Calibration, compare, write_calibration
from ...scoring.files.own import write_metrics
from ...scoring.files.system_output import align
from ...scoring.metrics import expected_calibration_error, reliability_curve
from ...scoring.scorecard import Scores, System, differences_of, make_system, score_system
from ...utils.command_line import STANDARD_OUTPUT
from ...utils.one_line import printable_json
from ..report.figures import draw_reliability
from ..report.table_files import write_table_file
from ..report.tables import Table, format_table, noise_text, text_cell
from .score_files import (
    calibration_of,
    clusters_of,
    given_priors,
    read_systems,
    refuse_existing_outputs,
    require_scores,
    require_truth,
)

# The columns of the two tables of scores.
_OF_CLASSES = ("acc", "wf1", "c_acc", "log_loss", "brier", "ece", "ece_floor", "count")
_OF_COSTS = ("c_primary", "c_primary_min", "c_primary_min_class")
_OF_DETECTION = ("eer", "eer_pooled", *_OF_COSTS, "cllr", "cllr_min", "cllr_cal")
_NOT_BEFORE_AND_AFTER = ("wf1", "c_acc", "count", "eer", "eer_pooled", "c_primary_min_class")
_CONVENTIONS = (
    "eer: mean over classes; eer_pooled: all trials together. c_primary_min: one threshold for all classes; "
    "c_primary_min_class: one for each"
)
# Counts, and what is no score.
_NOT_COMPARED = ("count", "targets", "sources", "ece_floor", "ece_floor_sd")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LEVEL = f"{LEVEL:.0%}".replace("%", " %")


@dataclass(frozen=True, eq=False, kw_only=True)
class Scored(Scores):
    """A system with its scores."""

    letter: str  # its name in tables; empty for a single system
    system: System  # utterances, truth and scores
    # ``before`` and ``after`` → score → value; empty without ``--calibrate``.
    calibration: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class Compared:
    """A system compared to the first."""

    # first, second: the systems.
    first: Scored
    second: Scored
    # Score → second minus first, with confidence interval and p-value; without resamples these are NaN.
    differences: Mapping[str, Difference]
    mcnemar: float  # p-value of equal accuracy


def score_systems(options: argparse.Namespace) -> None:
    """Score each FILE, compare it to the first, and print, draw and write the results.

    Raises UserError: an output exists, a file is damaged, or files do not match.
    """
    refuse_existing_outputs(options)
    labels = read_labels(options.labels) if options.labels else None
    outputs = align(read_systems(options))
    require_truth(outputs[0], "--key")
    if options.reliability:
        require_scores(outputs[0], "--reliability")
    cluster_of = clusters_of(outputs[0], labels, options.labels)
    systems = [make_system(one, cluster_of, given_priors(options, one)) for one in outputs]
    calibrations = [calibration_of(options, one, number) for number, one in enumerate(outputs)]
    names = letters(len(systems))
    scored = [_score(*parts, options) for parts in zip(names, systems, calibrations, strict=True)]
    compared = [_compare(scored[0], other, options) for other in scored[1:]]
    if options.json == STANDARD_OUTPUT:
        print(printable_json(json.dumps(_content(scored, compared, options), indent=1, ensure_ascii=False)))
    else:
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
    seconds = system.output.seconds
    found = compare(calibration, values, truth, system.output.column("source"), seconds)
    # Before calibration, the scores are those of the system's own ratios, which `compare` does not have.
    before = {"acc": overall["acc"], **{name: overall.get(name, score) for name, score in found["before"].items()}}
    calibrated = calibration.log_probabilities(values, seconds=seconds)
    after = {"acc": float((calibrated.argmax(axis=1) == truth).mean()), **found["after"]}
    return {"before": before, "after": after}


def _compare(first: Scored, second: Scored, options: argparse.Namespace) -> Compared:
    names = [name for name in first.overall if first.system.has(name) and second.system.has(name)]
    resampled = differences_of(first.system, second.system, options.samples, options.seed) if options.samples else {}
    none = float("nan")
    differences = {}
    for name in names:
        # The bootstrap computes in 32 bits; the difference itself is computed in 64.
        one, other = first.overall[name], second.overall[name]
        if name not in _NOT_COMPARED and one is not None and other is not None:
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
    origin = options.labels or "the part of a class name before '-'; for others use --labels FILE"
    print(f"\n{_CONVENTIONS}" * any("eer" in one.overall for one in scored), end="")
    print(f"\nclusters: {origin}")
    if options.samples:
        print(f"intervals: {options.samples} resamples of {scored[0].system.units.text}")
    print(f"class priors in the scores: {options.class_prior or 'taken as equal (--class-prior)'}")
    if calibrations:
        print()
        for path, calibration in zip(options.calibrate, calibrations, strict=True):
            print(f"calibrated by {path}: {calibration.basis}")
        print(f"\n{format_table(_calibration_rows(scored))}")
    for one in compared:
        print(f"\n{format_table(_difference_rows(one))}\n\n{_significance(one)}")


def _write(
    scored: Sequence[Scored], compared: Sequence[Compared], calibration: Calibration | None, options: argparse.Namespace
) -> None:
    writers: list[tuple[str | None, Callable[[Path], None]]] = [
        (options.json, partial(write_metrics, metrics=_content(scored, compared, options))),
        (options.table, partial(write_table_file, tables=_tables(scored, compared, options))),
        (options.reliability, partial(_draw, scored=scored[0])),
    ]
    if calibration is not None:
        writers.append((options.save_calibration, partial(write_calibration, calibration=calibration)))
    outputs = [(Path(name), write) for name, write in writers if name not in (None, STANDARD_OUTPUT)]
    # Standard output is for the JSON alone.
    stream = sys.stderr if options.json == STANDARD_OUTPUT else sys.stdout
    for number, (path, write) in enumerate(outputs):
        write(path)
        # Printed at once: this file exists even if the next cannot be written.
        print(f"  {path}" if number else f"\nwritten:\n  {path}", file=stream)


def _draw(path: Path, scored: Scored) -> None:
    if scored.calibration:
        curves = {name: scores["reliability"] for name, scores in scored.calibration.items()}
        draw_reliability(path, curves, {name: scores["ece"] for name, scores in scored.calibration.items()})
        return
    probabilities, truth = np.exp(scored.system.log_likelihoods), scored.system.truth
    curves = {"scores": reliability_curve(probabilities, truth)}
    draw_reliability(path, curves, {"scores": expected_calibration_error(probabilities, truth)})


def letters(count: int) -> list[str]:
    """Return names for `count` systems: an empty one for one system, else A, B, …, and numbers after Z."""
    return [""] if count == 1 else [*_LETTERS[:count], *map(str, range(len(_LETTERS) + 1, count + 1))]


def _describe(scored: Scored) -> str:
    """Return a line that describes the file of a system."""
    output = scored.system.output
    prefix = f"{scored.letter}  " if scored.letter else ""
    return f"{prefix}{output.path}: {output.format.name}, {len(output)} utterances, {len(output.classes)} classes"


def _score_table(systems: Sequence[Scored]) -> str:
    """Format the scores of all systems, overall with confidence intervals, then per slice, as two tables."""
    rows: dict[str, dict[str, float | str]] = {}
    for one in systems:
        rows[_row(one.letter, "overall")] = _cells(one.overall)
        if one.intervals:
            rows[_row(one.letter, f"{_LEVEL} from")] = _cells({name: i.low for name, i in one.intervals.items()})
            rows[_row(one.letter, f"{_LEVEL} to")] = _cells({name: i.high for name, i in one.intervals.items()})
    return "\n\n".join(map(format_table, _divided(rows | _slice_rows(systems))))


def _divided(rows: Mapping[str, Mapping[str, float | str]]) -> list[dict[str, dict[str, float | str]]]:
    """Return the rows of the two tables of scores; one if there are no detection scores."""
    tables = [
        {name: {column: cells[column] for column in columns if column in cells} for name, cells in rows.items()}
        for columns in (_OF_CLASSES, _OF_DETECTION)
    ]
    return [table for table in tables if any(table.values())]


def _slice_rows(systems: Sequence[Scored]) -> dict[str, dict[str, float | str]]:
    """Return one row of scores per slice and system."""
    return {
        _row(one.letter, f"{way} {name}"): _cells(one.slices[way][name])
        for way, slices in systems[0].slices.items()
        for name in slices
        for one in systems
    }


def _calibration_rows(systems: Sequence[Scored]) -> dict[str, dict[str, float | str]]:
    """Return the scores of all systems before and after calibration."""
    return {
        _row(one.letter, when): {
            name: cell for name, cell in _cells(scores).items() if name not in _NOT_BEFORE_AND_AFTER
        }
        for one in systems
        for when, scores in one.calibration.items()
    }


def _difference_rows(compared: Compared) -> dict[str, dict[str, float]]:
    """Return one row per score: two systems, their difference with its confidence interval, and the p-value."""
    first, second = compared.first, compared.second
    names = first.letter, second.letter, f"{second.letter} − {first.letter}"
    rows = {}
    for score in (*_OF_CLASSES, *_OF_DETECTION):
        if score in compared.differences:
            difference = compared.differences[score]
            values = (first.overall[score], second.overall[score], difference.value)
            rows[score] = dict(zip(names, values, strict=True))
            rows[score] |= {f"{_LEVEL} from": difference.low, "to": difference.high, "p": difference.p}
    known = [name for name in next(iter(rows.values())) if any(_is_known(row[name]) for row in rows.values())]
    return {score: {name: row[name] for name in known if _is_known(row[name])} for score, row in rows.items()}


def _significance(compared: Compared) -> str:
    drawn = compared.first.system.units.name
    note = "" if drawn == "utterances" else f"; those of one of the {drawn} are not"
    return f"McNemar's exact test of acc: p = {compared.mcnemar:.3g} (assumes independent utterances{note})"


def _tables(scored: Sequence[Scored], compared: Sequence[Compared], options: argparse.Namespace) -> list[Table]:
    """Return the printed tables for a paper, with confidence intervals in the cells of the overall scores."""
    files = "; ".join(map(_describe, scored))
    intervals = f" In brackets: {_LEVEL} confidence intervals." if options.samples else ""
    overall: dict[str, Mapping[str, float | str]] = {
        _row(one.letter, "overall"): {
            name: text_cell(value) + _brackets(one.intervals.get(name)) for name, value in _cells(one.overall).items()
        }
        for one in scored
    }
    tables = [_table(f"Scores of {files}.{intervals}", rows) for rows in _divided({**overall, **_slice_rows(scored)})]
    tables[1:] = [replace(table, caption=f"{table.caption} {_CONVENTIONS}.") for table in tables[1:]]
    if scored[0].calibration:
        tables.append(_table(f"Scores before and after calibration of {files}.", _calibration_rows(scored)))
    for one in compared:
        pair = f"{_describe(one.first)}; {_describe(one.second)}"
        tables.append(_table(f"Differences between {pair}. {_significance(one)}.", _difference_rows(one)))
    return tables


def _table(caption: str, rows: Mapping[str, Mapping[str, float | str]]) -> Table:
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    return Table(
        caption, ["", *columns], [[name, *(text_cell(row.get(c)) for c in columns)] for name, row in rows.items()]
    )


def _brackets(interval: Interval | None) -> str:
    if interval is None or not _is_known(interval.low):
        return ""
    return f" [{text_cell(interval.low)}, {text_cell(interval.high)}]"


def _content(scored: Sequence[Scored], compared: Sequence[Compared], options: argparse.Namespace) -> dict[str, Any]:
    """Return the content of the JSON."""
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
    drawn = scored[0].system.units.text
    bootstrap = {"samples": options.samples, "seed": options.seed, "level": LEVEL, "drawn": drawn}
    text = json.dumps({"systems": systems, "comparisons": comparisons, "bootstrap": bootstrap})
    return json.loads(text, parse_constant=lambda _: None)  # instead of NaN and infinity


def _row(letter: str, name: str) -> str:
    return f"{letter} {name}".strip()


def _cells(scores: Mapping[str, Any]) -> dict[str, float | str]:
    names = dict.fromkeys((*_OF_CLASSES, *_OF_DETECTION))
    cells = {name: scores[name] for name in names if _is_known(scores.get(name))}
    return cells | ({"ece_floor": noise_text(scores)} if "ece_floor" in cells else {})


def _is_known(value: Any) -> bool:
    return value is not None and not math.isnan(value)
