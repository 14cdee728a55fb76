"""The data map of a run, made again from the epochs that it recorded: fewer of them, or other regions.

Used by ``lid-mapmix datamap``. Where nothing else is asked for, the files are those of the run itself, byte for byte.
"""

import filecmp
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from ...config.schema import DatamapConfig
from ...config.settings import task_of_run
from ...data.corpus import Corpus
from ...data.labels import Labels
from ...data.manifest.manifest import Manifest
from ...mapmix.datamap import Measures, Region, RegionRule, region_counts
from ...mapmix.datamap_files import write_td_metrics
from ...mapmix.dynamics_files import Dynamics
from ...mapmix.suspects import NO_CLASS, Suspects, find_suspects, write_suspects
from ...training.dynamics import RecordedMap, read_map, write_map
from ...utils.errors import UserError
from ...utils.files import replace_when_complete
from ...utils.run_folder import RunFolder
from ..report.datamap_figure import draw_by_class, draw_datamap
from ..report.tables import format_table

_OF_RULE = {
    RegionRule.FIXED: ("easy_confidence", "easy_variability", "hard_confidence", "hard_variability"),
    RegionRule.QUANTILE: ("easy_fraction", "hard_fraction", "per_class"),
}


@dataclass(frozen=True, eq=False)
class RecordedDatamap:
    """A data map with what it was made from: training data, how regions are assigned, recorded epochs.

    Attributes
    ----------
    manifest, labels : of the training data, N utterances.
    gold : (N,) int, class number of each utterance.
    config : by which the regions are assigned.
    dynamics : the epochs that count.
    recorded : the map.
    """

    manifest: Manifest
    labels: Labels
    gold: np.ndarray
    config: DatamapConfig
    dynamics: Dynamics
    recorded: RecordedMap

    @classmethod
    def read(
        cls, folder: RunFolder, data: str | None, regions: Mapping[str, Any], *, skip_first: int, keep_first: int | None
    ) -> Self:
        """Read the epochs of a run, and make the map.

        Parameters
        ----------
        folder : of the run that recorded them.
        data : folder of its training data; None where that has not moved.
        regions : settings of the regions (names of DatamapConfig) over those of the run; None for those of the run.
        skip_first, keep_first : epochs to leave out, and how many to take of the others, all by None.

        Raises
        ------
        UserError : other data, wrong settings, no settings, or nothing left of the epochs.
        """
        task = task_of_run(folder)
        given = {name: each for name, each in regions.items() if each is not None}
        _refuse_idle(task.datamap, given)
        config = task_of_run(folder, {"datamap": given}).datamap
        # The run keeps the labels it was trained with; a file beside the data may have changed since.
        corpus = Corpus(data or task.data.directory, task.labels)
        manifest, labels = corpus.manifest("train"), corpus.labels
        made = read_map(folder.dynamics, manifest, labels, config, skip_first=skip_first, keep_first=keep_first)
        return cls(manifest, labels, labels.class_indices(manifest), config, *made)

    @property
    def measures(self) -> Measures:
        """The measures of each utterance."""
        return self.recorded.measures

    @property
    def regions(self) -> np.ndarray:
        """The region of each utterance, (N,) str."""
        return self.recorded.regions

    @property
    def epochs(self) -> list[int]:
        """The epochs that count."""
        return self.dynamics.epochs.tolist()

    def region_table(self) -> str:
        """Lay out as text how many utterances of each class are in each region."""
        return format_table(region_counts(self.regions, self.gold, self.labels.classes))

    def suspects(self, count: int) -> Suspects:
        """Return the likeliest label errors."""
        dynamics = self.dynamics
        return find_suspects(dynamics.probabilities, dynamics.predictions, self.gold, len(self.labels.classes), count)

    def suspect_tables(self, suspects: Suspects) -> str:
        """Lay out suspects as text, class by class; the number before each is its place in the whole ranking."""
        classes, rows = self.labels.classes, suspects.utterances
        ids = self.manifest.columns["id"][rows].tolist()
        preferred = ["-" if number == NO_CLASS else classes[number] for number in suspects.preferred.tolist()]
        widths = [max(map(len, names), default=0) for names in (ids, preferred)]
        of_class, is_hard = self.gold[rows], self.regions[rows] == Region.HARD.value
        lines = ["the likeliest label errors: rank, id, class the model preferred and in how many of the epochs"]
        for number in np.unique(of_class).tolist():
            places = np.flatnonzero(of_class == number)
            lines.append(f"labelled {classes[number]} ({len(places)}, of them {is_hard[places].sum()} hard)")
            for place in places.tolist():
                row = rows[place]
                lines.append(
                    f"{place + 1:>6}  {ids[place]:<{widths[0]}}  {preferred[place]:<{widths[1]}} "
                    f"{suspects.fractions[place]:>4.0%}  confidence {self.measures.confidence[row]:.3f}  "
                    f"variability {self.measures.variability[row]:.3f}"
                )
        return "\n".join(lines)

    def write_numbers(self, into: RunFolder, suspects: Suspects | None, *, overwrite: bool) -> list[Path]:
        """Write the files of numbers, all of them or, where one that differs is in the way, none; return their paths.

        Raises
        ------
        UserError : one that differs is there, and is not to be written over.
        """
        columns = self.manifest.columns
        targets = [into.datamap, into.class_similarity, into.td_metrics, *([] if suspects is None else [into.suspects])]
        with ExitStack() as stack:
            written = {target: stack.enter_context(replace_when_complete(target)) for target in targets}
            write_map(written[into.datamap], written[into.class_similarity], self.manifest, self.labels, self.recorded)
            write_td_metrics(written[into.td_metrics], ids=columns["id"], measures=self.measures)
            if suspects is not None:
                write_suspects(
                    written[into.suspects],
                    suspects=suspects,
                    manifest_columns=columns,
                    classes=self.labels.classes,
                    measures=self.measures,
                    regions=self.regions,
                )
            replaced = [
                target
                for target, temporary in written.items()
                if target.exists() and not filecmp.cmp(temporary, target, shallow=False)
            ]
            if replaced and not overwrite:
                use = (
                    ", which a run may have been trained on"
                    if replaced[0] in (into.datamap, into.class_similarity)
                    else ""
                )
                raise UserError(
                    f"{replaced[0]}: is there already, with other content{use}. Write elsewhere by --into DIR, or "
                    "replace it by --overwrite."
                )
        if into.datamap in replaced:
            # They are of the map that was there.
            for path in {into.suspects, into.datamap_by_class} - {*targets}:
                path.unlink(missing_ok=True)
        return targets

    def draw(self, into: RunFolder, *, by_class: bool) -> list[Path]:
        """Draw the map, and where asked for a panel a class, and return the paths.

        Raises
        ------
        UserError : matplotlib is not installed.
        """
        paths = [into.datamap_figure]
        draw_datamap(paths[0], self.measures, self.regions, self.config)
        if by_class:
            paths.append(into.datamap_by_class)
            classes, gold = self.labels.classes, self.gold
            draw_by_class(paths[1], self.measures, self.regions, self.config, classes=classes, gold=gold)
        return paths


def _refuse_idle(kept: DatamapConfig, given: Mapping[str, Any]) -> None:
    """Refuse a flag of the rule that is not used."""
    rule = RegionRule(given.get("regions", kept.regions))
    other = RegionRule.QUANTILE if rule is RegionRule.FIXED else RegionRule.FIXED
    idle = [name for name in _OF_RULE[other] if given.get(name, False) is not False]
    if idle:
        raise UserError(
            f"--{idle[0].replace('_', '-')}: has no effect on regions {rule}. Add --regions {other}, or leave it out."
        )
