"""A folder of manifests: its labels, and its splits, each read and checked at its first use."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..utils.errors import UserError
from . import LABELS_FILE
from .audio.lengths import Length
from .dataset import Split
from .labels import Labels, labels_from_manifest, labels_from_mapping, read_labels
from .manifest.manifest import Manifest, find_manifest, read_manifest


class Corpus:
    """The data of a run.

    `directory`: folder of train.csv, dev.csv, test.csv (or .parquet) and labels.yaml; None if a run needs no data.
    `clusters`: the labels, cluster → classes; None to read them from labels.yaml or else from the training manifest.
    `skips_bad_audio`: whether a fault of training audio is recorded rather than raised; in other splits it is always
    raised, because scores over fewer utterances would not be comparable.
    """

    def __init__(
        self, directory: str | None, clusters: Mapping[str, Sequence[str]] | None, *, skips_bad_audio: bool = False
    ) -> None:
        self._directory = directory
        self._skips_bad_audio = skips_bad_audio
        # Split → number of utterances of each class that the labels lack, which are omitted; None to refuse them.
        self.unknown: dict[str, dict[str, int]] | None = None
        self._manifests: dict[str, Manifest] = {}
        self._splits: dict[str, Split] = {}
        self._lengths: dict[str, Length] = {}
        self.labels = (
            self._find_labels() if clusters is None else labels_from_mapping(clusters, "configuration: labels")
        )

    @property
    def directory(self) -> Path:
        """The folder. Raises UserError: no folder is given."""
        if self._directory is None:
            raise UserError(
                "expected a data folder, found none. Give the folder of train.csv, dev.csv and test.csv by --data DIR "
                "(under S3PRL's own run_downstream.py: -o config.downstream_expert.data.directory=DIR)."
            )
        return Path(self._directory)

    @property
    def labels_path(self) -> Path:
        """Path of labels.yaml, which may be absent."""
        return self.directory / LABELS_FILE

    def has(self, name: str) -> bool:
        """Return whether there is such a split."""
        return self.manifest_path(name).is_file()

    def manifest_path(self, name: str) -> Path:
        """Return the path of a split's manifest, which may be absent. Raises UserError: both CSV and Parquet."""
        return find_manifest(self.directory, name)

    def manifest(self, name: str) -> Manifest:
        """Return the manifest of a split, read at its first use. Raises UserError: a fault of the manifest."""
        if name not in self._manifests:
            manifest = read_manifest(self.manifest_path(name))
            if self.unknown is not None:
                manifest, self.unknown[name] = manifest.only(self.labels.classes)
            self._manifests[name] = manifest
        return self._manifests[name]

    def split(self, name: str) -> Split:
        """Return a split, checked at its first use. Raises UserError: a fault of its manifest or its audio."""
        if name not in self._splits:
            skips = self._skips_bad_audio and name == "train"
            self._splits[name] = Split.open(
                self.manifest(name), self.labels, skips_bad_audio=skips, lengths=self._lengths
            )
        return self._splits[name]

    def check_manifests(self, names: Iterable[str]) -> None:
        """Check manifests against the labels, without audio. Raises UserError: a fault of a manifest."""
        for name in names:
            self.labels.class_indices(self.manifest(name))

    def _find_labels(self) -> Labels:
        if self.labels_path.exists():
            return read_labels(self.labels_path)
        return labels_from_manifest(self.manifest("train"))
