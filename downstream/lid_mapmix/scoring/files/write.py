"""Writing what a system says, whatever file it came from, in any of the formats."""

from enum import StrEnum
from pathlib import Path

import numpy as np

from ...utils.errors import UserError
from ..detection import log_likelihood_ratios
from .hard_labels import PREDICT_ENDING, TRUTH_ENDING, Answers, write_trn
from .mapmix_csv import ReferenceScores, write_reference_csv
from .nist_kaldi import ScoreTable, write_nist, write_pairs
from .own import write_s3prl_predictions, write_scores
from .rows import check_names
from .system_output import SystemOutput, class_numbers

_TWO = 2


class Target(StrEnum):
    """The formats that can be written, as ``lid-mapmix score --convert`` names them."""

    SCORES = "scores"
    NIST = "nist"
    KALDI = "kaldi"
    TRN = "trn"
    S3PRL = "s3prl"
    MAPMIX = "mapmix"


# The ones that hold no truth; the others need it.
WITHOUT_TRUTH = (Target.NIST, Target.KALDI)
_ANSWERS = (Target.TRN, Target.S3PRL)


def paths_of(path: Path, target: Target) -> list[Path]:
    """Return the files that `write_output` writes.

    Raises
    ------
    UserError : S3PRL's two files take a name that ends as theirs do.
    """
    if target is not Target.S3PRL:
        return [path]
    if not path.name.endswith(PREDICT_ENDING):
        raise UserError(f"{path}: expected a name that ends in {PREDICT_ENDING} for S3PRL's two files. Rename it.")
    return [path, path.with_name(path.name.removesuffix(PREDICT_ENDING) + TRUTH_ENDING)]


def has_ratios_of_its_own(output: SystemOutput) -> bool:
    """Say whether the ratios in a system's file are others than those of the likelihoods that are made of them."""
    if output.ratios is None or output.log_likelihoods is None:
        return False
    # Digits that a file leaves out make no difference to a decision.
    return not np.allclose(log_likelihood_ratios(output.log_likelihoods), output.ratios, rtol=1e-3, atol=1e-3)


def write_output(path: Path, target: Target, output: SystemOutput) -> None:
    """Write a system's output in a format, complete or not at all: log-likelihoods in Kaldi's, their ratios in NIST's.

    Raises
    ------
    UserError : the format needs scores or the truth, which this output has not, or cannot hold a name.
    """
    if target not in WITHOUT_TRUTH and output.truth is None:
        raise UserError(f"{output.path}: expected the true classes, which {target} holds, found none. Give --key FILE.")
    if target not in _ANSWERS and output.log_likelihoods is None:
        raise UserError(
            f"{output.path}: expected scores, which {target} holds, found answers only. Convert to "
            f"{' or '.join(_ANSWERS)}."
        )
    if target in _ANSWERS:
        _write_answers(path, target, output)
    else:
        _write_scores(path, target, output)


def _write_answers(path: Path, target: Target, output: SystemOutput) -> None:
    truth = np.asarray(output.truth)
    if target is Target.TRN:
        write_trn(path, Answers(output.ids, truth, output.predictions))
        return
    # An id may hold spaces in these files, a label may not.
    check_names(output.ids.tolist())
    check_names((*output.predictions.tolist(), *truth.tolist()), one_word=True)
    split = path.name.removesuffix(PREDICT_ENDING)
    write_s3prl_predictions(path.parent, split, output.ids, output.predictions, truth)


def _write_scores(path: Path, target: Target, output: SystemOutput) -> None:
    values, empty = np.asarray(output.log_likelihoods), np.full(len(output), "")
    table = ScoreTable(output.classes, output.ids, values)
    if target is Target.KALDI:
        write_pairs(path, table)
        return
    if target is Target.NIST:
        if len(output.classes) < _TWO:
            raise UserError(
                f"{output.path}: expected 2 classes or more, as ratios need, found 1. Write another format."
            )
        ratios = log_likelihood_ratios(values) if output.ratios is None else output.ratios
        write_nist(path, ScoreTable(output.classes, output.ids, ratios))
        return
    truth = np.asarray(output.truth)
    class_numbers(output, truth)
    check_names((*output.ids.tolist(), *output.classes), forbidden="\n\r")
    if target is Target.MAPMIX:
        write_reference_csv(
            path,
            ReferenceScores(output.classes, output.ids, truth, output.predictions, output.seconds, np.exp(values)),
        )
        return
    write_scores(
        path,
        ids=output.ids,
        classes=output.classes,
        truth=truth,
        log_probabilities=values,
        seconds=output.seconds,
        group=output.columns.get("group", empty),
        source=output.columns.get("source", empty),
    )
