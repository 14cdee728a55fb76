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
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

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


@dataclass(frozen=True)
class Labels:
    """The classes in the order of the model's outputs, and the cluster of each.

    Attributes
    ----------
    clusters : cluster → its classes, both in order.
    """

    clusters: Mapping[str, tuple[str, ...]]

    @property
    def classes(self) -> tuple[str, ...]:
        """All classes, in the order of the model's outputs."""
        return tuple(name for members in self.clusters.values() for name in members)

    @property
    def cluster_indices(self) -> np.ndarray:
        """The cluster number of each class, (classes,) int64."""
        sizes = [len(members) for members in self.clusters.values()]
        return np.repeat(np.arange(len(sizes)), sizes)

    def class_indices(self, manifest: Manifest) -> np.ndarray:
        """Return the class number of each utterance, (utterances,) int64.

        Raises
        ------
        UserError : the manifest has a class that these labels have not.
        """
        names, inverse = np.unique(manifest.columns["class"], return_inverse=True)
        number_of = {name: number for number, name in enumerate(self.classes)}
        unknown = [str(name) for name in names if name not in number_of]
        if unknown:
            raise UserError(
                f"{manifest.path}: unknown class {_shorten(unknown)}; known are {_shorten(self.classes)}. "
                "Correct the manifest, or add the class to labels.yaml and to the training data."
            )
        return np.array([number_of[name] for name in names], dtype=np.int64)[inverse]


def read_manifest(path: Path | str) -> Manifest:
    """Read a manifest.

    Raises
    ------
    UserError : no such file, a missing column, no utterance, a value that is missing or no number, a part that ends
        before it starts, an id twice.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such manifest. Make one with 'lid-mapmix prepare', or name its folder by --data.")
    try:
        header, table = _read_table(path)
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
    _check_values(path, columns)
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


def read_labels(path: Path | str) -> Labels:
    """Read labels.yaml, a mapping of cluster → list of classes.

    Raises
    ------
    UserError : no such file, another shape, a class in two clusters.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file. labels.yaml maps each cluster to the list of its classes.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is no valid YAML: {' '.join(str(error).split())}. Correct it.") from None
    return labels_from_mapping(content, str(path))


def labels_from_mapping(clusters: object, origin: str) -> Labels:
    """Check a mapping of cluster → list of classes and make labels of it.

    Parameters
    ----------
    clusters : what was read, not yet checked.
    origin : named in errors, for example the file.
    """
    if (
        not isinstance(clusters, Mapping)
        or not clusters
        or not all(isinstance(members, list | tuple) and members for members in clusters.values())
    ):
        raise UserError(f"{origin}: expected 'cluster: [class, class]' on each line. See the README, \"Your data\".")
    for name in (name for cluster, members in clusters.items() for name in (cluster, *members)):
        # YAML reads no as False, and 010 as 8.
        if not isinstance(name, str):
            raise UserError(f"{origin}: {name!r} is no text. Put names that YAML takes for something else in quotes.")
    labels = Labels({name: tuple(members) for name, members in clusters.items()})
    repeated = sorted({name for name in labels.classes if labels.classes.count(name) > 1})
    if repeated:
        raise UserError(f"{origin}: class {', '.join(repeated)} is listed twice. List each class once.")
    return labels


def labels_from_manifest(manifest: Manifest) -> Labels:
    """Derive labels: classes sorted, the cluster of each being its part before the first ``-``."""
    clusters: dict[str, list[str]] = {}
    for name in map(str, np.unique(manifest.columns["class"])):
        clusters.setdefault(name.split("-", 1)[0], []).append(name)
    return Labels({name: tuple(members) for name, members in clusters.items()})


def write_labels(path: Path | str, labels: Labels) -> None:
    """Write labels.yaml, complete or not at all."""
    clusters = {name: list(members) for name, members in labels.clusters.items()}
    with replace_when_complete(path) as temporary:
        temporary.write_text(yaml.safe_dump(clusters, sort_keys=False, allow_unicode=True), encoding="utf-8")


def relative_audio_path(audio: Path | str, folder: Path | str) -> str:
    """Return how a manifest in `folder` names `audio`: relative, with forward slashes."""
    return Path(os.path.relpath(audio, folder)).as_posix()


def _read_table(path: Path) -> tuple[list[str], list[list[str]]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        missing = [name for name in REQUIRED_COLUMNS if name not in header]
        if missing:
            raise UserError(
                f"{path}: the header lacks {', '.join(missing)}; found {', '.join(header) or 'an empty file'}. "
                f"A manifest needs the columns {','.join(REQUIRED_COLUMNS)}."
            )
        repeated = [name for name in dict.fromkeys(header) if header.count(name) > 1]
        if repeated:
            raise UserError(f"{path}: the header has {', '.join(repeated)} more than once. Name each column once.")
        return header, [row for row in rows if row]


def _check_values(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    seconds = columns["seconds"]
    start = np.nan_to_num(columns.get("start", np.zeros(len(seconds))), nan=0.0, posinf=np.inf)
    end = columns.get("end", np.full(len(seconds), np.nan))
    faults = [(columns[name] == "", f"has no {name}") for name in ("id", "audiopath", "class")]
    faults += [
        (~((seconds > 0) & (seconds < np.inf)), "needs seconds above 0"),
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


def _shorten(names: Iterable[str], most: int = 8) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
