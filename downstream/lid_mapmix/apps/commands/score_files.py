"""``lid-mapmix score``: read files, check that files and flags match, and convert a file to another format."""

import argparse
from pathlib import Path

import numpy as np

from ...data.labels import Labels, labels_from_names
from ...scoring.calibration import Calibration, read_calibration
from ...scoring.calibration_fit import fit, fit_duration, mean_duration
from ...scoring.choices import CALIBRATION_SUFFIX, FileFormat, Kind, Values
from ...scoring.class_priors import divide_out, ordered_priors, read_priors
from ...scoring.files.formats import format_of, read_output, recognise, write_output
from ...scoring.files.keys import join_key
from ...scoring.files.system_output import SystemOutput, class_numbers, reorder_classes
from ...utils.command_line import STANDARD_OUTPUT
from ...utils.errors import UserError
from ...utils.one_line import one_line


def convert(options: argparse.Namespace) -> None:
    """Write FILE in another format, with --calibrate calibrated, and print the paths.

    Raises UserError: an output exists, a file is damaged, or the file lacks what the format needs.
    """
    path = options.out
    refuse_existing_outputs(options)
    form = format_of(FileFormat(options.convert))
    (output,) = read_systems(options)
    if form.has_truth:
        require_truth(output, "--key")
    calibration = calibration_of(options, output, 0)
    if calibration is not None and output.log_likelihoods is not None:
        calibrate = calibration.log_probabilities if form.has_truth else calibration.log_likelihoods
        output = output.with_likelihoods(calibrate(output.log_likelihoods, seconds=output.seconds))
    elif options.class_prior and output.log_likelihoods is not None and not form.has_truth:
        output = output.with_likelihoods(divide_out(output.log_likelihoods, given_priors(options, output)))
    write_output(path, form, output)
    print(f"written:\n  {path}")
    if form.key is not FileFormat.NIST and output.has_ratios_of_its_own:
        print(
            f"warning: the ratios of {output.path} do not follow from likelihoods; the costs and EER of the converted "
            "file differ"
        )


def given_priors(options: argparse.Namespace, output: SystemOutput) -> list[float] | None:
    """Return the class priors of --class-prior, in the order of the output; None without the flag.

    Raises UserError: no such file, no priors in it, or those of other classes.
    """
    if options.class_prior is None:
        return None
    try:
        priors = read_priors(options.class_prior)
        if priors is None:
            raise ValueError("none, as in runs of version 0.1.0; without the flag they are taken as equal")
        return ordered_priors(priors, output.classes)
    except (OSError, ValueError) as error:
        raise UserError(
            f"--class-prior {options.class_prior}: expected JSON with a number above 0 per class of {output.path}, "
            f"found: {one_line(str(error))}. SPLIT_metrics.json and calibration.json of a run have them."
        ) from None


def refuse_existing_outputs(options: argparse.Namespace) -> None:
    """Check that no output file exists, or is an input. Raises UserError: one does, or is."""
    outputs = (options.json, options.table, options.save_calibration, options.reliability)
    paths = [Path(name) for name in outputs if name not in (None, STANDARD_OUTPUT)]
    if options.convert:
        paths.append(options.out)
    read = [*options.files, *options.calibrate, options.labels, options.key, options.calibrate_key, options.class_prior]
    taken = {Path(name).resolve() for name in read if name}
    for path in paths:
        if path.resolve() in taken:
            raise UserError(f"{path}: is another file of this command. Name another file to write.")
        taken.add(path.resolve())
        if path.is_dir():
            raise UserError(f"{path}: expected a file to write, found a folder. Name a file in it.")
        if path.exists() and not options.overwrite:
            raise UserError(f"{path}: exists already. Name another file, or replace it by --overwrite.")


def read_systems(options: argparse.Namespace) -> list[SystemOutput]:
    """Return the output of each FILE, with its key joined. Raises UserError: damaged files, or unequal ones."""
    read = [*options.files, *(path for path in options.calibrate if not path.endswith(CALIBRATION_SUFFIX))]
    kaldi = format_of(FileFormat.KALDI)
    if options.scores != Values.LIKELIHOODS and all(recognise(path) is not kaldi for path in read):
        raise UserError(f"--scores {options.scores}: applies to '{kaldi.name}' only, found none. Remove it.")
    return [read_system(path, options.key, options.scores) for path in options.files]


def require_truth(output: SystemOutput, flag: str) -> np.ndarray:
    """Return the true classes, (N,) str; without them, raise a UserError that names the flag to give them."""
    if output.truth is None:
        raise UserError(
            f"{output.path}: expected true classes, which the format '{output.format.name}' does not contain. Give a "
            f"manifest, NIST segment keys or Kaldi's utt2lang by {flag} FILE."
        )
    return output.truth


def require_scores(output: SystemOutput, flag: str) -> np.ndarray:
    """Return the log-likelihoods, (N, C) float64; with hard labels only, raise a UserError that names `flag`."""
    if output.log_likelihoods is None:
        raise UserError(f"{output.path}: expected scores for {flag}, found hard labels only. Give a file with scores.")
    return output.log_likelihoods


def clusters_of(output: SystemOutput, labels: Labels | None, origin: str) -> dict[str, str]:
    """Return class → cluster, in the order of the labels; without labels the part of the name before the first ``-``.

    Raises UserError: the labels, read from `origin`, lack a class.
    """
    clusters = (labels or labels_from_names(output.classes)).clusters
    cluster_of = {name: cluster for cluster, members in clusters.items() for name in members}
    if absent := [name for name in output.classes if name not in cluster_of]:
        raise UserError(
            f"{origin}: expected all {len(output.classes)} classes of {output.path}, found {len(absent)} missing, "
            f"such as {absent[0]}. Add them."
        )
    return cluster_of


def calibration_of(options: argparse.Namespace, output: SystemOutput, number: int) -> Calibration | None:
    """Return the calibration of FILE `number`, in the order of its classes. Raises UserError: it does not fit."""
    if not options.calibrate:
        return None
    path = options.calibrate[number]
    require_scores(output, "--calibrate")
    if path.endswith(CALIBRATION_SUFFIX):
        calibration = read_calibration(path)
        if set(calibration.classes) != set(output.classes):
            apart = min(set(calibration.classes) ^ set(output.classes))
            raise UserError(
                f"{path}: expected the classes of {output.path}, found {apart} in one only. Fit the calibration again."
            )
        return calibration.reordered(output.classes)
    dev = read_system(path, options.calibrate_key, options.scores)
    truth = require_truth(dev, "--calibrate-key")
    dev = reorder_classes(dev, output.classes, output.path)
    kind = Kind(options.calibration or Kind.AFFINE)
    prior = given_priors(options, output)
    scores, numbers = require_scores(dev, "--calibrate"), class_numbers(dev, truth)
    calibration = fit(kind, scores, numbers, dev.classes, prior)
    return fit_duration(calibration, scores, numbers, dev.seconds, mean_duration(dev.seconds))


def read_system(path: str, key: str | None, values: str = Values.LIKELIHOODS.value) -> SystemOutput:
    """Return the output of a file, its format recognised, with the key joined where one is given.

    Raises UserError: a damaged file, or a key that does not fit it.

    `path`, `key`: the files; see ``lid-mapmix score --help``. `values`: what the scores of Kaldi's format are.
    """
    output = read_output(path, Values(values))
    return join_key(output, key) if key else output
