"""Trials: what any file of scores or answers says, in one shape, ready to be scored, compared and converted.

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

Priors are taken as equal: normalised log-likelihoods are log-probabilities, and the other way round.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

import numpy as np
from scipy.special import log_softmax

from ..errors import UserError
from .answers import Answers, read_s3prl, read_trn
from .detection import log_likelihoods_from_ratios
from .exchange import ScoreTable, read_nist, read_pairs
from .files import read_scores
from .formats import Format, recognise
from .keys import Key
from .reference_csv import read_reference_csv
from .rows import parse_seconds

_TWO = 2


class Values(StrEnum):
    """What the scores of a file in Kaldi's format are."""

    LIKELIHOODS = "log-likelihoods"
    RATIOS = "ratios"


@dataclass(frozen=True, eq=False)
class Trials:
    """What a system says of N utterances, which may be of C classes.

    Attributes
    ----------
    path, format : the file it was read from.
    classes : names of the C classes; in files of answers those that occur, sorted.
    ids : (N,) str.
    predictions : (N,) str, the likeliest class, or the answer.
    truth : (N,) str, or None where the file has none and no key was joined.
    log_likelihoods : (N, C) float64, natural logarithms whose exponentials sum to 1 in each row; None: answers only.
    seconds : (N,) float64, nominal durations, NaN where unknown.
    columns : name → (N,) str, whatever else is known, such as ``group`` and ``source``; may hold empty strings.
    """

    path: Path
    format: Format
    classes: tuple[str, ...]
    ids: np.ndarray
    predictions: np.ndarray
    truth: np.ndarray | None
    log_likelihoods: np.ndarray | None
    seconds: np.ndarray
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def column(self, name: str) -> np.ndarray | None:
        """Return a column, (N,) str; None where there is none, or nothing in it."""
        values = self.columns.get(name)
        return values if values is not None and (values != "").any() else None


def read_trials(
    path: Path | str, *, classes: Sequence[str] | None = None, values: Values = Values.LIKELIHOODS
) -> Trials:
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
        return _scored(path, form, _from_ratios(path, read_nist(path)))
    if form is Format.PAIRS:
        table = read_pairs(path)
        return _scored(path, form, table if values is Values.LIKELIHOODS else _from_ratios(path, table))
    answers: Answers = read_trn(path) if form is Format.TRN else read_s3prl(path)
    return Trials(
        path=path,
        format=form,
        classes=tuple(sorted({*answers.truth.tolist(), *answers.predictions.tolist()})),
        ids=answers.ids,
        predictions=answers.predictions,
        truth=answers.truth,
        log_likelihoods=None,
        seconds=np.full(len(answers.ids), np.nan),
    )


def join_key(trials: Trials, key: Key) -> Trials:
    """Return trials with the truth and the columns of a key; where both know something, the key's holds.

    Raises
    ------
    UserError : an utterance is in one of them only, they disagree on a true class, or seconds are no numbers.
    """
    places = _places(trials, key.ids, key.path)
    columns = {name: values[places] for name, values in key.columns.items()}
    truth = columns.pop("class")
    _check_same_truth(trials, truth, key.path)
    seconds = trials.seconds
    if "seconds" in columns:
        # Read in the key's order, in which its rows are counted.
        seconds = parse_seconds(key.path, key.columns["seconds"].tolist())[places]
        del columns["seconds"]
    return replace(trials, truth=truth, seconds=seconds, columns={**trials.columns, **columns})


def align(other: Trials, first: Trials) -> Trials:
    """Return another system's trials in the order of the first's utterances and classes.

    Raises
    ------
    UserError : an utterance or a class is in one of them only, or they disagree on a true class.
    """
    places = _places(first, other.ids, other.path)
    aligned = replace(
        other,
        ids=other.ids[places],
        predictions=other.predictions[places],
        truth=None if other.truth is None else other.truth[places],
        log_likelihoods=None if other.log_likelihoods is None else other.log_likelihoods[places],
        seconds=other.seconds[places],
        columns={name: values[places] for name, values in other.columns.items()},
    )
    if first.truth is not None and aligned.truth is not None:
        _check_same_truth(aligned, first.truth, first.path)
    return with_classes(aligned, first.classes, first.path)


def with_classes(trials: Trials, classes: Sequence[str], origin: Path | str) -> Trials:
    """Return trials with their classes in the order of `classes`, which are those of `origin`.

    A file of answers may lack some, since only those that occur are in it.

    Raises
    ------
    UserError : other classes.
    """
    unknown, absent = set(trials.classes) - set(classes), set(classes) - set(trials.classes)
    if unknown or (absent and trials.log_likelihoods is not None):
        where, name = (trials.path, min(unknown)) if unknown else (origin, min(absent))
        raise UserError(
            f"{trials.path}: expected the {len(classes)} classes of {origin}, found {name} in {where} only "
            f"({len(unknown) + len(absent)} such). Score files of the same classes."
        )
    if trials.log_likelihoods is None:
        return replace(trials, classes=tuple(classes))
    order = [trials.classes.index(name) for name in classes]
    return replace(trials, classes=tuple(classes), log_likelihoods=trials.log_likelihoods[:, order])


def class_numbers(trials: Trials, names: np.ndarray) -> np.ndarray:
    """Return the number of each class name, (N,) int64; a UserError for one the system does not know."""
    number_of = {name: number for number, name in enumerate(trials.classes)}
    known = np.array([name in number_of for name in names.tolist()])
    if not known.all():
        raise UserError(
            f"{trials.path}: expected true classes among the {len(trials.classes)} that are scored, found "
            f"{names[~known][0]} of {trials.ids[~known][0]} ({np.count_nonzero(~known)} such utterances). Take them out, "
            "or score all classes."
        )
    return np.array([number_of[name] for name in names.tolist()], dtype=np.int64)


def _scored(
    path: Path,
    form: Format,
    table: ScoreTable,
    *,
    truth: np.ndarray | None = None,
    seconds: np.ndarray | None = None,
    columns: Mapping[str, np.ndarray] | None = None,
) -> Trials:
    finite = np.isfinite(table.values.max(axis=1))
    if not finite.all():
        raise UserError(
            f"{path}: expected scores below infinity, one at least finite for each utterance, found others for "
            f"{table.ids[~finite][0]} ({np.count_nonzero(~finite)} such). Write it anew."
        )
    log_likelihoods = log_softmax(table.values, axis=1)
    return Trials(
        path=path,
        format=form,
        classes=table.classes,
        ids=table.ids,
        predictions=np.array(table.classes)[log_likelihoods.argmax(axis=1)],
        truth=truth,
        log_likelihoods=log_likelihoods,
        seconds=np.full(len(table.ids), np.nan) if seconds is None else seconds,
        columns=columns or {},
    )


def _from_ratios(path: Path, table: ScoreTable) -> ScoreTable:
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
    return ScoreTable(table.classes, table.ids, log_likelihoods_from_ratios(table.values))


def _places(trials: Trials, ids: np.ndarray, origin: Path) -> np.ndarray:
    """Return where in ids each utterance of the trials is, (N,) int64; both must have the same."""
    place_of = {name: place for place, name in enumerate(ids.tolist())}
    known = set(trials.ids.tolist())
    for path, other, names in (
        (trials.path, origin, [name for name in trials.ids.tolist() if name not in place_of]),
        (origin, trials.path, [name for name in place_of if name not in known]),
    ):
        if names:
            raise UserError(
                f"{other}: expected the utterances of {path}, found {len(names)} missing, the first {names[0]}. "
                "Give files of the same utterances."
            )
    return np.array([place_of[name] for name in trials.ids.tolist()], dtype=np.int64)


def _check_same_truth(trials: Trials, truth: np.ndarray, origin: Path) -> None:
    if trials.truth is None:
        return
    differs = trials.truth != truth
    if differs.any():
        place = int(differs.argmax())
        raise UserError(
            f"{trials.path}: expected the true classes of {origin}, found {trials.truth[place]} in place of "
            f"{truth[place]} for {trials.ids[place]} ({np.count_nonzero(differs)} such). Correct one of them."
        )
