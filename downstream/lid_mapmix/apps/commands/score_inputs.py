"""What ``lid-mapmix score`` reads, and whether its flags and files fit each other."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...data.labels import Labels, labels_from_names
from ...scoring.calibration import Calibration, Kind, fit, read_calibration
from ...scoring.files.formats import Format, recognise
from ...scoring.files.keys import read_key
from ...scoring.files.read import Values, read_output
from ...scoring.files.system_output import SystemOutput, class_numbers, join_key, reorder_classes
from ...scoring.files.write import Target, paths_of
from ...utils.errors import UserError


@dataclass(frozen=True)
class FilesToWrite:
    """The files to write; None where one was not asked for."""

    json: Path | None
    calibration: Path | None
    reliability: Path | None
    converted: Path | None


def files_to_write(options: argparse.Namespace) -> FilesToWrite:
    """Return the files to write, none of which may be in the way or be read.

    Raises
    ------
    UserError : one is.
    """
    named = (options.json, options.save_calibration, options.reliability, options.to)
    to_write = FilesToWrite(*(Path(name) if name else None for name in named))
    paths = [path for path in (to_write.json, to_write.calibration, to_write.reliability) if path is not None]
    if to_write.converted is not None:
        paths += paths_of(to_write.converted, Target(options.convert))
    read = [*options.files, *options.calibrate, options.labels, options.key, options.calibrate_key]
    taken = {Path(name).resolve() for name in read if name}
    for path in paths:
        if path.resolve() in taken:
            raise UserError(f"{path}: is read or written already. Name another file to write.")
        taken.add(path.resolve())
        if path.is_dir():
            raise UserError(f"{path}: expected a file to write, found a folder. Name a file in it.")
        if path.exists() and not options.overwrite:
            raise UserError(f"{path}: is there already. Name another file, or replace it by --overwrite.")
    return to_write


def read_systems(options: argparse.Namespace, labels: Labels | None) -> list[SystemOutput]:
    """Return the output of each FILE, with the key joined where one is given.

    Raises
    ------
    UserError : a damaged file, files that do not fit each other.
    """
    read = [*options.files, *(path for path in options.calibrate if not names_calibration(path))]
    if options.scores != Values.LIKELIHOODS and all(recognise(path) is not Format.PAIRS for path in read):
        raise UserError(f"--scores {options.scores}: has an effect on '{Format.PAIRS}' only, found none. Leave it out.")
    return [_read_one(path, options.key, options, labels) for path in options.files]


def require_truth(output: SystemOutput, flag: str) -> np.ndarray:
    """Return the true classes, (N,) str; a UserError where they are not known names the flag that gives them."""
    if output.truth is None:
        raise UserError(
            f"{output.path}: expected the true classes, which the format '{output.format}' does not hold. Give a "
            f"manifest, NIST's segment keys or Kaldi's utt2lang by {flag} FILE."
        )
    return output.truth


def require_scores(output: SystemOutput, flag: str) -> np.ndarray:
    """Return the log-likelihoods, (N, C) float64; a UserError where there are answers only names the flag."""
    if output.log_likelihoods is None:
        raise UserError(
            f"{output.path}: expected scores, which {flag} needs, found answers only. Give a file of scores."
        )
    return output.log_likelihoods


def clusters_of(output: SystemOutput, labels: Labels | None, origin: str) -> dict[str, str]:
    """Return class → cluster, in the order of the labels; without labels the part of the name before the first ``-``.

    Raises
    ------
    UserError : the labels, which are from `origin`, lack a class.
    """
    clusters = (labels or labels_from_names(output.classes)).clusters
    cluster_of = {name: cluster for cluster, members in clusters.items() for name in members}
    if absent := [name for name in output.classes if name not in cluster_of]:
        raise UserError(
            f"{origin}: expected all {len(output.classes)} classes of {output.path}, found no {absent[0]} "
            f"({len(absent)} such). Add it."
        )
    return cluster_of


def calibration_of(
    options: argparse.Namespace, labels: Labels | None, output: SystemOutput, place: int
) -> Calibration | None:
    """Return the calibration of the FILE in a place, its classes in the order of the output; None: not asked for.

    Raises
    ------
    UserError : answers without scores, other classes, or what `calibration.fit` refuses.
    """
    if not options.calibrate:
        return None
    path = options.calibrate[place]
    require_scores(output, "--calibrate")
    if names_calibration(path):
        return _reordered(read_calibration(path), output, path)
    dev = _read_one(path, options.calibrate_key, options, labels)
    truth = require_truth(dev, "--calibrate-key")
    dev = reorder_classes(dev, output.classes, output.path)
    kind = Kind(options.calibration or Kind.TEMPERATURE)
    return fit(kind, require_scores(dev, "--calibrate"), class_numbers(dev, truth), dev.classes)


def _reordered(calibration: Calibration, output: SystemOutput, origin: str) -> Calibration:
    if set(calibration.classes) != set(output.classes):
        apart = min(set(calibration.classes) ^ set(output.classes))
        raise UserError(f"{origin}: expected the classes of {output.path}, found {apart} in one only. Fit it anew.")
    order = [calibration.classes.index(name) for name in output.classes]
    return Calibration(
        kind=calibration.kind,
        classes=output.classes,
        matrix=tuple(tuple(calibration.matrix[row][column] for column in order) for row in order),
        offset=tuple(calibration.offset[row] for row in order),
        prior=tuple(calibration.prior[row] for row in order),
    )


def _read_one(path: str, key: str | None, options: argparse.Namespace, labels: Labels | None) -> SystemOutput:
    output = read_output(path, classes=labels.classes if labels else None, values=Values(options.scores))
    return join_key(output, read_key(key)) if key else output


def names_calibration(path: str) -> bool:
    """Say whether what --calibrate names is a calibration, and no file of scores."""
    return path.endswith(".json")
