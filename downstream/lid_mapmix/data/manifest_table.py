"""What is read of a manifest, whatever its format: columns, and what is found out about them on the way."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError
from .text_columns import TEXT, Names


@dataclass(frozen=True, eq=False)
class ManifestTable:
    """A manifest as it was read; values are not checked beyond being numbers.

    Attributes
    ----------
    columns : column name → (utterances,) float64 or `TEXT`, in the order of the file.
    fingerprints : (utterances,) integers, equal where ids are equal and hardly ever elsewhere.
    classes : the class column as numbers; None where there is none.
    """

    columns: dict[str, np.ndarray]
    fingerprints: np.ndarray
    classes: Names | None


def id_column(names: Collection[str]) -> str:
    """Return the name of the column that tells utterances apart."""
    return "id" if "id" in names else "audiopath"


def empty_columns(names: Sequence[str], rows: int, numbers: Collection[str]) -> dict[str, np.ndarray]:
    """Return columns to fill. Of rows that are never filled the system keeps no memory."""
    return {name: np.empty(rows, dtype=np.float64 if name in numbers else TEXT) for name in names}


def check_header(path: Path, header: Sequence[str], required: Collection[str]) -> None:
    """Refuse a manifest that lacks a column or has one twice."""
    missing = [name for name in required if name not in header]
    if missing:
        raise UserError(
            f"{path}: the header lacks {', '.join(missing)}; found {', '.join(header) or 'an empty file'}. "
            f"A manifest needs the columns {','.join(required)}."
        )
    repeated = [name for name in dict.fromkeys(header) if header.count(name) > 1]
    if repeated:
        raise UserError(f"{path}: the header has {', '.join(repeated)} more than once. Name each column once.")
