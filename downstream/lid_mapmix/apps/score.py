"""``lid-mapmix score FILE…``: scores of any system's file, differences between systems, calibration, conversion.

What --json writes; what is not defined is null:

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
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..data.labels import Labels, read_labels
from ..scoring.bootstrap import FEWEST, LEVEL, Difference, mcnemar
from ..scoring.calibration import Calibration, compare, write_calibration
from ..scoring.conversion import WITHOUT_TRUTH, Target, has_ratios_of_its_own, paths_of, write_output
from ..scoring.files import write_metrics
from ..scoring.metrics import accuracy, expected_calibration_error, reliability_curve
from ..scoring.scorecard import System, differences_of, intervals_of, make_system, scores_of, slices_of
from ..scoring.system_output import align
from .reliability_picture import draw_reliability
from .score_arguments import refuse_conflicts
from .score_inputs import (
    FilesToWrite,
    calibration_of,
    clusters_of,
    files_to_write,
    read_systems,
    require_scores,
    require_truth,
)
from .score_tables import (
    Compared,
    Scored,
    calibration_table,
    describe,
    difference_table,
    letters,
    plain_comparison,
    plain_system,
    score_table,
)


def score(options: argparse.Namespace) -> None:
    """Do what the flags ask for, and print what came of it.

    Raises
    ------
    UserError : a file in the way, a damaged file, files that do not fit each other.
    """
    refuse_conflicts(options)
    to_write = files_to_write(options)
    labels = read_labels(options.labels) if options.labels else None
    if to_write.converted is not None:
        _convert(options, labels, to_write.converted)
        return
    outputs = align(read_systems(options, labels))
    require_truth(outputs[0], "--key")
    if to_write.reliability is not None:
        require_scores(outputs[0], "--reliability")
    cluster_of = clusters_of(outputs[0], labels, options.labels)
    systems = [make_system(one, cluster_of) for one in outputs]
    calibrations = [calibration_of(options, labels, one, place) for place, one in enumerate(outputs)]
    names = letters(len(systems))
    scored = [_score(*parts, options) for parts in zip(names, systems, calibrations, strict=True)]
    compared = [_compare(scored[0], other, options) for other in scored[1:]]
    _print(scored, compared, [one for one in calibrations if one], options)
    _write(to_write, scored, compared, calibrations[0], options)


def _score(letter: str, system: System, calibration: Calibration | None, options: argparse.Namespace) -> Scored:
    overall = scores_of(system)
    return Scored(
        letter=letter,
        system=system,
        overall=overall,
        intervals=intervals_of(system, options.samples, options.seed) if options.samples else {},
        slices={
            way: {name: scores_of(system, rows) for name, rows in slices_of(system, way).items()} for way in options.by
        },
        calibration={} if calibration is None else _before_and_after(system, overall, calibration),
    )


def _before_and_after(system: System, overall: dict[str, Any], calibration: Calibration) -> dict[str, dict[str, Any]]:
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
    print("\n".join(map(describe, scored)), end="\n\n")
    print(score_table(scored))
    origin = options.labels or "the part of a class's name before '-'; others by --labels FILE"
    print(f"\nclusters: {origin}")
    if options.samples:
        print(f"intervals: {options.samples} resamples of {_resampled(scored[0].system)}")
    if calibrations:
        named = [f"{path} ({one.kind})" for path, one in zip(options.calibrate, calibrations, strict=True)]
        print(f"\ncalibrated by {', '.join(named)}\n\n{calibration_table(scored)}")
    for one in compared:
        print(f"\n{difference_table(one)}")


def _resampled(system: System) -> str:
    group, count = system.output.column("group"), len(system.output)
    drawn = f"{count} utterances"
    if group is not None:
        count = len(np.unique(group[group != ""])) + int((group == "").sum())
        drawn = f"{count} groups of {drawn}"
    return drawn if count >= FEWEST else f"{drawn}: so few that intervals are too narrow and p too small"


def _write(
    to_write: FilesToWrite,
    scored: Sequence[Scored],
    compared: Sequence[Compared],
    calibration: Calibration | None,
    options: argparse.Namespace,
) -> None:
    writers: list[tuple[Path | None, Callable[[Path], None]]] = [
        (to_write.json, partial(write_metrics, metrics=_content(scored, compared, options))),
        (to_write.reliability, partial(_draw, scored=scored[0])),
    ]
    if calibration is not None:
        writers.append((to_write.calibration, partial(write_calibration, calibration=calibration)))
    asked = [(path, write) for path, write in writers if path is not None]
    for number, (path, write) in enumerate(asked):
        write(path)
        # Said at once: it is there even where the next cannot be written.
        print(f"  {path}" if number else f"\nwritten:\n  {path}")


def _content(scored: Sequence[Scored], compared: Sequence[Compared], options: argparse.Namespace) -> dict[str, Any]:
    return {
        "systems": [plain_system(one) for one in scored],
        "comparisons": [plain_comparison(one) for one in compared],
        "bootstrap": {"samples": options.samples, "seed": options.seed, "level": LEVEL},
    }


def _draw(path: Path, scored: Scored) -> None:
    if scored.calibration:
        curves = {name: scores["reliability"] for name, scores in scored.calibration.items()}
        draw_reliability(path, curves, {name: scores["ece"] for name, scores in scored.calibration.items()})
        return
    probabilities, truth = np.exp(scored.system.log_likelihoods), scored.system.truth
    curves = {"scores": reliability_curve(probabilities, truth)}
    draw_reliability(path, curves, {"scores": expected_calibration_error(probabilities, truth)})


def _convert(options: argparse.Namespace, labels: Labels | None, path: Path) -> None:
    target = Target(options.convert)
    (output,) = read_systems(options, labels)
    if target not in WITHOUT_TRUTH:
        require_truth(output, "--key")
    calibration = calibration_of(options, labels, output, 0)
    if calibration is not None and output.log_likelihoods is not None:
        calibrate = calibration.log_likelihoods if target in WITHOUT_TRUTH else calibration.log_probabilities
        values = calibrate(output.log_likelihoods)
        predictions = np.array(output.classes)[values.argmax(axis=1)]
        output = replace(output, log_likelihoods=values, ratios=None, predictions=predictions)
    write_output(path, target, output)
    print("written:\n" + "\n".join(f"  {one}" for one in paths_of(path, target)))
    if target is not Target.NIST and has_ratios_of_its_own(output):
        print(f"The ratios of {output.path} belong to no likelihoods; what is made of them has other costs and EER.")
