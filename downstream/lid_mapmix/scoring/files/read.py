"""Reading any file of scores or of answers into one shape, a SystemOutput.

=============================== ======================= ====================================== ===========
format                          truth                   scores                                 also
=============================== ======================= ====================================== ===========
SPLIT_scores.csv                yes                     log-probabilities                      seconds,
                                                                                               group,
                                                                                               source
CSV of Map-Mix's code           yes                     probabilities                          seconds
NIST score table                by a key (keys.py)      log-likelihood ratios                  the key's
utterance language score        by a key                log-likelihoods, or ratios             the key's
lid.trn, S3PRL's two files      yes                     none: answers only                     –
=============================== ======================= ====================================== ===========

Priors are taken as equal: normalised log-likelihoods are log-probabilities, and the other way round. Costs and EER of
ratios are those of the ratios as they are, as NIST computes them; only what needs probabilities (ECE, Cllr,
calibration) takes likelihoods that are made of them by `detection.log_likelihoods_from_ratios`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

import numpy as np
from scipy.special import log_softmax

from ...utils.errors import UserError
from ..detection import log_likelihoods_from_ratios
from .formats import Format, recognise
from .hard_labels import read_s3prl, read_trn
from .mapmix_csv import read_reference_csv
from .nist_kaldi import ScoreTable, read_nist, read_pairs
from .own import read_scores
from .system_output import SystemOutput

_TWO = 2


class Values(StrEnum):
    """What the scores of a file in Kaldi's format are."""

    LIKELIHOODS = "log-likelihoods"
    RATIOS = "ratios"


def read_output(
    path: Path | str, *, classes: Sequence[str] | None = None, values: Values = Values.LIKELIHOODS
) -> SystemOutput:
    """Read a file in any of the formats that `formats.recognise` knows.

    Parameters
    ----------
    path : the file.
    classes : order of the classes in the CSV of Map-Mix's code; None: see `read_reference_csv`.
    values : what the scores in Kaldi's format are.

    Raises
    ------
    UserError : none of the formats, a damaged file, an utterance for which no class is possible.
    """
    path = Path(path)
    form = recognise(path)
    if form is Format.SCORES:
        scores = read_scores(path)
        table = ScoreTable(scores.classes, scores.ids, scores.log_probabilities)
        columns = {"group": scores.group, "source": scores.source}
        return _scored(path, form, table, truth=scores.truth, seconds=scores.seconds, columns=columns)
    if form is Format.REFERENCE:
        published = read_reference_csv(path, classes)
        with np.errstate(divide="ignore"):  # a probability of 0 is a likelihood of 0
            table = ScoreTable(published.classes, published.ids, np.log(published.probabilities))
        return _scored(path, form, table, truth=published.truth, seconds=published.seconds)
    if form is Format.NIST:
        return _from_ratios(path, form, read_nist(path))
    if form is Format.PAIRS:
        table = read_pairs(path)
        return _scored(path, form, table) if values is Values.LIKELIHOODS else _from_ratios(path, form, table)
    answers = read_trn(path) if form is Format.TRN else read_s3prl(path)
    return SystemOutput(
        path=path,
        format=form,
        classes=tuple(sorted({*answers.truth.tolist(), *answers.predictions.tolist()})),
        ids=answers.ids,
        predictions=answers.predictions,
        truth=answers.truth,
        log_likelihoods=None,
        ratios=None,
        seconds=np.full(len(answers.ids), np.nan),
    )


def _scored(
    path: Path,
    form: Format,
    table: ScoreTable,
    *,
    truth: np.ndarray | None = None,
    seconds: np.ndarray | None = None,
    columns: Mapping[str, np.ndarray] | None = None,
) -> SystemOutput:
    finite = np.isfinite(table.values.max(axis=1))
    if not finite.all():
        raise UserError(
            f"{path}: expected scores below infinity, one at least finite for each utterance, found others for "
            f"{table.ids[~finite][0]} ({np.count_nonzero(~finite)} such). Write it anew."
        )
    log_likelihoods = log_softmax(table.values, axis=1)
    return SystemOutput(
        path=path,
        format=form,
        classes=table.classes,
        ids=table.ids,
        predictions=np.array(table.classes)[log_likelihoods.argmax(axis=1)],
        truth=truth,
        log_likelihoods=log_likelihoods,
        ratios=None,
        seconds=np.full(len(table.ids), np.nan) if seconds is None else seconds,
        columns=columns or {},
    )


def _from_ratios(path: Path, form: Format, table: ScoreTable) -> SystemOutput:
    if len(table.classes) < _TWO:
        raise UserError(
            f"{path}: expected log-likelihood ratios of 2 languages or more, found 1. Score it with others."
        )
    impossible = np.isneginf(table.values).all(axis=1)
    if impossible.any():
        raise UserError(
            f"{path}: expected a ratio above minus infinity for each utterance, found none for "
            f"{table.ids[impossible][0]} ({np.count_nonzero(impossible)} such). Write it anew."
        )
    likelihoods = ScoreTable(table.classes, table.ids, log_likelihoods_from_ratios(table.values))
    return replace(_scored(path, form, likelihoods), ratios=table.values)
