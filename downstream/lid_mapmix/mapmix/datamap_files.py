"""Files of the data map: datamap.csv and the class similarity of the run.

datamap.csv has one row per utterance: the columns of the training manifest, then ``confidence``, ``variability``,
``correctness``, ``threshold_closeness`` (6 decimals), ``forgetfulness`` (empty if the utterance was never predicted
correctly), ``epochs`` and ``region``. Definitions: datamap.py. An utterance whose audio could not be read in any epoch
has the region ``unread`` (version 0.1.0 wrote another word), 0 epochs and no measures.

class_similarity.csv has one row per class: its name, then the mean softmax row of its training utterances, one column
per class. Confidence labels (targets.py) divide the probability in proportion to it.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from ..utils.errors import UserError
from ..utils.files import replace_when_complete, write_csv
from .datamap import OLD_UNREAD, UNREAD, Measures, Region

_DECIMAL_COLUMNS = ("confidence", "variability", "correctness", "threshold_closeness")
_COUNT_COLUMNS = ("forgetfulness", "epochs")
_MAP_COLUMNS = (*_DECIMAL_COLUMNS, *_COUNT_COLUMNS, "region")
# A row: the manifest's part, as CSV, and the map's own columns, which never need quotes.
_DECIMAL = "%.6f"
_ROW = "%s" + f",{_DECIMAL}" * len(_DECIMAL_COLUMNS) + ",%s" * len(_COUNT_COLUMNS) + ",%s\n"
_ROW_OF_TEXTS = _ROW.replace(_DECIMAL, "%s")
_CHUNK_ROWS = 4096
_REMAP = "Train the variant datamap on this manifest, or use the map that was made from it."


@dataclass(frozen=True, eq=False)
class DataMap(Measures):
    """The measures of named utterances and their regions; every array is (N,), in the order of the file."""

    path: Path  # the file it was read from
    # ids, classes: str, as in the training manifest.
    ids: np.ndarray
    classes: np.ndarray
    regions: np.ndarray  # str, values of `Region`, or `UNREAD`

    def read_utterances(self) -> "DataMap":
        """Return the map without unread utterances, which have no measures."""
        rows = self.regions != UNREAD
        arrays = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "path"}
        return DataMap(path=self.path, **{name: values[rows] for name, values in arrays.items()})

    def regions_for(self, ids: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Return the region of each utterance of a manifest, (N,) str in the manifest's order.

        Raises UserError: the map was made from another manifest: ids or classes differ.

        `ids`, `classes`: (N,) str, columns of the manifest; the order may differ from the map's.
        """
        ids, classes = np.asarray(ids), np.asarray(classes)
        if len(ids) == len(self.ids) and (ids == self.ids).all():  # as a run writes it
            places = np.arange(len(ids))
        else:
            # NumPy cannot search text of variable width.
            own, asked = self.ids.astype(object), ids.astype(object)
            order = np.argsort(own, kind="stable")
            places = order[np.searchsorted(own[order], asked).clip(max=len(order) - 1)]
        known = self.ids[places] == ids
        relabelled = known & (self.classes[places] != classes)
        # Not by setdiff1d, which compares every pair of texts of variable width.
        unmapped, superfluous = ids[~known], sorted(set(self.ids.tolist()) - set(ids.tolist()))
        faults = [
            f"{len(names)} utterances {what} (for example {names[0]})"
            for names, what in (
                (unmapped, "are not in the map"),
                (superfluous, "of the map are not in the manifest"),
                (ids[relabelled], "have another class"),
            )
            if len(names)
        ]
        if faults:
            raise UserError(
                f"{self.path}: expected a data map of this manifest's {len(ids)} utterances, found one of another "
                f"manifest: {', '.join(faults)}. {_REMAP}"
            )
        return self.regions[places]


def write_datamap(
    path: Path | str, manifest_columns: Mapping[str, np.ndarray], measures: Measures, regions: np.ndarray
) -> None:
    """Write datamap.csv, complete or not at all.

    `manifest_columns`: column name → (N,) values; ``id`` and ``class`` are needed. Columns with a name of the map's own
    (of a manifest that was itself made from a map) are replaced by the map's. `measures`: of the same N utterances.
    `regions`: (N,) str, values of `Region`, or `UNREAD`.
    """
    kept = {name: np.asarray(values) for name, values in manifest_columns.items() if name not in _MAP_COLUMNS}
    decimals = [getattr(measures, name) for name in _DECIMAL_COLUMNS]
    counts = [getattr(measures, name) for name in _COUNT_COLUMNS]
    # The maximum, so that zip finds a column that is shorter or longer than the others.
    row_count = max(map(len, [*kept.values(), *decimals, *counts, regions]))
    with replace_when_complete(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerow([*kept, *_MAP_COLUMNS])
        # Python objects take ten times the memory of their text: convert only some rows at a time.
        for start in range(0, row_count, _CHUNK_ROWS):
            chunk = slice(start, start + _CHUNK_ROWS)
            heads = _csv_lines([_plain(values[chunk]) for values in kept.values()])
            row, cells = _ROW, [values[chunk].tolist() for values in decimals]
            if np.isnan(measures.confidence[chunk]).any():
                row, cells = _ROW_OF_TEXTS, [_texts(values, _DECIMAL) for values in cells]
            cells += [_texts(values[chunk].tolist(), "%d") for values in counts] + [regions[chunk].tolist()]
            file.writelines(map(row.__mod__, zip(heads, *cells, strict=True)))


def read_datamap(path: Path | str) -> DataMap:
    """Read datamap.csv.

    Raises UserError: no such file, a missing column, no utterance, a value that is not a number, an unknown region, an
    id that occurs twice.
    """
    path = Path(path)
    header, rows = _read_rows(path, "data map")
    if missing := [name for name in ("id", "class", *_MAP_COLUMNS) if name not in header]:
        raise UserError(f"{path}: expected a data map, found a header without {', '.join(missing)}. {_REMAP}")
    if not rows:
        raise UserError(f"{path}: expected a data map, found a header and no utterance. {_REMAP}")
    table = dict(zip(header, zip(*rows, strict=True), strict=True))
    regions = np.array([UNREAD if region == OLD_UNREAD else region for region in table["region"]])
    if unknown := sorted(set(regions.tolist()) - {*Region, UNREAD}):
        raise UserError(f"{path}: expected the regions {', '.join(Region)}, found {unknown[0]!r}. {_REMAP}")
    ids, counts = np.unique(np.array(table["id"]), return_counts=True)
    if len(ids) < len(rows):
        raise UserError(f"{path}: expected each id once, found {ids[counts.argmax()]} {counts.max()} times. {_REMAP}")
    is_read = regions != UNREAD
    decimals = {name: _numbers(path, name, [value or "nan" for value in table[name]]) for name in _DECIMAL_COLUMNS}
    # Empty means never correct; everything else is a number.
    forgetfulness = _numbers(path, "forgetfulness", [value or "-1" for value in table["forgetfulness"]])
    epochs = _numbers(path, "epochs", table["epochs"])
    for name, values, minimum in (
        *((name, values, -np.inf) for name, values in decimals.items()),
        *(("forgetfulness", forgetfulness, -1), ("epochs", epochs, 1)),
    ):
        is_wrong = is_read & (~np.isfinite(values) | (values < minimum))
        if name in _COUNT_COLUMNS:
            is_wrong |= is_read & (values != np.floor(values))
        if is_wrong.any():
            row, kind = int(is_wrong.argmax()), "whole numbers" if name in _COUNT_COLUMNS else "numbers"
            raise UserError(
                f"{path}: expected {kind} for {name}, found {table[name][row]!r} for {table['id'][row]}. {_REMAP}"
            )
    return DataMap(
        path=path,
        ids=np.array(table["id"]),
        classes=np.array(table["class"]),
        regions=regions,
        **decimals,
        forgetfulness=np.where(forgetfulness < 0, np.nan, forgetfulness),
        epochs=epochs.astype(np.int64),
    )


def write_class_similarity(
    path: Path | str, classes: Sequence[str], softmax_sums: np.ndarray, softmax_counts: np.ndarray
) -> None:
    """Write the mean softmax row of each class with 9 significant digits, complete or not at all.

    `softmax_sums`: (C, C) float64, row c the sum of the softmax rows of class c. `softmax_counts`: (C,) int, rows in
    each sum; the written row of a class with none is 0.
    """
    means = softmax_sums / np.maximum(softmax_counts, 1)[:, None]
    rows = ([name, *(f"{value:.9g}" for value in row)] for name, row in zip(classes, means.tolist(), strict=True))
    write_csv(path, ["class", *classes], rows)


def read_class_similarity(path: Path | str, classes: Sequence[str]) -> np.ndarray:
    """Read the class similarity, (C, C) float64, rows and columns in the order of `classes`.

    Raises UserError: no such file, other classes, a value that is not a number or negative.

    `path`: the CSV; its rows and columns may have any order.
    """
    path = Path(path)
    header, rows = _read_rows(path, "class similarity")
    for what, names in (("columns", header[1:]), ("rows", [row[0] for row in rows])):
        if sorted(names) != sorted(classes):
            differing = sorted(set(names) ^ set(classes)) or sorted({name for name in names if names.count(name) > 1})
            raise UserError(
                f"{path}: expected {what} for exactly the classes {', '.join(classes)}; {', '.join(differing)} "
                "occur only in one of the two, or twice. Use the class similarity of a datamap run with these labels."
            )
    by_name = {row[0]: _numbers(path, row[0], row[1:]) for row in rows}
    columns = [header.index(name, 1) - 1 for name in classes]
    similarity = np.array([by_name[name][columns] for name in classes])
    if not (np.isfinite(similarity).all() and (similarity >= 0).all()):
        raise UserError(f"{path}: expected numbers of at least 0, found others. Correct them.")
    return similarity


def _read_rows(path: Path, subject: str) -> tuple[list[str], list[list[str]]]:
    if not path.is_file():
        raise UserError(f"{path}: expected the {subject}, found no such file. Train the variant datamap first.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *rows = [row for row in csv.reader(file) if row] or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{path}: expected the {subject} as CSV in UTF-8, found something else ({error}). Use the file of a "
            "datamap run."
        ) from None
    if not header:
        raise UserError(f"{path}: expected the {subject}, found an empty file. Use the file of a datamap run.")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise UserError(f"{path}: expected {len(header)} fields in row {number}, found {len(row)}. Correct it.")
    return header, rows


def _numbers(path: Path, name: str, values: Iterable[str]) -> np.ndarray:
    try:
        return np.array([float(value) for value in values], dtype=np.float64)
    except ValueError as error:
        raise UserError(f"{path}: expected numbers for {name}, found other text: {error}. Correct it.") from None


class _Lines(list[str]):
    """A list that csv writes to as to a file, one line at a time."""

    write = list.append


def _csv_lines(columns: Sequence[Sequence]) -> list[str]:
    """Return the rows of some columns as CSV, without their line ends."""
    lines = _Lines()
    # csv quotes a field that contains a line end only if it writes that line end itself.

    csv.writer(lines, lineterminator="\n").writerows(zip(*columns, strict=True))
    return [line[:-1] for line in lines]


def _plain(values: np.ndarray) -> list:
    return ["" if value != value else value for value in np.asarray(values).tolist()]  # noqa: PLR0124


def _texts(values: list[float], form: str) -> list[str]:
    return ["" if value != value else form % value for value in values]  # noqa: PLR0124
