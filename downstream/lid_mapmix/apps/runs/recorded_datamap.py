"""The data map of a run, computed again from its recorded epochs, optionally from fewer epochs or with other regions.

Used by ``lid-mapmix datamap``. Without other options the files are byte for byte those of the run.
"""

import filecmp
from argparse import Namespace
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from ...config.named_paths import check_named_paths
from ...config.schema import DatamapConfig
from ...config.settings import task_of_run
from ...config.sources import read_yaml
from ...data import LABELS_FILE, SPLITS
from ...data.check.cleaning import refuse_what_is_there
from ...data.corpus import Corpus
from ...data.labels import Labels, write_labels
from ...data.manifest.manifest import Manifest, write_manifest
from ...mapmix.datamap import Region, RegionRule, region_counts
from ...mapmix.dynamics import Dynamics
from ...mapmix.suspects import Suspects, find_suspects, write_suspects
from ...training.dynamics import RecordedMap, label_noise_of, read_map, write_map
from ...utils.errors import UserError
from ...utils.files import folder_when_complete, replace_when_complete
from ...utils.one_line import one_line
from ...utils.run_folder import RunFolder
from ..report.datamap_figure import draw_datamap
from ..report.tables import format_table

_OF_RULE = {
    RegionRule.FIXED: ("easy_confidence", "easy_variability", "hard_confidence", "hard_variability"),
    RegionRule.QUANTILE: ("easy_fraction", "hard_fraction", "per_class"),
}


@dataclass(frozen=True, eq=False)
class RecordedDatamap:
    """A data map with its training data, settings and recorded epochs."""

    corpus: Corpus
    # manifest, labels: of the training data, N utterances.
    manifest: Manifest
    labels: Labels
    targets: np.ndarray  # (N,) int, target class of each utterance
    config: DatamapConfig  # settings by which regions are assigned
    dynamics: Dynamics  # the epochs used
    recorded: RecordedMap  # the data map

    @classmethod
    def read(cls, folder: RunFolder, data: str | None, regions: Mapping[str, Any], **part: Any) -> Self:
        """Read the epochs of a run, and compute the data map.

        Raises UserError: the data or settings do not match, the settings are missing, or no epoch is left.

        `data`: folder of the training data; None if they have not moved. `regions`: settings of DatamapConfig that
        override those of the run; None values do not override. `part`: the epochs to use, see :func:`.read_map`.
        """
        task = task_of_run(folder)
        given = {name: each for name, each in regions.items() if each is not None}
        _refuse_unused(task.datamap, given)
        config = task_of_run(folder, {"datamap": given}).datamap
        if data is None:
            path = folder.settings_file("args")
            check_named_paths(Namespace(**read_yaml(path)), task, path, ["data"])
        # The settings of the run hold its labels; labels.yaml may have changed since.
        corpus = Corpus(data or task.data.directory, task.labels)
        manifest, labels = corpus.manifest("train"), corpus.labels
        made = read_map(folder.dynamics, manifest, labels, config, **part)
        return cls(corpus, manifest, labels, labels.class_indices(manifest), config, *made)

    def region_table(self) -> str:
        """Format the number of utterances per class and region."""
        return format_table(region_counts(self.recorded.regions, self.targets, self.labels.classes))

    def suspects(self, count: int | None) -> Suspects:
        """Return the `count` most likely label errors; None: those whose label is probably wrong."""
        noise = label_noise_of(self.dynamics, self.targets, len(self.labels.classes))
        return find_suspects(noise, self.dynamics.predictions, count)

    def write_clean(self, folder: Path, suspects: Suspects, *, relabel: bool) -> None:
        """Write the data without the suspects, or with them under the class that the model preferred.

        All splits and labels.yaml are written; no audio is copied. The folder is complete or absent.

        Raises UserError: the folder has files, or a class would be empty.
        """
        refuse_what_is_there(folder)
        classes, kept = self.targets.copy(), np.ones(len(self.targets), dtype=bool)
        if relabel:
            classes[suspects.utterances] = suspects.preferred
        else:
            kept[suspects.utterances] = False
        if missing := np.setdiff1d(self.targets, classes[kept]).tolist():
            name = self.labels.classes[missing[0]]
            raise UserError(
                f"{folder}: expected utterances of every class, found none left of {name}. Use --suspects N."
            )
        with folder_when_complete(folder) as temporary:
            write_labels(temporary / LABELS_FILE, self.labels)
            for split in filter(self.corpus.has, SPLITS):
                manifest = self.corpus.manifest(split)
                columns = {**manifest.columns, "audiopath": manifest.audiopaths_from(folder)}
                if split == "train":
                    columns["class"] = np.array(self.labels.classes)[classes]
                    columns = {name: values[kept] for name, values in columns.items()}
                write_manifest(temporary / f"{split}.csv", columns)

    def suspect_tables(self, suspects: Suspects) -> str:
        """Format the suspects per class; the number before each is its rank among all."""
        classes, rows = [one_line(name) for name in self.labels.classes], suspects.utterances
        ids = [one_line(name) for name in self.manifest.columns["id"][rows].tolist()]
        preferred = [classes[number] for number in suspects.preferred.tolist()]
        widths = [max(map(len, names), default=0) for names in (ids, preferred)]
        of_class, is_hard = self.targets[rows], self.recorded.regions[rows] == Region.HARD.value
        lines = [
            "most likely label errors: rank, id, class that the model preferred, fraction of epochs that preferred it"
        ]
        for number in np.unique(of_class).tolist():
            places = np.flatnonzero(of_class == number)
            lines.append(f"labelled {classes[number]} ({len(places)}, {is_hard[places].sum()} of them hard)")
            for place in places.tolist():
                row = rows[place]
                lines.append(
                    f"{place + 1:>6}  {ids[place]:<{widths[0]}}  {preferred[place]:<{widths[1]}} "
                    f"{suspects.fractions[place]:>4.0%}  confidence {self.recorded.measures.confidence[row]:.3f}  "
                    f"variability {self.recorded.measures.variability[row]:.3f}"
                )
        return "\n".join(lines)

    def write_numbers(self, out: RunFolder, suspects: Suspects | None, *, overwrite: bool) -> list[Path]:
        """Write all files but the figures; return their paths. Raises UserError: one exists with other content."""
        paths = [out.datamap, out.class_similarity, *([] if suspects is None else [out.suspects])]
        with ExitStack() as stack:
            written = {path: stack.enter_context(replace_when_complete(path)) for path in paths}
            write_map(written[out.datamap], written[out.class_similarity], self.manifest, self.labels, self.recorded)
            if suspects is not None:
                write_suspects(
                    written[out.suspects],
                    suspects=suspects,
                    manifest_columns=self.manifest.columns,
                    classes=self.labels.classes,
                    measures=self.recorded.measures,
                    regions=self.recorded.regions,
                )
            replaced = [
                path
                for path, temporary in written.items()
                if path.exists() and not filecmp.cmp(temporary, path, shallow=False)
            ]
            if replaced and not overwrite:
                use = "" if replaced[0] == out.suspects else ", which a run may have been trained on"
                raise UserError(
                    f"{replaced[0]}: exists already, with other content{use}. Write to another folder by --out DIR, or "
                    "replace it by --overwrite."
                )
        if out.datamap in replaced and suspects is None:
            out.suspects.unlink(missing_ok=True)  # they belong to the replaced data map
        return paths

    def draw(self, path: Path) -> None:
        """Draw the data map."""
        draw_datamap(path, self.recorded.measures, self.recorded.regions, self.config)


def _refuse_unused(kept: DatamapConfig, given: Mapping[str, Any]) -> None:
    """Refuse flags of the rule that is not used."""
    rule = RegionRule(given.get("regions", kept.regions))
    other = RegionRule.QUANTILE if rule is RegionRule.FIXED else RegionRule.FIXED
    unused = [name for name in _OF_RULE[other] if given.get(name, False) is not False]
    if unused:
        raise UserError(
            f"--{unused[0].replace('_', '-')}: no effect with --regions {rule}. Add --regions {other}, or remove it."
        )
