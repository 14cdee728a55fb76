"""Files of manifests: which one a split has, and reading it, CSV or Parquet."""

from collections.abc import Collection
from pathlib import Path

from ..errors import UserError
from .manifest_csv import read_csv
from .manifest_parquet import read_parquet
from .manifest_table import ManifestTable

PARQUET = ".parquet"


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


def read_table(path: Path, required: Collection[str], numbers: Collection[str]) -> ManifestTable:
    """Read a manifest; values are not checked beyond being numbers.

    Parameters
    ----------
    path : a .parquet, or else a CSV with a header.
    required : names of columns that must be there.
    numbers : names of columns that hold numbers; empty ones are NaN.

    Returns
    -------
    Its columns; no utterance at all is possible.

    Raises
    ------
    UserError : the file cannot be read, lacks a column, has one twice, a ragged row, or what is no number.
    """
    return (read_parquet if path.suffix == PARQUET else read_csv)(path, required, numbers)
