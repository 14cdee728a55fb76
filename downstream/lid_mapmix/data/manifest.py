"""Manifests: which utterances a split has, and which classes and clusters there are.

A manifest is a CSV with a header (README, "Your data"). In memory it is columns, one NumPy array each,
never a list of rows: it has to hold millions of utterances.

========== ======== =====================================================================
column     needed   meaning
========== ======== =====================================================================
audiopath  yes      file, absolute or relative to the folder of the CSV
class      yes      dialect or language
seconds    yes      nominal duration in seconds
id         no       unique name of the utterance; the audiopath where absent
start, end no       the part of the file that is the utterance, in seconds
speaker    no       who speaks
group      no       utterances cut from one recording share it
source     no       where the recording is from
split      no       kept as it is
========== ======== =====================================================================
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..files import replace_when_complete

REQUIRED_COLUMNS = ("audiopath", "class", "seconds")
OPTIONAL_COLUMNS = ("id", "start", "end", "speaker", "group", "source", "split")
_NUMBER_COLUMNS = ("seconds", "start", "end")


@dataclass(frozen=True, eq=False)
class Manifest:
    """The utterances of one split.

    Attributes
    ----------
    path : the CSV it was read from.
    columns : column name → (utterances,) array; float64 for seconds, start and end, str for the rest.
        Always has ``id`` besides the required columns.
    """

    path: Path
    columns: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.columns["audiopath"])

    def audio_path(self, index: int) -> Path:
        """Return where the audio of one utterance is."""
        return self.path.parent / str(self.columns["audiopath"][index])

    def text_column(self, name: str) -> np.ndarray:
        """Return a text column, (utterances,) str; empty strings where the manifest has no such column."""
        return self.columns.get(name, np.full(len(self), ""))


def read_manifest(path: Path | str, *, is_labelled: bool = True) -> Manifest:
    """Read a manifest.

    Parameters
    ----------
    path : the CSV.
    is_labelled : whether each utterance has a class and a duration; of one that is to be identified neither is known.

    Raises
    ------
    UserError : no such file, a missing column, no utterance, a value that is missing or no number, a part that ends
        before it starts, an id twice.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"{path}: no such manifest. Make one with 'lid-mapmix prepare', or name its folder by --data; "
            "training without dev.csv needs -o config.runner.eval_dataloaders=[]."
        )
    try:
        header, table = _read_table(path, REQUIRED_COLUMNS if is_labelled else REQUIRED_COLUMNS[:1])
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: is no CSV in UTF-8 ({error}). Save it as one.") from None
    if not table:
        raise UserError(f"{path}: has a header but no utterance. Add utterances, or leave the split out.")
    ragged = next((number for number, row in enumerate(table, start=2) if len(row) != len(header)), None)
    if ragged is not None:
        raise UserError(
            f"{path}: row {ragged} has {len(table[ragged - 2])} fields where the header has {len(header)}. "
            "Quote fields that hold a comma."
        )
    columns = {
        name: _numbers(path, name, values) if name in _NUMBER_COLUMNS else np.array(values)
        for name, values in zip(header, zip(*table, strict=True), strict=True)
    }
    columns.setdefault("id", columns["audiopath"])
    if not is_labelled:
        columns["class"], columns["seconds"] = np.full(len(table), ""), np.full(len(table), np.nan)
    _check_values(path, columns, is_labelled=is_labelled)
    _check_unique(path, columns["id"])
    return Manifest(path, columns)


def write_manifest(path: Path | str, columns: Mapping[str, Sequence | np.ndarray]) -> None:
    """Write a manifest, complete or not at all.

    Parameters
    ----------
    path : the CSV to write.
    columns : column name → its (utterances,) values, in the order to write.
    """
    missing = [name for name in REQUIRED_COLUMNS if name not in columns]
    if missing:
        raise ValueError(f"a manifest needs the columns {', '.join(REQUIRED_COLUMNS)}; {', '.join(missing)} missing")
    with replace_when_complete(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _read_table(path: Path, required: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        missing = [name for name in required if name not in header]
        if missing:
            raise UserError(
                f"{path}: the header lacks {', '.join(missing)}; found {', '.join(header) or 'an empty file'}. "
                f"A manifest needs the columns {','.join(required)}."
            )
        repeated = [name for name in dict.fromkeys(header) if header.count(name) > 1]
        if repeated:
            raise UserError(f"{path}: the header has {', '.join(repeated)} more than once. Name each column once.")
        return header, [row for row in rows if row]


def _check_values(path: Path, columns: Mapping[str, np.ndarray], *, is_labelled: bool) -> None:
    seconds = columns["seconds"]
    start = np.nan_to_num(columns.get("start", np.zeros(len(seconds))), nan=0.0, posinf=np.inf)
    end = columns.get("end", np.full(len(seconds), np.nan))
    named = ("id", "audiopath", "class") if is_labelled else ("id", "audiopath")
    faults = [(columns[name] == "", f"has no {name}") for name in named]
    if is_labelled:
        faults.append((~((seconds > 0) & (seconds < np.inf)), "needs seconds above 0"))
    faults += [
        (~((start >= 0) & (start < np.inf)), "needs a start of 0 or above"),
        # NaN, to the end of the file, passes.
        ((end <= start) | (end == np.inf), "needs an end after its start"),
    ]
    for faulty, fault in faults:
        if faulty.any():
            number = int(np.argmax(faulty))
            raise UserError(
                f"{path}: utterance {columns['id'][number] or number + 1} {fault} "
                f"({np.count_nonzero(faulty)} such). Correct it, or take it out."
            )


def _numbers(path: Path, name: str, values: Sequence[str]) -> np.ndarray:
    try:
        # Empty is allowed in optional columns: "to the end of the file".
        return np.array([float(value) if value else np.nan for value in values], dtype=np.float64)
    except ValueError as error:
        raise UserError(f"{path}: column {name} holds what is no number of seconds: {error}. Correct it.") from None


def _check_unique(path: Path, ids: np.ndarray) -> None:
    names, counts = np.unique(ids, return_counts=True)
    if len(names) < len(ids):
        raise UserError(
            f"{path}: id {names[counts > 1][0]} stands in {counts.max()} rows. Ids (the audiopath where there is no "
            "id column) must be unique; add an id column where rows are parts of one file."
        )
