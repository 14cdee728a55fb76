"""Tables of scores without the truth: NIST's, and the lines of Kaldi and OLR.

======================= ===================================================================== =========================
format                  a line                                                                values
======================= ===================================================================== =========================
NIST LRE, .tsv          ``segmentid`` and a column a language, tabs between; a header         log-likelihood ratios
Kaldi, OLR              ``utterance language score``, a line a pair, in any order             whatever the system gives
======================= ===================================================================== =========================

Ids and names of classes may hold no white space (in NIST's, no tab).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...utils.errors import UserError
from ...utils.files import replace_when_complete
from .rows import check_names, check_rows, parse_number, read_lines, unique_ids

NIST_ID = "segmentid"
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


def write_nist(path: Path | str, table: ScoreTable) -> None:
    """Write log-likelihood ratios as NIST LRE takes them, 9 significant digits."""
    _check_table(table, one_word=False)
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
    check_rows(path, header, rows, "scores")
    values = [[parse_number(path, number, cell) for cell in row[1:]] for number, row in enumerate(rows, start=2)]
    ids = unique_ids(path, [row[0] for row in rows])
    return ScoreTable(tuple(header[1:]), np.array(ids), np.array(values))


def write_pairs(path: Path | str, table: ScoreTable) -> None:
    """Write ``utterance language score`` lines, 9 significant digits."""
    _check_table(table, one_word=True)
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
        pairs[pair] = parse_number(path, number, words[2])
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


def _check_table(table: ScoreTable, *, one_word: bool) -> None:
    if table.values.shape != (len(table.ids), len(table.classes)) or np.isnan(table.values).any():
        raise ValueError(f"expected scores {(len(table.ids), len(table.classes))}, found {table.values.shape}, or NaN")
    check_names((*table.ids.tolist(), *table.classes), one_word=one_word)


def _write_lines(path: Path | str, lines: list[str]) -> None:
    with replace_when_complete(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
