"""The command line of ``lid-mapmix check``; nothing here imports NumPy, so that its help is there at once."""

import argparse
import os

_EXAMPLES = """\
examples:
  headers and manifests, seconds for thousands of files:
    lid-mapmix check data/demo
  every sample as well, and the answer for a program:
    lid-mapmix check data/demo --deep --json report.json
  a folder without what is wrong, and training on it if it is safe:
    lid-mapmix check DATA --deep --fix DATA-clean && lid-mapmix run -u fbank --data DATA-clean

exit status:
  0  safe to train: no error; there may be warnings
  1  not safe: errors were found, or nothing could be checked; with --fix it speaks of the folder OUT
  2  wrong flags

What cannot be seen: audio whose header names a wrong rate, unless the header contradicts itself or the manifest has
exact lengths; the same recording coded anew, louder or shifted; a band limit under noise that was added later, or of
audio that was upsampled without a filter.
"""


def make_check_parser() -> argparse.ArgumentParser:
    """Return the parser of ``lid-mapmix check``."""
    parser = argparse.ArgumentParser(
        "lid-mapmix check",
        description="Look for what is wrong with a corpus before training on it. Changes nothing.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("data", metavar="DATA", help="folder of train.csv, dev.csv, test.csv and labels.yaml, as far as there are")
    add("--deep", action="store_true", help="decode all audio: silence, clipping, duplicates, band limits, …")
    add(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write all that was found as JSON, with the ids of all utterances of a fault; without FILE, print it in "
        "place of the table",
    )
    add("--fix", metavar="OUT", help="write a new folder without what is wrong, and what was dropped; audio stays")
    add(
        "--threads",
        type=_threads,
        default=os.cpu_count() or 1,
        metavar="N",
        help="that read audio; default: %(default)s",
    )
    add("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _threads(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 1 up")
    return int(text)
