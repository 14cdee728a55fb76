"""Text files with rows: common functions for scores, predictions and keys."""

import csv
import functools
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...utils.errors import UserError
from ...utils.files import write_text

# The first column of NIST's score tables and keys.
NIST_ID = "segmentid"
_REMEDY = "Write the file again."
# Values of an unknown duration, as for NIST's whole files.
_UNKNOWN = ("", "nan", "n/a", "na")
# A longer first line is cut.
_LINE_BYTES = 1_000_000


@dataclass(frozen=True)
class Opening:
    """The start of a file, to recognise its format: its name and its first line, empty if that is not UTF-8."""

    path: Path
    line: str

    @property
    def columns(self) -> list[str]:
        """The cells of the line, read as the header of a CSV."""
        # A carriage return inside the line ends the header.
        return next(csv.reader(io.StringIO(self.line, newline="")), [])


def read_opening(path: Path) -> Opening:
    """Read the start of a file. Raises UserError: no such file, a folder."""
    if path.is_dir():
        raise UserError(f"{path}: expected a file of scores, found a folder. Use a file in it.")
    if path.is_file():
        with path.open("rb") as file:
            line = file.readline(_LINE_BYTES)
    else:
        line = _content_of(path, "a file of scores").partition(b"\n")[0]
    try:
        return Opening(path, line.decode("utf-8-sig").rstrip("\r\n"))
    except UnicodeDecodeError:
        return Opening(path, "")


def read_lines(path: Path | str, what: str) -> list[str]:
    """Return the non-empty lines of a text file in UTF-8; a byte order mark and Windows line ends are accepted.

    Raises UserError: no such file, not UTF-8, or empty. `what`: the expected content, for errors.
    """
    return [line.rstrip("\r") for line in _read_text(path, what).split("\n") if line.strip()]


def read_csv(path: Path | str, what: str) -> list[list[str]]:
    """Return the non-empty rows of a CSV, the header first; raises the errors of `read_lines`."""
    text = io.StringIO(_read_text(path, what), newline="")  # a field in quotes may hold a line break
    try:
        return [row for row in csv.reader(text) if row]
    except csv.Error as error:
        raise UserError(f"{path}: expected {what}, found no CSV: {error}. {_REMEDY}") from None


def write_lines(path: Path | str, lines: Iterable[str]) -> None:
    """Write lines, each with a line end, complete or not at all."""
    write_text(path, "".join(f"{line}\n" for line in lines))


def check_rows(
    path: Path | str, header: Sequence[str], rows: Sequence[Sequence[str]], what: str, remedy: str = _REMEDY
) -> None:
    """Raise a UserError if there are no rows, or one has not as many fields as the header."""
    if not rows:
        raise UserError(f"{path}: expected {what}, found a header and no utterance. {remedy}")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise UserError(f"{path}: expected {len(header)} fields in row {number}, found {len(row)}. {remedy}")


def unique_ids(path: Path | str, ids: list[str]) -> list[str]:
    """Return ids after checking that each occurs once."""
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise UserError(f"{path}: expected each utterance once, found {name} twice. Remove one.")
        seen.add(name)
    return ids


def check_names(names: Iterable[str], *, forbidden: str = "\t\n\r", one_word: bool = False) -> None:
    """Check ids or class names. Raises UserError: one that a format cannot hold.

    White space around a name, and a byte order mark before it, are refused, because some reader would drop them.
    `forbidden`: characters with another meaning in the format. `one_word`: whether all white space is refused.
    """
    for name in names:
        fits = name.split() == [name] if one_word else name.strip() == name and name != ""
        if not fits or name.startswith("\ufeff") or any(sign in name for sign in forbidden):
            raise UserError(
                f"expected a name that this format can hold, found {name!r}. Use another format, or rename it."
            )


def parse_number(path: Path | str, row: int, text: str) -> float:
    """Return the number in a field of row `row`; NaN is refused."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if np.isnan(value):
        raise UserError(f"{path}: expected a number in row {row}, found {text[:60]!r}. {_REMEDY}")
    return value


def parse_seconds(path: Path | str, texts: Sequence[str]) -> np.ndarray:
    """Return the durations of all rows after the header, (N,) float64; NaN for an empty or unknown value."""
    rows = enumerate(texts, start=2)
    return np.array(
        [np.nan if text.strip().lower() in _UNKNOWN else parse_number(path, row, text) for row, text in rows]
    )


def _content_of(path: Path, what: str) -> bytes:
    """Return the content of a file, or of a pipe such as the shell's ``<(command)``, which is read only once.

    Raises UserError: no such file.
    """
    if path.is_fifo():
        return _content_of_pipe(path)
    if not path.is_file():
        raise UserError(f"{path}: expected {what}, found no such file. Check the path.")
    return path.read_bytes()


@functools.cache
def _content_of_pipe(path: Path) -> bytes:
    """Read a pipe and keep its content: a pipe can be read only once, but recognising the format reads it first."""
    return path.read_bytes()


def _read_text(path: Path | str, what: str) -> str:
    path = Path(path)
    try:
        # As bytes, because reading as text would change line ends inside it.
        text = _content_of(path, what).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: expected {what}, found content that is not UTF-8: {error.reason}. Check the path."
        ) from None
    if not text.strip():
        raise UserError(f"{path}: expected {what}, found an empty file. {_REMEDY}")
    return text
