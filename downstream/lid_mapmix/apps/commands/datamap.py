"""``lid-mapmix datamap EXPDIR``: the data map of recorded epochs, other regions of it, its picture, its suspects.

Writes datamap.csv and likeness.csv (as the run itself does, byte for byte where no flag asks for something else),
td_metrics.jsonl (mapmix/cartography.py), datamap.png and, when asked to, datamap-by-class.png and suspects.csv.
"""

import argparse
import filecmp
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ...config.checks import task_config
from ...config.schema import DatamapConfig, TaskConfig
from ...config.settings import Settings
from ...data.corpus import Corpus
from ...data.labels import Labels
from ...data.manifest.manifest import Manifest
from ...mapmix.cartography import write_td_metrics
from ...mapmix.datamap import Measures, Region, RegionRule, region_counts
from ...mapmix.suspects import NO_CLASS, Suspects, find_suspects, write_suspects
from ...training.dynamics import RecordedMap, read_map, write_map
from ...utils.errors import UserError
from ...utils.files import replace_when_complete
from ...utils.run_folder import RunFolder
from ..report.datamap_figure import draw_by_class, draw_datamap
from ..report.tables import format_table

_FLAGS_OF_RULE = {
    RegionRule.FIXED: ("easy_confidence", "easy_variability", "hard_confidence", "hard_variability"),
    RegionRule.QUANTILE: ("easy_share", "hard_share", "per_class"),
}
_EXAMPLES = """\
examples:
  the map of a run that recorded one (-v datamap, or any run that made one first):
    lid-mapmix datamap result/downstream/first
  without the first two epochs, regions by share of each class, kept elsewhere; and how to train on it:
    lid-mapmix datamap result/downstream/first --skip-first 2 --regions quantile --per-class --into maps/late
    python run_downstream.py -u fbank --data DATA -o config.downstream_expert.mapmix.datamap=maps/late/datamap.csv
  the 50 likeliest label errors:
    lid-mapmix datamap result/downstream/first --suspects 50
"""
REGION_FLAGS = {
    "regions": "fixed: the four thresholds; quantile: the two shares",
    "easy_confidence": "fixed: easy has confidence above this …",
    "easy_variability": "… and variability below this",
    "hard_confidence": "fixed: hard has confidence below this …",
    "hard_variability": "… and variability below this",
    "easy_share": "quantile: share of utterances, the most confident ones, that is easy",
    "hard_share": "quantile: share of utterances, the least confident ones, that is hard",
}


@dataclass(frozen=True, eq=False)
class _Subject:
    """A run whose map is made: its training data, how regions are assigned, its recorded epochs."""

    manifest: Manifest
    labels: Labels
    gold: np.ndarray
    config: DatamapConfig
    recorded: RecordedMap

    @property
    def measures(self) -> Measures:
        return self.recorded.measures

    @property
    def regions(self) -> np.ndarray:
        return self.recorded.regions


def make_map(options: argparse.Namespace) -> None:
    """Do what the flags ask for, and print what came of it.

    Raises
    ------
    UserError : no such run, other data, wrong settings, nothing left of the epochs, or another map in the way.
    """
    folder = _recorded_folder(RunFolder(Path(options.expdir)))
    subject = _read_subject(folder, options)
    into = RunFolder(Path(options.into)) if options.into else folder
    suspects = _find(subject, options.suspects) if options.suspects else None
    epochs = subject.recorded.dynamics.epochs
    print(f"{folder}: {len(subject.manifest)} utterances, epochs {', '.join(map(str, epochs.tolist()))}\n")
    print(format_table(region_counts(subject.regions, subject.gold, subject.labels.classes)))
    if suspects is not None:
        print(f"\n{suspect_tables(suspects, subject.manifest, subject.labels, subject.measures, subject.regions)}")
    # A run may be training there, in the folder of this map or in any other.
    with into.held("write elsewhere by --into DIR"):
        numbers = _write_numbers(into, subject, suspects, overwrite=options.overwrite)
        print("\nwritten:")
        # Said at once: the numbers are there even where the picture cannot be drawn.
        _print_paths(numbers)
        _print_paths(_draw(into, subject, by_class=options.by_class))


def suspect_tables(
    suspects: Suspects, manifest: Manifest, labels: Labels, measures: Measures, regions: np.ndarray
) -> str:
    """Lay out suspects as text, class by class; the number before each is its place in the whole ranking."""
    ids = manifest.columns["id"][suspects.utterances].tolist()
    preferred = ["-" if number == NO_CLASS else labels.classes[number] for number in suspects.preferred.tolist()]
    widths = [max(map(len, names), default=0) for names in (ids, preferred)]
    of_class = labels.class_indices(manifest)[suspects.utterances]
    is_hard = regions[suspects.utterances] == Region.HARD.value
    lines = ["the likeliest label errors: rank, id, class the model preferred and in how many of the epochs"]
    for number in np.unique(of_class).tolist():
        places = np.flatnonzero(of_class == number)
        lines.append(f"labelled {labels.classes[number]} ({len(places)}, of them {is_hard[places].sum()} hard)")
        for place in places.tolist():
            row = suspects.utterances[place]
            lines.append(
                f"{place + 1:>6}  {ids[place]:<{widths[0]}}  {preferred[place]:<{widths[1]}} "
                f"{suspects.shares[place]:>4.0%}  confidence {measures.confidence[row]:.3f}  "
                f"variability {measures.variability[row]:.3f}"
            )
    return "\n".join(lines)


def _recorded_folder(folder: RunFolder) -> RunFolder:
    if not folder.path.is_dir():
        raise UserError(f"{folder}: no such folder. Name the folder of a run that recorded a data map (-v datamap).")
    candidates = [each for each in (folder, folder.datamap_stage) if each.dynamics.is_dir()]
    if candidates:
        # An empty folder says only that there was a recording once.
        return max(candidates, key=RunFolder.holds_recording)
    own, stage = (each.dynamics.relative_to(folder.path) for each in (folder, folder.datamap_stage))
    raise UserError(
        f"{folder}: expected {own}/ or {stage}/ in it, found neither: this run "
        "recorded no data map. Train the variant datamap, or one that needs a map, such as mapmix."
    )


def _read_subject(folder: RunFolder, options: argparse.Namespace) -> _Subject:
    task = Settings.of_run(folder).task
    config = _region_settings(task, options)
    # The run keeps the labels it was trained with; a file beside the data may have changed since.
    corpus = Corpus(options.data or task.data.directory, task.labels)
    manifest = corpus.manifest("train")
    recorded = read_map(
        folder.dynamics,
        manifest,
        corpus.labels,
        config,
        skip_first=options.skip_first,
        keep_first=options.keep_first,
    )
    return _Subject(manifest, corpus.labels, corpus.labels.class_indices(manifest), config, recorded)


def _region_settings(task: TaskConfig, options: argparse.Namespace) -> DatamapConfig:
    """Put the flags over the run's settings, under the same limits.

    Raises
    ------
    UserError : a value out of its limits, or a flag of the rule that is not used.
    """
    names = (*REGION_FLAGS, "per_class")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    rule = RegionRule(given.get("regions", task.datamap.regions))
    other = RegionRule.QUANTILE if rule is RegionRule.FIXED else RegionRule.FIXED
    idle = [name for name in _FLAGS_OF_RULE[other] if given.get(name, False) is not False]
    if idle:
        raise UserError(
            f"--{idle[0].replace('_', '-')}: has no effect on regions {rule}. Add --regions {other}, or leave it out."
        )
    return task_config({"datamap": {**asdict(task.datamap), **given}}).datamap


def _find(subject: _Subject, count: int) -> Suspects:
    dynamics = subject.recorded.dynamics
    classes = len(subject.labels.classes)
    return find_suspects(dynamics.probabilities, dynamics.predictions, subject.gold, classes, count)


def _write_numbers(into: RunFolder, subject: _Subject, suspects: Suspects | None, *, overwrite: bool) -> list[Path]:
    """Write the files of numbers, all of them or, where one that differs is in the way, none."""
    columns, measures = subject.manifest.columns, subject.measures
    targets = [into.datamap, into.likeness, into.td_metrics, *([] if suspects is None else [into.suspects])]
    with ExitStack() as stack:
        written = {target: stack.enter_context(replace_when_complete(target)) for target in targets}
        write_map(written[into.datamap], written[into.likeness], subject.manifest, subject.labels, subject.recorded)
        write_td_metrics(written[into.td_metrics], ids=columns["id"], measures=measures)
        if suspects is not None:
            write_suspects(
                written[into.suspects],
                suspects=suspects,
                manifest_columns=columns,
                classes=subject.labels.classes,
                measures=measures,
                regions=subject.regions,
            )
        replaced = [
            target
            for target, temporary in written.items()
            if target.exists() and not filecmp.cmp(temporary, target, shallow=False)
        ]
        if replaced and not overwrite:
            use = ", which a run may have been trained on" if replaced[0] in (into.datamap, into.likeness) else ""
            raise UserError(
                f"{replaced[0]}: is there already, with other content{use}. Write elsewhere by --into DIR, or "
                "replace it by --overwrite."
            )
    if into.datamap in replaced:
        # They are of the map that was there.
        for path in {into.suspects, into.datamap_by_class} - {*targets}:
            path.unlink(missing_ok=True)
    return targets


def _draw(into: RunFolder, subject: _Subject, *, by_class: bool) -> list[Path]:
    paths = [into.datamap_figure]
    draw_datamap(paths[0], subject.measures, subject.regions, subject.config)
    if by_class:
        paths.append(into.datamap_by_class)
        classes, gold = subject.labels.classes, subject.gold
        draw_by_class(paths[1], subject.measures, subject.regions, subject.config, classes=classes, gold=gold)
    return paths


def _print_paths(paths: Sequence[Path]) -> None:
    for path in paths:
        print(f"  {path}")


def make_datamap_parser() -> argparse.ArgumentParser:
    """Return the parser of ``lid-mapmix datamap``; flags of the regions that are not given are None."""
    parser = argparse.ArgumentParser(
        "lid-mapmix datamap",
        description="Compute the data map of a run again, draw it, and list suspicious labels. Trains nothing.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("expdir", metavar="EXPDIR", help="folder of a run that recorded a data map, or has one in EXPDIR/datamap")
    add("--data", metavar="DIR", help="folder of train.csv and labels.yaml; default: the one of the run")
    add("--into", metavar="DIR", help="where to write; default: the folder that has the recorded epochs")
    add("--overwrite", action="store_true", help="replace a map, or list of suspects, that differs")
    add("--by-class", action="store_true", help="also draw datamap-by-class.png, a panel a class")
    add("--suspects", type=_count, metavar="N", help="list the N likeliest label errors, and write suspects.csv")
    add("--debug", action="store_true", help="show the traceback of an error")
    epochs = parser.add_argument_group("epochs that count (default: all that are complete)").add_argument
    epochs("--skip-first", type=count_or_none, default=0, metavar="K", help="leave out the first K")
    epochs("--keep-first", type=_count, metavar="K", help="of those that are left take the first K")
    group = parser.add_argument_group("regions (default: as in the run)")
    for name, meaning in REGION_FLAGS.items():
        flag = f"--{name.replace('_', '-')}"
        if name == "regions":
            group.add_argument(flag, choices=["fixed", "quantile"], help=meaning)
        else:
            group.add_argument(flag, type=float, metavar="X", help=meaning)
    whose = group.add_mutually_exclusive_group()
    whose.add_argument("--per-class", dest="per_class", action="store_true", default=None, help="shares of each class")
    whose.add_argument("--global", dest="per_class", action="store_false", help="shares of all utterances")
    return parser


def _count(text: str) -> int:
    return _at_least(text, 1)


def count_or_none(text: str) -> int:
    """Return the whole number from 0 up in a flag's text."""
    return _at_least(text, 0)


def _at_least(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from {least} up")
    return number
