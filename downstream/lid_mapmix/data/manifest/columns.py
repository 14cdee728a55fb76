"""Text columns of millions of rows.

Text is NumPy's StringDType: each takes its UTF-8 bytes and 16 more, whatever the maximum length, and processes that
read audio share the memory, because there are no Python objects with reference counts in it.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.dtypes import StringDType

from ...utils.errors import UserError

TEXT = StringDType()
# This many rows at once stay in the processor's caches.
ROWS_AT_ONCE = 20_000


@dataclass(frozen=True, eq=False)
class Names:
    """A text column as numbers."""

    names: np.ndarray  # (names,) `TEXT`, without duplicates
    codes: np.ndarray  # (rows,) integers, index into the names for each row

    @classmethod
    def of(cls, values: np.ndarray) -> "Names":
        """Number the (rows,) values of a text column."""
        # Far fewer comparisons than sorting millions of texts.
        number_of: defaultdict[str, int] = defaultdict()
        number_of.default_factory = number_of.__len__
        codes = np.fromiter(map(number_of.__getitem__, iterate(values)), np.int64, len(values))
        return cls(np.array(list(number_of), dtype=TEXT), codes)


def iterate(values: np.ndarray) -> Iterator[str]:
    """Yield the texts of a column; few are Python objects at a time."""
    for at in range(0, len(values), ROWS_AT_ONCE):
        yield from values[at : at + ROWS_AT_ONCE].tolist()


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
