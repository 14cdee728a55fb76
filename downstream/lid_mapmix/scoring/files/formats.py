"""Which of the known formats a file is in, from its name and its first line."""

import csv
import io
from enum import StrEnum
from pathlib import Path

from ...utils.errors import UserError
from .mapmix_csv import REFERENCE_COLUMNS
from .nist_kaldi import NIST_ID
from .own import FIXED_COLUMNS
from .rows import content_of

_LINE = 1_000_000
_PAIR, _TRIPLE = 2, 3


class Format(StrEnum):
    """The formats of scores and of answers; the value is how it is called in messages."""

    SCORES = "SPLIT_scores.csv"
    REFERENCE = "CSV of Map-Mix's code"
    NIST = "NIST score table"
    PAIRS = "utterance language score"
    TRN = "lid.trn"
    S3PRL = "S3PRL's predict and truth files"


def recognise(path: Path | str) -> Format:
    """Return the format of a file.

    ``utterance language score`` with tabs and a lid.trn whose utterances have numbers for names look the same; what is
    named .trn is the latter, everything else the former.

    Raises
    ------
    UserError : no such file, a folder, an empty file, none of the formats.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path}: expected a file of scores, found a folder. Name a file in it.")
    try:
        line = _first_line(path).decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError:
        line = ""
    columns = next(csv.reader(io.StringIO(line, newline="")), [])  # a carriage return inside it ends the header
    words, fields = line.split(), line.split("\t")
    if tuple(columns[: len(FIXED_COLUMNS)]) == FIXED_COLUMNS:
        return Format.SCORES
    if set(REFERENCE_COLUMNS) <= set(columns):
        return Format.REFERENCE
    if fields[0] == NIST_ID:
        return Format.NIST
    if path.name.endswith(("_predict.txt", "_truth.txt")) and len(words) >= _PAIR:
        return Format.S3PRL
    if len(words) == _TRIPLE and _is_number(words[2]) and path.suffix != ".trn":
        return Format.PAIRS
    if len(fields) == _TRIPLE and all(fields):
        return Format.TRN
    raise UserError(
        f"{path}: expected a file in one of the formats {', '.join(Format)}, found "
        f"{f'the line {line[:60]!r}' if line else 'no text in its first line'}. Convert it first."
    )


def _first_line(path: Path) -> bytes:
    if path.is_file():
        with path.open("rb") as file:
            return file.readline(_LINE)
    return content_of(path, "a file of scores").partition(b"\n")[0]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
