"""The command line of ``lid-mapmix truncation``; nothing here imports torch, so that its help is there at once."""

import argparse
import math

_EXAMPLES = """\
examples:
  how scores fall with the length of what is heard:
    lid-mapmix truncation result/downstream/first
  other durations, of the dev split, which lies elsewhere now:
    lid-mapmix truncation result/downstream/first --split dev --data DATA --seconds 0.5,1,2,4
"""
_SECONDS = "1,2,3,5,10,20,30"
# Under 25 ms there is no frame.
_LEAST_SECONDS = 0.025


def make_truncation_parser() -> argparse.ArgumentParser:
    """Return the parser of ``lid-mapmix truncation``."""
    parser = argparse.ArgumentParser(
        "lid-mapmix truncation",
        description="Score the utterances of a split cut to several durations, each from its start on; one that is "
        "shorter keeps its length. Writes EXPDIR/SPLIT_truncation.json and .png, and nothing else.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("expdir", metavar="EXPDIR", help="folder of a trained run")
    add("--data", metavar="DIR", help="folder of SPLIT.csv; default: the one of the run")
    add("--split", default="test", metavar="SPLIT", help="default: test")
    add("--seconds", type=_durations, default=_SECONDS, metavar="LIST", help=f"durations; default: {_SECONDS}")
    add("--overwrite", action="store_true", help="replace the curve that is there")
    add("--device", help="cuda, cuda:1, cpu; default: cuda where there is one")
    add("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _durations(text: str) -> list[float]:
    try:
        seconds = [float(part) for part in text.split(",")]
    except ValueError:
        seconds = []
    if not seconds or not all(_LEAST_SECONDS <= each < math.inf for each in seconds):
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected durations from {_LEAST_SECONDS} seconds up, such as {_SECONDS}"
        )
    return sorted(set(seconds))
