"""Manifests as Parquet, read in parts."""

import hashlib
from collections.abc import Collection, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.errors import UserError, is_of_the_system
from ...utils.files import encodable_name
from .columns import ROWS_AT_ONCE, check_header, empty_columns


def read_parquet(path: Path, required: Collection[str], numbers: Collection[str]) -> tuple[dict[str, np.ndarray], str]:
    """Read a Parquet file: name → (utterances,) float64 or `TEXT`, in the order of the file, and its SHA-256."""
    require_pyarrow(path)
    import pyarrow  # noqa: PLC0415
    from pyarrow import compute, parquet  # noqa: PLC0415

    try:
        # Opened once; columns are read from the mapped memory.
        with encodable_name(path) as name:
            content = pyarrow.memory_map(name).read_buffer()
        with parquet.ParquetFile(pyarrow.BufferReader(content)) as file:
            names = file.schema_arrow.names
            check_header(path, names, required)
            columns = empty_columns(names, file.metadata.num_rows, numbers)
            at = 0
            for batch in file.iter_batches(ROWS_AT_ONCE):
                part = slice(at, at + len(batch))
                for name, column in zip(names, batch.columns, strict=True):
                    if name in numbers:
                        columns[name][part] = _numbers(path, name, column)
                    else:
                        texts = compute.fill_null(column.cast(pyarrow.large_string()), "")
                        columns[name][part] = texts.to_pylist()
                at += len(batch)
    except (pyarrow.ArrowException, OSError) as error:
        if is_of_the_system(error):
            raise
        raise UserError(
            f"{path}: expected a Parquet file, found other content ({' '.join(str(error).split())}). Write it again."
        ) from None
    return columns, hashlib.sha256(content).hexdigest()


def require_pyarrow(path: Path, what: str = "a Parquet manifest") -> None:
    """Raise UserError if pyarrow is not installed. `what`: that needs it."""
    if find_spec("pyarrow") is None:
        raise UserError(
            f"{path}: {what} needs pyarrow, which is not installed. Run 'pip install \"lid-mapmix[parquet]\"'."
        )


def _numbers(path: Path, name: str, column: Any) -> np.ndarray:
    import pyarrow  # noqa: PLC0415

    try:
        return np.asarray(column.cast(pyarrow.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    except pyarrow.ArrowInvalid as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path}: expected numbers of seconds in column {name}, found other values: {reason}. Correct it."
        ) from None


def write_parquet(path: Path, columns: Mapping[str, Any]) -> None:
    """Write columns as Parquet. Raises UserError: pyarrow is not installed."""
    require_pyarrow(path)
    import pyarrow  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    arrays = {name: np.asarray(values) for name, values in columns.items()}
    plain = {name: values if values.dtype.kind in "fiu" else values.tolist() for name, values in arrays.items()}
    with path.open("wb") as file:
        parquet.write_table(pyarrow.table({name: pyarrow.array(values) for name, values in plain.items()}), file)
