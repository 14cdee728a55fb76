"""Files of manifests, read into columns: CSV some rows at a time, Parquet column by column.

Text becomes NumPy's StringDType: it takes the bytes of its UTF-8 and 16 more, however long the longest is, and the
processes that read audio share it with this one, since no object of Python's is in it that would count its users.
"""

import csv
from collections.abc import Collection, Iterator, Mapping
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.dtypes import StringDType

from ..errors import UserError

TEXT = StringDType()
# As lists of Python's strings a few hundred bytes a row are needed; only so many rows are held that way.
_ROWS_AT_ONCE = 50_000
PARQUET = ".parquet"
# Other columns of text repeat themselves; Arrow then reads each of their values once.
_OF_ITS_OWN = ("audiopath", "id")


def find_manifest(directory: Path, split: str) -> Path:
    """Return the manifest of a split: SPLIT.parquet where there is one, or else SPLIT.csv, which may be absent.

    Raises
    ------
    UserError : there are both.
    """
    table, text = directory / f"{split}{PARQUET}", directory / f"{split}.csv"
    if not table.is_file():
        return text
    if text.is_file():
        raise UserError(
            f"{directory}: expected one manifest of {split}, found {table.name} and {text.name}. Remove one."
        )
    return table


def read_columns(path: Path, required: Collection[str], numbers: Collection[str]) -> dict[str, np.ndarray]:
    """Read the columns of a manifest; values are not checked beyond being numbers.

    Parameters
    ----------
    path : a .parquet, or else a CSV with a header.
    required : names of columns that must be there.
    numbers : names of columns that hold numbers; empty ones are NaN.

    Returns
    -------
    Column name → (utterances,) float64 or `TEXT`; no utterance at all is possible.

    Raises
    ------
    UserError : the file cannot be read, lacks a column, has one twice, a ragged row, or what is no number.
    """
    read = _read_parquet if path.suffix == PARQUET else _read_csv
    return read(path, required, numbers)


def _read_csv(path: Path, required: Collection[str], numbers: Collection[str]) -> dict[str, np.ndarray]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            header = next(rows, [])
            _check_header(path, header, required)
            parts: list[list[np.ndarray]] = [[] for _ in header]
            first = 2
            for some in _batches(rows):
                for column, name, values in zip(parts, header, _columns(path, header, some, first), strict=True):
                    column.append(_numbers(path, name, values) if name in numbers else np.array(values, dtype=TEXT))
                first += len(some)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: is no CSV in UTF-8 ({error}). Save it as one.") from None
    columns = {}
    for name, column in zip(header, parts, strict=True):
        columns[name] = np.concatenate(column) if column else np.array([], dtype=TEXT)
        column.clear()  # so that a column is there twice only while it is joined
    return columns


def _batches(rows: Iterator[list[str]]) -> Iterator[list[list[str]]]:
    """Yield lists of rows, without empty ones."""
    filled = (row for row in rows if row)
    while some := list(islice(filled, _ROWS_AT_ONCE)):
        yield some


def _columns(path: Path, header: list[str], rows: list[list[str]], first: int) -> Iterator[tuple[str, ...]]:
    """Return the columns of some rows, of which the first is row number `first` of the file."""
    try:
        columns = list(zip(*rows, strict=True))
        if len(columns) == len(header):
            return iter(columns)
    except ValueError:
        pass  # ragged; the next lines say where
    number, row = next((number, row) for number, row in enumerate(rows, start=first) if len(row) != len(header))
    raise UserError(
        f"{path}: row {number} has {len(row)} fields where the header has {len(header)}. "
        "Quote fields that hold a comma."
    )


def _read_parquet(path: Path, required: Collection[str], numbers: Collection[str]) -> dict[str, np.ndarray]:
    _require_pyarrow(path)
    from pyarrow import ArrowException, parquet  # noqa: PLC0415

    try:
        names = parquet.read_schema(path).names
        _check_header(path, names, required)
        repeating = [name for name in names if name not in {*_OF_ITS_OWN, *numbers}]
        with parquet.ParquetFile(path, read_dictionary=repeating) as file:
            # Column by column, so that what Arrow holds of one is gone before the next comes.
            return {
                name: _from_arrow(path, name, file.read(columns=[name]).column(0), is_number=name in numbers)
                for name in names
            }
    except (ArrowException, OSError) as error:
        raise UserError(f"{path}: is no Parquet file ({' '.join(str(error).split())}). Write it anew.") from None


def _require_pyarrow(path: Path) -> None:
    if find_spec("pyarrow") is None:
        raise UserError(
            f"{path}: a Parquet manifest needs pyarrow, found none. Install it: pip install 'lid-mapmix[parquet]'."
        )


def _from_arrow(path: Path, name: str, column: Any, *, is_number: bool) -> np.ndarray:
    import pyarrow  # noqa: PLC0415
    from pyarrow import compute  # noqa: PLC0415

    if is_number:
        try:
            return np.asarray(column.cast(pyarrow.float64()).to_numpy(), dtype=np.float64)
        except pyarrow.ArrowInvalid as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"{path}: column {name} holds what is no number of seconds: {reason}. Correct it."
            ) from None
    parts = []
    for chunk in column.chunks:
        encoded = chunk if pyarrow.types.is_dictionary(chunk.type) else None
        text = encoded.dictionary if encoded is not None else chunk
        text = text.cast(pyarrow.large_string())
        values = compute.fill_null(text, "").to_numpy(zero_copy_only=False).astype(TEXT)
        if encoded is not None:
            # One place more than there are names, for what is null.
            places = compute.fill_null(encoded.indices, len(values)).to_numpy(zero_copy_only=False)
            values = np.append(values, np.array([""], dtype=TEXT))[places]
        parts.append(values)
    return np.concatenate(parts) if parts else np.array([], dtype=TEXT)


def _check_header(path: Path, header: list[str], required: Collection[str]) -> None:
    missing = [name for name in required if name not in header]
    if missing:
        raise UserError(
            f"{path}: the header lacks {', '.join(missing)}; found {', '.join(header) or 'an empty file'}. "
            f"A manifest needs the columns {','.join(required)}."
        )
    repeated = [name for name in dict.fromkeys(header) if header.count(name) > 1]
    if repeated:
        raise UserError(f"{path}: the header has {', '.join(repeated)} more than once. Name each column once.")


def _numbers(path: Path, name: str, values: tuple[str, ...]) -> np.ndarray:
    try:
        # Empty is allowed in optional columns: "to the end of the file".
        return np.array([float(value) if value else np.nan for value in values], dtype=np.float64)
    except ValueError as error:
        raise UserError(f"{path}: column {name} holds what is no number of seconds: {error}. Correct it.") from None


def write_parquet(path: Path, columns: Mapping[str, Any]) -> None:
    """Write columns as Parquet.

    Raises
    ------
    UserError : pyarrow is not installed.
    """
    _require_pyarrow(path)
    import pyarrow  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    arrays = {name: np.asarray(values) for name, values in columns.items()}
    table = pyarrow.table({name: _to_arrow(values) for name, values in arrays.items()})
    parquet.write_table(table, path)


def _to_arrow(values: np.ndarray) -> Any:
    import pyarrow  # noqa: PLC0415

    return pyarrow.array(values if values.dtype.kind in "fiu" else values.tolist())
