"""Writing trials, whatever file they came from, in any of the formats."""

from enum import StrEnum
from pathlib import Path

import numpy as np

from ..errors import UserError
from .answers import PREDICT_ENDING, TRUTH_ENDING, Answers, write_trn
from .detection import log_likelihood_ratios
from .exchange import ScoreTable, write_nist, write_pairs
from .files import write_s3prl_predictions, write_scores
from .reference_csv import ReferenceScores, write_reference_csv
from .trials import Trials, class_numbers

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
    """Return the files that `write_trials` writes.

    Raises
    ------
    UserError : S3PRL's two files take a name that ends as theirs do.
    """
    if target is not Target.S3PRL:
        return [path]
    if not path.name.endswith(PREDICT_ENDING):
        raise UserError(f"{path}: expected a name that ends in {PREDICT_ENDING} for S3PRL's two files. Rename it.")
    return [path, path.with_name(path.name.removesuffix(PREDICT_ENDING) + TRUTH_ENDING)]


def write_trials(path: Path, target: Target, trials: Trials) -> None:
    """Write trials in a format, complete or not at all: log-likelihoods in Kaldi's, their ratios in NIST's.

    Raises
    ------
    UserError : the format needs scores or the truth, which these trials have not, or cannot hold a name.
    """
    if target not in WITHOUT_TRUTH and trials.truth is None:
        raise UserError(f"{trials.path}: expected the true classes, which {target} holds, found none. Give --key FILE.")
    if target not in _ANSWERS and trials.log_likelihoods is None:
        raise UserError(
            f"{trials.path}: expected scores, which {target} holds, found answers only. Convert to "
            f"{' or '.join(_ANSWERS)}."
        )
    if target in _ANSWERS:
        _write_answers(path, target, trials)
    else:
        _write_scores(path, target, trials)


def _write_answers(path: Path, target: Target, trials: Trials) -> None:
    truth = np.asarray(trials.truth)
    if target is Target.TRN:
        write_trn(path, Answers(trials.ids, truth, trials.predictions))
        return
    # An id may hold spaces in these files, a label may not.
    if spaced := [name for name in (*trials.predictions.tolist(), *truth.tolist()) if len(name.split()) != 1]:
        raise UserError(f"expected classes without white space, found {spaced[0]!r}. Write another format.")
    split = path.name.removesuffix(PREDICT_ENDING)
    write_s3prl_predictions(path.parent, split, trials.ids, trials.predictions, truth)


def _write_scores(path: Path, target: Target, trials: Trials) -> None:
    values, empty = np.asarray(trials.log_likelihoods), np.full(len(trials), "")
    table = ScoreTable(trials.classes, trials.ids, values)
    if target is Target.KALDI:
        write_pairs(path, table)
        return
    if target is Target.NIST:
        if len(trials.classes) < _TWO:
            raise UserError(
                f"{trials.path}: expected 2 classes or more, as ratios need, found 1. Write another format."
            )
        write_nist(path, ScoreTable(trials.classes, trials.ids, log_likelihood_ratios(values)))
        return
    truth = np.asarray(trials.truth)
    class_numbers(trials, truth)
    if target is Target.MAPMIX:
        write_reference_csv(
            path,
            ReferenceScores(trials.classes, trials.ids, truth, trials.predictions, trials.seconds, np.exp(values)),
        )
        return
    write_scores(
        path,
        ids=trials.ids,
        classes=trials.classes,
        truth=truth,
        log_probabilities=values,
        seconds=trials.seconds,
        group=trials.columns.get("group", empty),
        source=trials.columns.get("source", empty),
    )
