"""The command line of ``lid-mapmix datamap``; nothing here imports torch, so that its help is there at once."""

import argparse

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
