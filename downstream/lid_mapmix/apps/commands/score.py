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

from ...data.labels import Labels, read_labels
from ...scoring.bootstrap import FEWEST, LEVEL, Difference, mcnemar
from ...scoring.calibration import Calibration, compare, write_calibration
from ...scoring.files.own import write_metrics
from ...scoring.files.system_output import align
from ...scoring.files.write import WITHOUT_TRUTH, Target, has_ratios_of_its_own, paths_of, write_output
from ...scoring.metrics import accuracy, expected_calibration_error, reliability_curve
from ...scoring.scorecard import System, differences_of, intervals_of, make_system, scores_of, slices_of
from ..report.figures import draw_reliability
from .datamap import count_or_none
from .score_inputs import (
    FilesToWrite,
    calibration_of,
    clusters_of,
    files_to_write,
    names_calibration,
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


_DESCRIPTION = """\
Score what any system says of some utterances, compare systems, calibrate, and convert files of scores.

FILE is SPLIT_scores.csv as a run leaves it, a NIST LRE table (segmentid and a column of log-likelihood ratios a
language), Kaldi's and OLR's lines 'utterance language score', ML-SUPERB's lid.trn, S3PRL's SPLIT_predict.txt beside its
SPLIT_truth.txt, or the CSV of Map-Mix's published code. The format is recognised. NIST's and Kaldi's hold no truth and
need --key; files of answers without scores have accuracy, F1 and cluster accuracy only."""


_EXAMPLES = """\
examples:
  scores with 95 % intervals, by duration and cluster:
    lid-mapmix score result/downstream/first/test_scores.csv --by duration,cluster
  is the second system better than the first?
    lid-mapmix score baseline/test_scores.csv mapmix/test_scores.csv --json compared.json
  a submission to NIST LRE17, by the key of the evaluation:
    lid-mapmix score scores.tsv --key lre17_eval_segment_keys.tsv --by duration,source
  calibrate on dev, score test, and keep the calibrated scores as log-likelihood ratios:
    lid-mapmix score test_scores.csv --calibrate dev_scores.csv --calibration vector --reliability curve.png
    lid-mapmix score test_scores.csv --calibrate dev_scores.csv --convert nist --to scores.tsv
"""


VALUES = ("log-likelihoods", "ratios")


CALIBRATIONS = ("temperature", "vector", "full")


TARGETS = ("scores", "nist", "kaldi", "trn", "s3prl", "mapmix")


_PICTURES = (".png", ".pdf", ".svg")


def make_score_parser() -> argparse.ArgumentParser:
    """Return the parser of ``lid-mapmix score``."""
    parser = argparse.ArgumentParser(
        "lid-mapmix score",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "files", nargs="+", metavar="FILE", help="one to score; more, of the same utterances, are compared to the first"
    )
    add("--labels", metavar="FILE", help="labels.yaml: cluster → classes; default: a cluster is what stands before '-'")
    add("--by", type=_ways, default=(), metavar="WAY,…", help="slices: duration, cluster, class, source, or any column")
    add(
        "--samples",
        type=count_or_none,
        default=1000,
        metavar="N",
        help="of the bootstrap; 0: no intervals; default: 1000",
    )
    add("--seed", type=count_or_none, default=0, metavar="N", help="of the bootstrap; default: 0")
    add("--json", metavar="FILE", help="also write everything as JSON, in full precision")
    add("--overwrite", action="store_true", help="replace files that are there")
    add("--debug", action="store_true", help="show the traceback of an error")
    truth = parser.add_argument_group("what the file does not say").add_argument
    truth("--key", metavar="FILE", help="truth and columns: a manifest, NIST's segment keys or Kaldi's utt2lang")
    truth("--scores", choices=VALUES, default=VALUES[0], help="what Kaldi's lines hold; default: %(default)s")
    calibrate = parser.add_argument_group("calibration").add_argument
    calibrate(
        "--calibrate",
        action="append",
        default=[],
        metavar="DEV",
        help="fit on this file of scores, or take this calibration (.json); once for each FILE",
    )
    calibrate("--calibration", choices=CALIBRATIONS, help="what is fitted; default: temperature")
    calibrate("--calibrate-key", metavar="FILE", help="the key of DEV")
    calibrate("--save-calibration", metavar="FILE", help="write the calibration of the only FILE (.json)")
    calibrate(
        "--reliability",
        type=_picture,
        metavar="FILE",
        help=f"draw the reliability curve of the only FILE ({', '.join(_PICTURES)})",
    )
    convert = parser.add_argument_group("conversion, in place of scores").add_argument
    convert("--convert", choices=TARGETS, help="write the only FILE, calibrated where asked to, in another format …")
    convert("--to", metavar="FILE", help="… to this file; for s3prl SPLIT_predict.txt")
    return parser


def refuse_conflicts(options: argparse.Namespace) -> None:
    """End the program as argparse does, with status 2, where flags do not go together."""
    is_alone, is_calibration = len(options.files) == 1, any(map(names_calibration, options.calibrate))
    scores = options.json or options.reliability or options.save_calibration or options.by
    faults = [
        (options.save_calibration and not is_alone, "--save-calibration: takes one FILE; give one"),
        (options.reliability and not is_alone, "--reliability: takes one FILE; give one"),
        (options.convert and not is_alone, "--convert: takes one FILE; give one"),
        (bool(options.convert) != bool(options.to), "--convert and --to go together; give both"),
        (options.convert and scores, "--convert: scores nothing; leave the others out"),
        (
            options.calibrate and len(options.calibrate) != len(options.files),
            "--calibrate: is given once a FILE",
        ),
        *(
            (getattr(options, name) and not options.calibrate, f"--{name.replace('_', '-')}: needs --calibrate DEV")
            for name in ("calibration", "calibrate_key", "save_calibration")
        ),
        *(
            (getattr(options, name) and is_calibration, f"--{name.replace('_', '-')}: DEV is a calibration already")
            for name in ("calibration", "calibrate_key")
        ),
    ]
    if wrong := next((fault for is_fault, fault in faults if is_fault), None):
        make_score_parser().error(wrong)


def _picture(text: str) -> str:
    if Path(text).suffix.lower() not in _PICTURES:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a name that ends in {' or '.join(_PICTURES)}")
    return text


def _ways(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r}: expected names with commas between, such as duration,source")
    return names
