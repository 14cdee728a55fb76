"""``lid-mapmix datamap EXPDIR``: the data map of recorded epochs, other regions of it, its picture, its suspects.

Writes datamap.csv and class_similarity.csv (byte for byte those of the run unless a flag changes them),
td_metrics.jsonl (mapmix/datamap_files.py), datamap.png and, by flags, datamap-by-class.png and suspects.csv.
runs/recorded_datamap.py computes them.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ...utils.argument_types import add_deprecated, whole_number_from
from ...utils.errors import UserError
from ...utils.run_folder import RunFolder

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
# A test holds them together with RegionRule, whose module imports NumPy.
_RULES = ("fixed", "quantile")
REGION_FLAGS = {
    "regions": "fixed: the four thresholds; quantile: the two shares",
    "easy_confidence": "fixed: easy has confidence above this …",
    "easy_variability": "… and variability below this",
    "hard_confidence": "fixed: hard has confidence below this …",
    "hard_variability": "… and variability below this",
    "easy_fraction": "quantile: share of utterances, the most confident ones, that is easy",
    "hard_fraction": "quantile: share of utterances, the least confident ones, that is hard",
}


def make_datamap_parser() -> argparse.ArgumentParser:
    """Return the parser of ``lid-mapmix datamap``; flags of the regions that are not given are None."""
    parser = argparse.ArgumentParser(
        "lid-mapmix datamap",
        description="Compute the data map of a run again, draw it, and list suspicious labels. Trains nothing.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    count = whole_number_from(1)
    add = parser.add_argument
    add("expdir", metavar="EXPDIR", help="folder of a run that recorded a data map, or has one in EXPDIR/datamap")
    add("--data", metavar="DIR", help="folder of train.csv and labels.yaml; default: the one of the run")
    add("--into", metavar="DIR", help="where to write; default: the folder that has the recorded epochs")
    add("--overwrite", action="store_true", help="replace a map, or list of suspects, that differs")
    add("--by-class", action="store_true", help="also draw datamap-by-class.png, a panel a class")
    add("--suspects", type=count, metavar="N", help="list the N likeliest label errors, and write suspects.csv")
    add("--debug", action="store_true", help="show the traceback of an error")
    epochs = parser.add_argument_group("epochs that count (default: all that are complete)").add_argument
    epochs("--skip-first", type=whole_number_from(0), default=0, metavar="K", help="leave out the first K")
    epochs("--keep-first", type=count, metavar="K", help="of those that are left take the first K")
    group = parser.add_argument_group("regions (default: as in the run)")
    for name, meaning in REGION_FLAGS.items():
        flag = f"--{name.replace('_', '-')}"
        if name == "regions":
            group.add_argument(flag, choices=_RULES, help=meaning)
        else:
            group.add_argument(flag, type=float, metavar="X", help=meaning)
    for region in ("easy", "hard"):
        add_deprecated(parser, f"--{region}-share", f"--{region}-fraction")
    whose = group.add_mutually_exclusive_group()
    whose.add_argument("--per-class", dest="per_class", action="store_true", default=None, help="shares of each class")
    whose.add_argument("--global", dest="per_class", action="store_false", help="shares of all utterances")
    return parser


def make_map(options: argparse.Namespace) -> None:
    """Do what the flags ask for, and print what came of it.

    Raises
    ------
    UserError : no such run, other data, wrong settings, nothing left of the epochs, or another map in the way.
    """
    # Imported here, once the flags are known to be right: torch takes seconds.
    from ..runs.recorded_datamap import RecordedDatamap  # noqa: PLC0415

    folder = _recorded_folder(RunFolder(Path(options.expdir)))
    regions = {name: getattr(options, name) for name in (*REGION_FLAGS, "per_class")}
    datamap = RecordedDatamap.read(
        folder, options.data, regions, skip_first=options.skip_first, keep_first=options.keep_first
    )
    into = RunFolder(Path(options.into)) if options.into else folder
    suspects = datamap.suspects(options.suspects) if options.suspects else None
    print(f"{folder}: {len(datamap.manifest)} utterances, epochs {', '.join(map(str, datamap.epochs))}\n")
    print(datamap.region_table())
    if suspects is not None:
        print(f"\n{datamap.suspect_tables(suspects)}")
    # A run may be training there, in the folder of this map or in any other.
    with into.held("write elsewhere by --into DIR"):
        numbers = datamap.write_numbers(into, suspects, overwrite=options.overwrite)
        print("\nwritten:")
        # Said at once: the numbers are there even where the picture cannot be drawn.
        _print_paths(numbers)
        _print_paths(datamap.draw(into, by_class=options.by_class))


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


def _print_paths(paths: Sequence[Path]) -> None:
    for path in paths:
        print(f"  {path}")
