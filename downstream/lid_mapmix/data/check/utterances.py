"""The utterances of all splits side by side, as columns of numbers that hold millions of rows."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..manifest.columns import TEXT, Names
from ..manifest.manifest import Manifest

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True, eq=False)
class Utterances:
    """The utterances of a corpus.

    Attributes
    ----------
    manifests : split → its manifest, in the order of :data:`SPLITS`.
    split : (utterances,) int64, the number of the split in :data:`SPLITS`.
    row : (utterances,) int64, the row in its manifest.
    file : which audio file.
    classes, speaker, group : likewise; the empty name is no speaker and no group.
    seconds, start, end : (utterances,) float64; NaN where a part of the file is not given.
    """

    manifests: dict[str, Manifest]
    split: np.ndarray
    row: np.ndarray
    file: Names
    classes: Names
    speaker: Names
    group: Names
    seconds: np.ndarray
    start: np.ndarray
    end: np.ndarray

    def __len__(self) -> int:
        return len(self.split)

    def name(self, index: int) -> str:
        """Say which utterance it is."""
        return " ".join(self.split_and_id(index))

    def split_and_id(self, index: int) -> tuple[str, str]:
        """Return the split and the id of an utterance."""
        split = SPLITS[self.split[index]]
        return split, str(self.manifests[split].columns["id"][self.row[index]])

    def ids(self, rows: np.ndarray) -> dict[str, list[str]]:
        """Return split → the ids of those of its utterances whose numbers are in `rows`, (n,) int64."""
        found = {}
        for number, split in enumerate(SPLITS):
            mine = self.row[rows[self.split[rows] == number]]
            if len(mine):
                found[split] = self.manifests[split].columns["id"][mine].tolist()
        return found

    def select(self, kept: np.ndarray) -> "Utterances":
        """Return the utterances of a (utterances,) bool mask; files and names keep their numbers."""

        def chosen(column: Names) -> Names:
            return Names(column.names, column.codes[kept])

        return replace(
            self,
            split=self.split[kept],
            row=self.row[kept],
            file=chosen(self.file),
            classes=chosen(self.classes),
            speaker=chosen(self.speaker),
            group=chosen(self.group),
            seconds=self.seconds[kept],
            start=self.start[kept],
            end=self.end[kept],
        )

    def rename_classes(self, renamed: Mapping[str, str]) -> "Utterances":
        """Return the utterances with other names of classes, several of which may become one.

        Parameters
        ----------
        renamed : name → the name it gets.
        """
        names = [renamed.get(name, name) for name in self.classes.names.tolist()]
        number_of = {name: number for number, name in enumerate(dict.fromkeys(names))}
        codes = np.array([number_of[name] for name in names], dtype=np.int64)[self.classes.codes]
        return replace(self, classes=Names(np.array(list(number_of), dtype=TEXT), codes))


def side_by_side(manifests: dict[str, Manifest]) -> Utterances:
    """Put the manifests of a folder side by side.

    Parameters
    ----------
    manifests : split → manifest, all in one folder.
    """
    ordered = {split: manifests[split] for split in SPLITS if split in manifests}

    def texts(name: str) -> Names:
        return Names.of(np.concatenate([manifest.text_column(name) for manifest in ordered.values()]))

    def numbers(name: str) -> np.ndarray:
        return np.concatenate([_numbers(manifest, name) for manifest in ordered.values()])

    return Utterances(
        manifests=ordered,
        split=np.concatenate([np.full(len(manifest), SPLITS.index(split)) for split, manifest in ordered.items()]),
        row=np.concatenate([np.arange(len(manifest)) for manifest in ordered.values()]),
        file=texts("audiopath"),
        classes=texts("class"),
        speaker=texts("speaker"),
        group=texts("group"),
        seconds=numbers("seconds"),
        start=numbers("start"),
        end=numbers("end"),
    )


def _numbers(manifest: Manifest, name: str) -> np.ndarray:
    return manifest.columns.get(name, np.full(len(manifest), np.nan))
