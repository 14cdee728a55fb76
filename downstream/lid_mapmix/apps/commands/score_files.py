"""What ``lid-mapmix score`` reads, whether files and flags fit each other, and writing a file in another format."""

import argparse
from pathlib import Path

import numpy as np

from ...data.labels import Labels, labels_from_names, read_labels
from ...scoring.calibration import Calibration, fit, read_calibration
from ...scoring.choices import CALIBRATION_SUFFIX, FileFormat, Kind, Values
from ...scoring.files.formats import format_of, read_output, recognise, write_output
from ...scoring.files.keys import join_key, read_key
from ...scoring.files.system_output import Hints, SystemOutput, class_numbers, reorder_classes
from ...utils.errors import UserError


def convert(options: argparse.Namespace) -> None:
    """Write FILE in another format, calibrated where that was asked for, and say so.

    Raises
    ------
    UserError : a file in the way, a damaged file, or one that lacks what the format holds.
    """
    path = Path(options.to)
    refuse_files_in_the_way(options)
    labels = kept_labels(options)
    form = format_of(FileFormat(options.convert))
    (output,) = read_systems(options, labels)
    if form.has_truth:
        require_truth(output, "--key")
    calibration = calibration_of(options, labels, output, 0)
    if calibration is not None and output.log_likelihoods is not None:
        calibrate = calibration.log_probabilities if form.has_truth else calibration.log_likelihoods
        output = output.with_likelihoods(calibrate(output.log_likelihoods))
    write_output(path, form, output)
    print("written:\n" + "\n".join(f"  {one}" for one in form.files(path)))
    if form.key is not FileFormat.NIST and output.has_ratios_of_its_own:
        print(f"The ratios of {output.path} belong to no likelihoods; what is made of them has other costs and EER.")


def kept_labels(options: argparse.Namespace) -> Labels | None:
    """Return the labels of --labels; None where it is not given."""
    return read_labels(options.labels) if options.labels else None


def refuse_files_in_the_way(options: argparse.Namespace) -> None:
    """Check that no file to write is there already, or is read.

    Raises
    ------
    UserError : one is.
    """
    paths = [Path(name) for name in (options.json, options.save_calibration, options.reliability) if name]
    if options.convert:
        paths += format_of(FileFormat(options.convert)).files(Path(options.to))
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


def read_systems(options: argparse.Namespace, labels: Labels | None) -> list[SystemOutput]:
    """Return the output of each FILE, with the key joined where one is given.

    Raises
    ------
    UserError : a damaged file, files that do not fit each other.
    """
    read = [*options.files, *(path for path in options.calibrate if not path.endswith(CALIBRATION_SUFFIX))]
    kaldi = format_of(FileFormat.KALDI)
    if options.scores != Values.LIKELIHOODS and all(recognise(path) is not kaldi for path in read):
        raise UserError(f"--scores {options.scores}: has an effect on '{kaldi.name}' only, found none. Leave it out.")
    return [read_system(path, options.key, labels, options.scores) for path in options.files]


def require_truth(output: SystemOutput, flag: str) -> np.ndarray:
    """Return the true classes, (N,) str; a UserError where they are not known names the flag that gives them."""
    if output.truth is None:
        raise UserError(
            f"{output.path}: expected the true classes, which the format '{output.format.name}' does not hold. Give a "
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
    if path.endswith(CALIBRATION_SUFFIX):
        return _reordered(read_calibration(path), output, path)
    dev = read_system(path, options.calibrate_key, labels, options.scores)
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


def read_system(
    path: str, key: str | None, labels: Labels | None, values: str = Values.LIKELIHOODS.value
) -> SystemOutput:
    """Return the output of a file, its format recognised, with the key joined where one is given.

    Parameters
    ----------
    path, key : the files; see ``lid-mapmix score --help``.
    labels : which say the order of the classes where the file does not.
    values : what the scores of Kaldi's format are.

    Raises
    ------
    UserError : a damaged file, or a key that does not fit it.
    """
    output = read_output(path, Hints(labels.classes if labels else None, Values(values)))
    return join_key(output, read_key(key)) if key else output
