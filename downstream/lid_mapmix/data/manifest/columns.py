"""Text columns of millions of rows.

Text is NumPy's StringDType: it takes the bytes of its UTF-8 and 16 more, however long the longest is, and the processes
that read audio share it with this one, since no object of Python's is in it that would count its users.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.dtypes import StringDType

from ...utils.errors import UserError

TEXT = StringDType()
# What is in work at once stays in the caches of the processor.
ROWS_AT_ONCE = 20_000
# Names above that length are too few to hurry for.
_MOST_BYTES = 64


@dataclass(frozen=True, eq=False)
class Names:
    """A text column as numbers.

    Attributes
    ----------
    names : (names,) `TEXT`, each once.
    codes : (rows,) integers, which of them each row has.
    """

    names: np.ndarray
    codes: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> "Names":
        """Number the (rows,) values of a text column."""
        # Far fewer comparisons than sorting the texts, in a corpus that has millions of them.
        number_of: dict[str, int] = {}
        codes = np.fromiter(
            (number_of.setdefault(value, len(number_of)) for value in values.tolist()), np.int64, len(values)
        )
        return cls(np.array(list(number_of), dtype=TEXT), codes)

    def decode(self, into: np.ndarray) -> None:
        """Write the texts of the rows into a (rows,) `TEXT` array."""
        texts = self.names.tolist()
        fits = all(text.isascii() and len(text) <= _MOST_BYTES and "\0" not in text for text in texts)
        # From bytes of one length a text is made three times as quickly as from another text.
        names = np.array(texts, dtype="S" if fits else TEXT)
        for at in range(0, len(into), ROWS_AT_ONCE):
            into[at : at + ROWS_AT_ONCE] = names[self.codes[at : at + ROWS_AT_ONCE]]


@dataclass(frozen=True, eq=False)
class ManifestTable:
    """A manifest as it was read; values are not checked beyond being numbers.

    Attributes
    ----------
    columns : column name → (utterances,) float64 or `TEXT`, in the order of the file.
    hashes : (utterances,) integers, equal where ids are equal and hardly ever elsewhere.
    classes : the class column as numbers; None where there is none.
    digest : SHA-256 of the file.
    """

    columns: dict[str, np.ndarray]
    hashes: np.ndarray
    classes: Names | None
    digest: str


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
