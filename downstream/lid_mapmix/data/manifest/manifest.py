"""Manifests: the utterances of a split, with class, duration and audio file.

A manifest is a CSV with a header (README, "Your data"), or a Parquet file with the same columns. In memory it is one
NumPy array per column, never a list of rows, because it may have millions of utterances.
The columns are those of docs/data.md; only `REQUIRED_COLUMNS` are needed.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from os.path import relpath
from pathlib import Path

import numpy as np

from ...utils.errors import UserError
from ...utils.files import replace_when_complete, write_csv
from .columns import TEXT, Names, iterate
from .csv_format import read_csv
from .parquet_format import read_parquet, write_parquet

REQUIRED_COLUMNS = ("audiopath", "class", "seconds")
_NUMBER_COLUMNS = ("seconds", "start", "end")
PARQUET = ".parquet"


@dataclass(frozen=True, eq=False)
class Manifest:
    """The utterances of one split."""

    path: Path  # the file it was read from
    # Column name → (utterances,) array; float64 for seconds, start and end, text for the rest. Always has ``id`` in
    # addition to the required columns.
    columns: Mapping[str, np.ndarray]
    digest: str = ""  # SHA-256 of the file; empty if this is not all of it

    @cached_property
    def classes(self) -> Names:
        """The class column as numbers."""
        return Names.of(self.columns["class"])

    def __len__(self) -> int:
        return len(self.columns["audiopath"])

    def audio_path(self, index: int) -> Path:
        """Return the path of an utterance's audio."""
        return self.path.parent / str(self.columns["audiopath"][index])

    def audiopaths_from(self, folder: Path) -> np.ndarray:
        """Return the column audiopath for a manifest of the same audio in another folder, (utterances,) str."""
        # Both without links, because the system goes up from a link's target, not from the link.
        prefix = relpath(self.path.parent.resolve(), folder.resolve())
        paths = map(str, self.columns["audiopath"].tolist())
        return np.array([path if Path(path).is_absolute() else f"{prefix}/{path}" for path in paths])

    def text_column(self, name: str) -> np.ndarray:
        """Return a text column, (utterances,) str; empty strings if the manifest has no such column."""
        return self.columns[name] if name in self.columns else np.full(len(self), "", dtype=TEXT)

    def only(self, classes: Collection[str]) -> tuple["Manifest", dict[str, int]]:
        """Return the utterances of some classes, and counts of the other classes. Raises UserError: only others."""
        kept = np.array([name in classes for name in self.classes.names.tolist()])[self.classes.codes]
        others = Counter(self.columns["class"][~kept].tolist())
        if not kept.any():
            raise UserError(f"{self.path}: expected utterances of known classes, found only others. Use other data.")
        columns = {name: column[kept] for name, column in self.columns.items()}
        return replace(self, columns=columns, digest=""), dict(others)

    def number_column(self, name: str) -> np.ndarray:
        """Return a column of seconds, (utterances,) float64; NaN if the manifest has no such column."""
        return self.columns[name] if name in self.columns else np.full(len(self), np.nan)


def read_manifest(path: Path | str, *, is_labelled: bool = True, ids_may_repeat: bool = False) -> Manifest:
    """Read a manifest.

    Raises UserError: no such file, a missing column, no utterance, a missing value or one that is not a number, a part
    that ends before it starts, or an id that occurs twice.

    `is_labelled`: whether utterances have a class and a duration; for identification they need neither.
    `ids_may_repeat`: for `lid-mapmix check`, which reports them beside other faults.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"{path}: no such manifest. Make one with 'lid-mapmix prepare', or pass its folder by --data; "
            "to train without dev.csv, add -o config.runner.eval_dataloaders=[]."
        )
    required = REQUIRED_COLUMNS if is_labelled else REQUIRED_COLUMNS[:1]
    columns, digest = (read_parquet if path.suffix == PARQUET else read_csv)(path, required, _NUMBER_COLUMNS)
    if not len(columns["audiopath"]):
        raise UserError(f"{path}: expected utterances, found only a header. Add utterances, or delete the file.")
    columns.setdefault("id", columns["audiopath"])
    if not is_labelled:
        count = len(columns["audiopath"])
        columns["seconds"] = np.full(count, np.nan)
        columns.setdefault("class", np.full(count, "", dtype=TEXT))
    manifest = Manifest(path, columns, digest)
    _check_values(manifest, is_labelled=is_labelled)
    if not ids_may_repeat:
        _check_unique(path, columns["id"])
    return manifest


def read_manifests(directory: Path, splits: Sequence[str], *, ids_may_repeat: bool = False) -> dict[str, Manifest]:
    """Read the manifests of a folder, split → manifest. Raises UserError: there is none, or one is damaged."""
    paths = {split: find_manifest(directory, split) for split in splits}
    manifests = {
        split: read_manifest(path, ids_may_repeat=ids_may_repeat) for split, path in paths.items() if path.is_file()
    }
    if not manifests:
        raise UserError(
            f"{directory}: expected one of {', '.join(path.name for path in paths.values())}, found none. Use a "
            "prepared folder; 'lid-mapmix prepare' makes one."
        )
    return manifests


def write_manifest(path: Path | str, columns: Mapping[str, Sequence | np.ndarray]) -> None:
    """Write a manifest, complete or not at all.

    `path`: the file to write, a CSV or, if it ends so, a .parquet; the latter needs pyarrow. `columns`: column name →
    its (utterances,) values, in the order to write; NaN in an array is written as empty.
    """
    missing = [name for name in REQUIRED_COLUMNS if name not in columns]
    if missing:
        raise ValueError(f"expected the columns {', '.join(REQUIRED_COLUMNS)}, found no {', '.join(missing)}")
    if Path(path).suffix == PARQUET:
        with replace_when_complete(path) as temporary:
            write_parquet(temporary, columns)
        return
    cells = (
        ("" if value != value else value for value in values.tolist())  # noqa: PLR0124
        if isinstance(values, np.ndarray) and values.dtype.kind == "f"
        else values
        for values in columns.values()
    )
    write_csv(path, columns, zip(*cells, strict=True))


def impossible_times(
    seconds: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which utterances have an impossible duration, start and end, (utterances,) bool each.

    `seconds`, `starts`, `ends`: (utterances,) float64; NaN is a valid start or end, and means that of the file.
    """
    starts = np.nan_to_num(starts, nan=0.0, posinf=np.inf)
    return (
        ~((seconds > 0) & (seconds < np.inf)),
        ~((starts >= 0) & (starts < np.inf)),
        (ends <= starts) | (ends == np.inf),
    )


def _check_values(manifest: Manifest, *, is_labelled: bool) -> None:
    no_duration, no_start, no_end = impossible_times(*map(manifest.number_column, ("seconds", "start", "end")))
    named = ("id", "audiopath", "class") if is_labelled else ("id", "audiopath")
    faults = [(manifest.columns[name] == "", f"has no {name}") for name in named]
    if is_labelled:
        faults.append((no_duration, "needs seconds above 0"))
    faults += [(no_start, "needs a start of 0 or above"), (no_end, "needs an end after its start")]
    for faulty, fault in faults:
        if faulty.any():
            number = int(np.argmax(faulty))
            raise UserError(
                f"{manifest.path}: utterance {manifest.columns['id'][number] or number + 1} {fault} "
                f"({np.count_nonzero(faulty)} such). Correct it, or remove it."
            )


def _check_unique(path: Path, ids: np.ndarray) -> None:
    # Sorting numbers is far faster than sorting text. Python's hash differs between processes; only equality is used.
    hashes = np.fromiter(map(hash, iterate(ids)), np.int64, len(ids))
    ordered = np.sort(hashes)
    shared = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(shared) == 0:
        return
    counts = Counter(ids[np.isin(hashes, shared)].tolist())
    name, count = max(counts.items(), key=lambda pair: pair[1])
    if count > 1:
        raise UserError(
            f"{path}: expected unique ids, found {name} in {count} rows. Without an id column the audiopath is the id: "
            "add an id column if rows are parts of one file."
        )


def find_manifest(directory: Path, split: str) -> Path:
    """Return SPLIT.parquet if it exists, otherwise SPLIT.csv, which may be absent. Raises UserError: both exist."""
    table, text = directory / f"{split}{PARQUET}", directory / f"{split}.csv"
    if not table.is_file():
        return text
    if text.is_file():
        raise UserError(
            f"{directory}: expected one manifest of {split}, found {table.name} and {text.name}. Delete one."
        )
    return table
