"""Manifests as CSV, read in parts."""

import csv
import gc
import hashlib
import io
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ...utils.errors import UserError
from .columns import check_header, empty_columns

# As lists of Python strings, rows take a few hundred bytes each; this many stay in the processor's caches.
_ROWS_AT_ONCE = 5_000
_BYTES_AT_ONCE = 1 << 24


def read_csv(path: Path, required: Collection[str], numbers: Collection[str]) -> tuple[dict[str, np.ndarray], str]:
    """Read a CSV: name → (utterances,) float64 or `TEXT`, in the order of the file, and its SHA-256."""
    count = 0
    try:
        with path.open("rb") as content, _without_collection():
            max_rows, digest = _survey(content)
            content.seek(0)
            rows = csv.reader(io.TextIOWrapper(content, newline="", encoding="utf-8-sig"))
            header = next(rows, [])
            check_header(path, header, required)
            columns = empty_columns(header, max_rows, numbers)
            for some in _batches(rows):
                for name, values in zip(header, _columns(path, header, some, count + 2), strict=True):
                    read = _numbers(path, name, values) if name in numbers else values
                    columns[name][count : count + len(some)] = read
                count += len(some)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: expected CSV in UTF-8, found other content ({error}). Save it as CSV.") from None
    return {name: values[:count] for name, values in columns.items()}, digest


@contextmanager
def _without_collection() -> Iterator[None]:
    # Python searches for reference cycles after a number of new lists; rows are lists, and there are millions of them.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _survey(content: BinaryIO) -> tuple[int, str]:
    """Return an upper bound of the number of rows of a file, and its SHA-256."""
    lines, digest = 1, hashlib.sha256()
    while some := content.read(_BYTES_AT_ONCE):
        lines += some.count(b"\n") or some.count(b"\r")
        digest.update(some)
    return lines, digest.hexdigest()


def _batches(rows: Iterator[list[str]]) -> Iterator[list[list[str]]]:
    """Yield lists of rows without empty rows."""
    filled = filter(None, rows)
    while some := list(islice(filled, _ROWS_AT_ONCE)):
        yield some


def _columns(path: Path, header: list[str], rows: list[list[str]], first: int) -> Iterator[tuple[str, ...]]:
    """Return the columns of some rows; `first` is the row number of the first one in the file."""
    try:
        columns = list(zip(*rows, strict=True))
        if len(columns) == len(header):
            return iter(columns)
    except ValueError:
        pass  # rows of different lengths; the next lines find the first
    number, row = next((number, row) for number, row in enumerate(rows, start=first) if len(row) != len(header))
    raise UserError(
        f"{path}: expected {len(header)} fields in row {number}, as in the header, found {len(row)}. "
        "Quote fields that contain a comma."
    )


def _numbers(path: Path, name: str, values: tuple[str, ...]) -> list[float]:
    try:
        # An empty value is allowed in optional columns, for example for the end of the file.
        return [float(value) if value else np.nan for value in values]
    except ValueError as error:
        raise UserError(
            f"{path}: expected numbers of seconds in column {name}, found other text: {error}. Correct it."
        ) from None
