"""Scores in the formats of others: NIST's table, Kaldi's and OLR's lines, and the CSV of Map-Mix's published code.

======================= ===================================================================== =========================
format                  a line                                                                values
======================= ===================================================================== =========================
NIST LRE, .tsv          ``segmentid`` and a column a language, tabs between; a header         log-likelihood ratios
Kaldi, OLR              ``utterance language score``, a line a pair, in any order             whatever the system gives
Map-Mix's code, .csv    audiopath, duration, class, prediction, probability (a list, as       probabilities
                        Python prints it; its order of classes is not in the file)
======================= ===================================================================== =========================

Ids and names of classes may hold no white space in the first two (in NIST's, no tab).
"""

import ast
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..files import replace_when_complete

NIST_ID = "segmentid"
REFERENCE_COLUMNS = ("audiopath", "duration", "class", "prediction", "probability")
_TRIPLE = 3


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Scores of N utterances for C classes, without the truth.

    Attributes
    ----------
    classes : names of the C classes. ids : (N,) str. values : (N, C) float64; what they are, the format says.
    """

    classes: tuple[str, ...]
    ids: np.ndarray
    values: np.ndarray


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


def write_nist(path: Path | str, table: ScoreTable) -> None:
    """Write log-likelihood ratios as NIST LRE takes them, 9 significant digits."""
    _check_table(table, forbidden="\t\n\r")
    lines = ["\t".join([NIST_ID, *table.classes])]
    for name, row in zip(table.ids.tolist(), table.values.tolist(), strict=True):
        lines.append("\t".join([name, *(f"{value:.9g}" for value in row)]))
    _write_lines(path, lines)


def read_nist(path: Path | str) -> ScoreTable:
    """Read NIST's table.

    Raises
    ------
    UserError : no such file, another header, a row of another length, a value that is no number, an id twice.
    """
    lines = read_lines(path, "a NIST score table")
    header, *rows = [line.split("\t") for line in lines]
    if header[0] != NIST_ID or len(header) == 1 or len(set(header)) < len(header):
        raise UserError(
            f"{path}: expected a header of {NIST_ID} and a column a language, tabs between, found {lines[0][:100]!r}. "
            "Write it as a NIST score table."
        )
    if not rows:
        raise UserError(f"{path}: expected scores, found a header and no utterance. Write it anew.")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise UserError(
                f"{path}: expected {len(header)} columns in line {number}, found {len(row)}. Write it anew."
            )
    values = [[_number(path, number, cell) for cell in row[1:]] for number, row in enumerate(rows, start=2)]
    ids = unique_ids(path, [row[0] for row in rows])
    return ScoreTable(tuple(header[1:]), np.array(ids), np.array(values))


def write_pairs(path: Path | str, table: ScoreTable) -> None:
    """Write ``utterance language score`` lines, 9 significant digits."""
    _check_table(table, forbidden=None)
    lines = [
        f"{name} {language} {value:.9g}"
        for name, row in zip(table.ids.tolist(), table.values.tolist(), strict=True)
        for language, value in zip(table.classes, row, strict=True)
    ]
    _write_lines(path, lines)


def read_pairs(path: Path | str) -> ScoreTable:
    """Read ``utterance language score`` lines; utterances and classes stand in the order in which they first occur.

    Raises
    ------
    UserError : no such file, a line of other than three words, a score that is no number, a pair twice or missing.
    """
    ids: dict[str, int] = {}
    classes: dict[str, int] = {}
    pairs: dict[tuple[int, int], float] = {}
    for number, line in enumerate(read_lines(path, "scores"), start=1):
        words = line.split()
        if len(words) != _TRIPLE:
            raise UserError(
                f"{path}: expected 'utterance language score' in line {number}, found {line[:100]!r}. Write it anew."
            )
        pair = ids.setdefault(words[0], len(ids)), classes.setdefault(words[1], len(classes))
        if pair in pairs:
            raise UserError(f"{path}: expected one score of {words[0]} for {words[1]}, found two. Remove one.")
        pairs[pair] = _number(path, number, words[2])
    values = np.full((len(ids), len(classes)), np.nan)
    for (row, column), value in pairs.items():
        values[row, column] = value
    if len(pairs) < values.size:
        row, column = np.argwhere(np.isnan(values))[0]
        raise UserError(
            f"{path}: expected a score of every utterance for every language, found none of {list(ids)[row]} for "
            f"{list(classes)[column]}. Write it anew."
        )
    return ScoreTable(tuple(classes), np.array(list(ids)), values)


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
    lines = read_lines(path, "scores")
    header, *rows = [row for row in csv.reader(lines) if row]
    if not set(REFERENCE_COLUMNS) <= set(header):
        raise UserError(
            f"{path}: expected the columns {','.join(REFERENCE_COLUMNS)}, found {','.join(header)[:200]}. "
            "Write it as Map-Mix's test.py does."
        )
    if not rows:
        raise UserError(f"{path}: expected scores, found a header and no utterance. Write it anew.")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise UserError(f"{path}: expected {len(header)} fields in row {number}, found {len(row)}. Write it anew.")
    places = [header.index(name) for name in REFERENCE_COLUMNS]
    ids, seconds, truth, predictions, texts = ([row[place] for row in rows] for place in places)
    lists = [_probabilities(path, number, text) for number, text in enumerate(texts, start=2)]
    if len(lengths := {len(one) for one in lists}) > 1:
        raise UserError(f"{path}: expected as many probabilities in each row, found {sorted(lengths)}. Write it anew.")
    probabilities = np.array(lists)
    durations = [_number(path, number, value or "nan", nan=True) for number, value in enumerate(seconds, start=2)]
    names = _names(path, probabilities, truth, predictions, classes)
    return ReferenceScores(
        classes=names,
        ids=np.array(unique_ids(path, ids)),
        truth=np.array(truth),
        predictions=np.array(predictions),
        seconds=np.array(durations),
        probabilities=probabilities,
    )


def read_lines(path: Path | str, what: str) -> list[str]:
    """Return the lines of a text file that are not empty; a UserError where there is no such file, or no text in it."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: expected {what}, found no such file. Check the path.")
    try:
        lines = [line for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: expected {what}, found what is no UTF-8 text: {error.reason}. Check the path."
        ) from None
    if not lines:
        raise UserError(f"{path}: expected {what}, found an empty file. Write it anew.")
    return [line.rstrip("\r") for line in lines]


def unique_ids(path: Path | str, ids: list[str]) -> list[str]:
    """Return ids, each of which must occur once."""
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise UserError(f"{path}: expected each utterance once, found {name} twice. Remove one.")
        seen.add(name)
    return ids


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


def _number(path: Path | str, number: int, text: str, *, nan: bool = False) -> float:
    try:
        value = float(text)
    except ValueError:
        value, nan = float("nan"), False
    if np.isnan(value) and not nan:
        raise UserError(f"{path}: expected a number in line {number}, found {text[:60]!r}. Write it anew.")
    return value


def _check_table(table: ScoreTable, forbidden: str | None) -> None:
    if table.values.shape != (len(table.ids), len(table.classes)) or np.isnan(table.values).any():
        raise ValueError(f"expected scores {(len(table.ids), len(table.classes))}, found {table.values.shape}, or NaN")
    for name in (*table.ids.tolist(), *table.classes):
        if not name or (any(sign in name for sign in forbidden) if forbidden else len(name.split()) != 1):
            raise UserError(f"expected a name that this format can hold, found {name!r}. Write another format.")


def _write_lines(path: Path | str, lines: list[str]) -> None:
    with replace_when_complete(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
