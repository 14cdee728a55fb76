"""Labels: the classes in the order of the model's outputs, and the cluster of each."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from ..utils.errors import UserError
from ..utils.files import write_text
from .manifest.manifest import Manifest


@dataclass(frozen=True)
class Labels:
    """The classes in the order of the model's outputs, and the cluster of each."""

    clusters: Mapping[str, tuple[str, ...]]  # cluster → its classes, both in order

    @property
    def classes(self) -> tuple[str, ...]:
        """All classes, in the order of the model's outputs."""
        return tuple(name for members in self.clusters.values() for name in members)

    @property
    def cluster_indices(self) -> np.ndarray:
        """The cluster number of each class, (classes,) int64."""
        sizes = [len(members) for members in self.clusters.values()]
        return np.repeat(np.arange(len(sizes)), sizes)

    def only(self, classes: Collection[str]) -> "Labels":
        """Return the labels of some classes. Raises UserError: one of them is not among these labels."""
        unknown = sorted(set(classes) - set(self.classes))
        if unknown:
            raise UserError(
                f"expected the classes {shorten(self.classes)}, found {shorten(unknown)}. Add the class to "
                "labels.yaml, or correct the corpus."
            )
        clusters = {name: tuple(one for one in members if one in classes) for name, members in self.clusters.items()}
        return Labels({name: members for name, members in clusters.items() if members})

    def class_indices(self, manifest: Manifest) -> np.ndarray:
        """Return class numbers, (utterances,) int64. Raises UserError: a class that is not in these labels."""
        number_of = {name: number for number, name in enumerate(self.classes)}
        names = manifest.classes.names.tolist()
        unknown = sorted(set(names) - number_of.keys())
        if unknown:
            raise UserError(
                f"{manifest.path}: expected the classes {shorten(self.classes)}, found {shorten(unknown)}. "
                "Correct the manifest, or add the class to labels.yaml and to the training data; with a trained run, "
                "-m evaluate --known-only omits it, and -i RUN --new-classes trains it."
            )
        return np.array([number_of[name] for name in names], dtype=np.int64)[manifest.classes.codes]


def read_labels(path: Path | str) -> Labels:
    """Read labels.yaml, cluster → classes. Raises UserError: no such file, another structure, or a class twice."""
    return labels_from_mapping(read_yaml(Path(path), "maps each cluster to the list of its classes"), str(path))


def read_yaml(path: Path, what: str) -> object:
    """Read a file of YAML. Raises UserError: no such file, or not YAML. `what`: it does, for the error."""
    if not path.is_file():
        raise UserError(f"{path}: no such file. Write one that {what}.")
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not valid YAML: {' '.join(str(error).split())}. Correct it.") from None


def labels_from_mapping(clusters: object, origin: str) -> Labels:
    """Check a mapping of cluster → classes and return its labels. `origin`: for errors, for example the file."""
    if (
        not isinstance(clusters, Mapping)
        or not clusters
        or not all(isinstance(members, list | tuple) and members for members in clusters.values())
    ):
        raise UserError(f"{origin}: expected 'cluster: [class, class]' on each line. See the README, \"Your data\".")
    for name in (name for cluster, members in clusters.items() for name in (cluster, *members)):
        # YAML reads no as False, and 010 as 8.
        if not isinstance(name, str):
            raise UserError(f"{origin}: expected text, found {name!r}. Quote names that YAML reads as other types.")
    labels = Labels({name: tuple(members) for name, members in clusters.items()})
    repeated = sorted(name for name, count in Counter(labels.classes).items() if count > 1)
    if repeated:
        raise UserError(f"{origin}: class {', '.join(repeated)} occurs twice. List each class once.")
    return labels


def labels_from_manifest(manifest: Manifest) -> Labels:
    """Derive labels from the classes of a manifest."""
    return labels_from_names(manifest.classes.names.tolist())


def labels_from_names(names: Iterable[str]) -> Labels:
    """Derive labels: sorted classes; the cluster of each is its part before the first ``-``."""
    clusters: dict[str, list[str]] = {}
    for name in sorted(names):
        clusters.setdefault(name.split("-", 1)[0], []).append(name)
    return Labels({name: tuple(members) for name, members in clusters.items()})


def write_labels(path: Path | str, labels: Labels) -> None:
    """Write labels.yaml, complete or not at all."""
    clusters = {name: list(members) for name, members in labels.clusters.items()}
    write_text(path, yaml.safe_dump(clusters, sort_keys=False, allow_unicode=True))


def shorten(names: Iterable[str], max_count: int = 8) -> str:
    """List names, only the first if there are many."""
    listed = list(names)
    rest = len(listed) - max_count
    return ", ".join(listed[:max_count]) + (f" and {rest} more" if rest > 0 else "")
