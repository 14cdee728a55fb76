"""The CSV that Map-Mix's published code writes.

A row has audiopath, duration, class, prediction and probability; the last is a list as Python prints it, and its order
of classes is not in the file.
"""

import ast
import csv
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...utils.errors import UserError
from ...utils.files import replace_when_complete
from .rows import check_rows, parse_seconds, read_csv, unique_ids

REFERENCE_COLUMNS = ("audiopath", "duration", "class", "prediction", "probability")


@dataclass(frozen=True, eq=False)
class ReferenceScores:
    """What the CSV of Map-Mix's published code holds, for N utterances.

    Attributes
    ----------
    classes : names of the C classes, in the order of the probabilities.
    ids, truth, predictions : (N,) str. seconds : (N,) float64. probabilities : (N, C) float64.
    """

    classes: tuple[str, ...]
    ids: np.ndarray
    truth: np.ndarray
    predictions: np.ndarray
    seconds: np.ndarray
    probabilities: np.ndarray


def write_reference_csv(path: Path | str, scores: ReferenceScores) -> None:
    """Write the CSV of Map-Mix's published code."""
    with replace_when_complete(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(REFERENCE_COLUMNS)
        columns = (scores.ids, scores.seconds, scores.truth, scores.predictions, scores.probabilities)
        for row in zip(*(column.tolist() for column in columns), strict=True):
            writer.writerow([*row[:-1], str(row[-1])])


def read_reference_csv(path: Path | str, classes: Sequence[str] | None = None) -> ReferenceScores:
    """Read the CSV of Map-Mix's published code.

    Parameters
    ----------
    path : the file.
    classes : names in the order of the probabilities. None: the predictions tell, which are the names of the greatest
        probabilities; that needs each class to be predicted once, or all but one.

    Raises
    ------
    UserError : no such file, other columns, a probability that is no list of numbers or of another length, a prediction
        that is not the greatest probability's, classes that cannot be told.
    """
    header, *rows = read_csv(path, "scores")
    if not set(REFERENCE_COLUMNS) <= set(header):
        raise UserError(
            f"{path}: expected the columns {','.join(REFERENCE_COLUMNS)}, found {','.join(header)[:200]}. "
            "Write it as Map-Mix's test.py does."
        )
    check_rows(path, header, rows, "scores")
    places = [header.index(name) for name in REFERENCE_COLUMNS]
    ids, seconds, truth, predictions, texts = ([row[place] for row in rows] for place in places)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is no number: it is an error of ours
        lists = [_probabilities(path, number, text) for number, text in enumerate(texts, start=2)]
    if len(lengths := {len(one) for one in lists}) > 1:
        raise UserError(f"{path}: expected as many probabilities in each row, found {sorted(lengths)}. Write it anew.")
    probabilities = np.array(lists)
    names = _names(path, probabilities, truth, predictions, classes)
    return ReferenceScores(
        classes=names,
        ids=np.array(unique_ids(path, ids)),
        truth=np.array(truth),
        predictions=np.array(predictions),
        seconds=parse_seconds(path, seconds),
        probabilities=probabilities,
    )


def _names(
    path: Path | str, probabilities: np.ndarray, truth: list[str], predictions: list[str], classes: Sequence[str] | None
) -> tuple[str, ...]:
    count = probabilities.shape[1]
    if classes is not None and (len(classes) != count or not {*truth, *predictions} <= set(classes)):
        unknown = sorted({*truth, *predictions} - set(classes))
        found = f"{unknown[0]}" if unknown else f"{count} probabilities a row"
        raise UserError(f"{path}: expected the {len(classes)} classes of the labels, found {found}. Check the labels.")
    told = dict(enumerate(classes)) if classes is not None else {}
    for number, (place, name) in enumerate(
        zip(probabilities.argmax(axis=1).tolist(), predictions, strict=True), start=2
    ):
        if told.setdefault(place, name) != name:
            raise UserError(
                f"{path}: expected the prediction {told[place]} in row {number}, whose probability {place + 1} is the "
                f"greatest, found {name}. Check the order of the labels."
            )
    left = sorted({*truth, *predictions} - set(told.values()))
    if len(told) == count - 1 and len(left) == 1:
        told[next(iter(set(range(count)) - set(told)))] = left[0]
    if len(told) < count or len(set(told.values())) < count:
        raise UserError(
            f"{path}: expected a prediction of each of the {count} classes, by which their order can be told, found "
            f"{len(set(told.values()))}. Give the labels."
        )
    return tuple(told[place] for place in range(count))


def _probabilities(path: Path | str, number: int, text: str) -> list[float]:
    try:
        values = ast.literal_eval(text.strip())
        row = [float(value) for value in values]
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        row = []
    if not row or not np.isfinite(row).all() or min(row) < 0:
        raise UserError(
            f"{path}: expected a list of probabilities in row {number}, found {text[:60]!r}. Write it anew."
        )
    return row
