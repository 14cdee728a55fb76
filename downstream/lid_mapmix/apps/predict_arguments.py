"""The command line of ``lid-mapmix predict``; nothing here imports torch, so that its help is there at once."""

import argparse
from enum import StrEnum
from pathlib import Path

_EXAMPLES = """\
examples:
  what is spoken in two recordings and in a folder of them; DIR is the folder of a run, or an exported one:
    lid-mapmix predict -e DIR one.wav two.mp3 recordings/
  the rows of a manifest (only its audiopath column is needed), all classes, as JSON lines:
    lid-mapmix predict -e DIR calls.csv --json > answers.jsonl
  from a pipe, a path a line:
    find / -name '*.flac' | lid-mapmix predict -e DIR -
  "none of these" for what is less certain than all but 5 % of dev:
    lid-mapmix predict -e DIR recordings/ --reject 0.05
  who speaks what when, as a label track for Audacity:
    lid-mapmix predict -e DIR debate.flac --format audacity --out debate.txt

Silence, noise and music are answered by "no speech". A recording that cannot be read is reported on standard error, the
others go on, and the exit status is 1.
"""


class Format(StrEnum):
    """How answers are written."""

    TEXT = "text"
    JSON = "json"
    AUDACITY = "audacity"
    RTTM = "rttm"


# Those that have a line a segment and nothing else.
TRACKS = (Format.AUDACITY, Format.RTTM)


def make_predict_parser() -> argparse.ArgumentParser:
    """Return the parser of ``lid-mapmix predict``."""
    parser = argparse.ArgumentParser(
        "lid-mapmix predict",
        description="Say which dialect or language is spoken in recordings, by a trained run.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "paths",
        nargs="+",
        metavar="PATH",
        help="audio file, folder (with all below it), manifest (.csv), or - for paths on standard input, one a line "
        "(paths, not audio)",
    )
    add_run_arguments(parser)
    add("--top", type=_count, metavar="K", help="list the K likeliest classes (default: 3; in JSON all)")
    add("--segments", action="store_true", help="say what is spoken when, in place of one answer a recording")
    add(
        "--format",
        type=Format,
        choices=list(Format),
        help="text (default); json: a line a recording; audacity, rttm: label tracks (with --segments)",
    )
    add("--json", dest="format", action="store_const", const=Format.JSON, help="the same as --format json")
    add("--out", type=Path, metavar="FILE", help="write there in place of standard output; not over a file")
    add("--overwrite", action="store_true", help="let --out replace a file")
    add(
        "--reject",
        type=_share,
        metavar="P",
        help="answer 'none of these' where the likeliest class has a (calibrated) probability below the P-quantile of "
        "what it has on dev: a share P of utterances of known languages is then rejected, by dev_scores.csv of DIR",
    )
    add("--any-sound", action="store_true", help="do not tell speech from other sounds; every sound is given a class")
    add("--debug", action="store_true", help="show the traceback of an error")
    return parser


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say which run to use, and where."""
    parser.add_argument(
        "-e", "--from", dest="run", required=True, type=Path, metavar="DIR", help="folder of a run, or an exported one"
    )
    parser.add_argument("-k", dest="weights", metavar="PATH", help="where the weights of the run's upstream lie now")
    parser.add_argument("--device", help="where to compute (default: a GPU where there is one)")


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, found {text!r}")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError(f"expected a share from 0 up to 1, such as 0.05, found {text!r}")
    return share
