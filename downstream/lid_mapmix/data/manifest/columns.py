"""Text columns of millions of rows.

Text is NumPy's StringDType: each takes its UTF-8 bytes and 16 more, whatever the maximum length, and processes that
read audio share the memory, because there are no Python objects with reference counts in it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.dtypes import StringDType

from ...utils.errors import UserError

TEXT = StringDType()
# This many rows at once stay in the processor's caches.
ROWS_AT_ONCE = 20_000
# Longer names are too rare to be worth a fast path.
_MAX_BYTES = 64


@dataclass(frozen=True, eq=False)
class Names:
    """A text column as numbers."""

    names: np.ndarray  # (names,) `TEXT`, without duplicates
    codes: np.ndarray  # (rows,) integers, index into the names for each row

    @classmethod
    def of(cls, values: np.ndarray) -> "Names":
        """Number the (rows,) values of a text column."""
        # Far fewer comparisons than sorting millions of texts.
        number_of: dict[str, int] = {}
        codes = np.fromiter(
            (number_of.setdefault(value, len(number_of)) for value in values.tolist()), np.int64, len(values)
        )
        return cls(np.array(list(number_of), dtype=TEXT), codes)

    def decode(self, into: np.ndarray) -> None:
        """Write the texts of the rows into a (rows,) `TEXT` array."""
        texts = self.names.tolist()
        fits = all(text.isascii() and len(text) <= _MAX_BYTES and "\0" not in text for text in texts)
        # Converting bytes of one length to text is three times as fast as copying text.
        names = np.array(texts, dtype="S" if fits else TEXT)
        for at in range(0, len(into), ROWS_AT_ONCE):
            into[at : at + ROWS_AT_ONCE] = names[self.codes[at : at + ROWS_AT_ONCE]]


@dataclass(frozen=True, eq=False)
class ManifestTable:
    """A manifest as it was read; values are not checked, except that numbers are numbers."""

    columns: dict[str, np.ndarray]  # column name → (utterances,) float64 or `TEXT`, in the order of the file
    hashes: np.ndarray  # (utterances,) integers, equal for equal ids and almost never otherwise
    classes: Names | None  # the class column as numbers; None if there is none
    digest: str  # SHA-256 of the file


def id_column(names: Collection[str]) -> str:
    """Return the name of the column that identifies utterances."""
    return "id" if "id" in names else "audiopath"


def empty_columns(names: Sequence[str], rows: int, numbers: Collection[str]) -> dict[str, np.ndarray]:
    """Return columns to fill. Rows that are never filled take no memory."""
    return {name: np.empty(rows, dtype=np.float64 if name in numbers else TEXT) for name in names}


def check_header(path: Path, header: Sequence[str], required: Collection[str]) -> None:
    """Check that a manifest has each required column, and each column once."""
    missing = [name for name in required if name not in header]
    if missing:
        raise UserError(
            f"{path}: expected the columns {','.join(required)} in the header, found no {', '.join(missing)} "
            f"({', '.join(header) or 'an empty file'}). Add them."
        )
    repeated = [name for name in dict.fromkeys(header) if header.count(name) > 1]
    if repeated:
        raise UserError(f"{path}: the header has {', '.join(repeated)} more than once. Use each column name once.")
