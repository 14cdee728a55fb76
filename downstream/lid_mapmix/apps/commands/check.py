"""``lid-mapmix check DATA``: what is wrong with a corpus, before an hour is spent on training.

The checks are in data/check/, and the numbers they decide by in data/check/thresholds.py.
"""

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ...utils.argument_types import whole_number_from
from ...utils.errors import UserError
from ...utils.files import write_text

if TYPE_CHECKING:
    from ...data.check.corpus_check import CheckedFolder

_PRINTED = "-"
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
        const=_PRINTED,
        metavar="FILE",
        help="write all that was found as JSON, with the ids of all utterances of a fault; without FILE, print it in "
        "place of the table",
    )
    add("--fix", metavar="OUT", help="write a new folder without what is wrong, and what was dropped; audio stays")
    add(
        "--threads",
        type=whole_number_from(1),
        default=os.cpu_count() or 1,
        metavar="N",
        help="that read audio; default: %(default)s",
    )
    add("--debug", action="store_true", help="show the traceback of an error")
    return parser


def check_data(options: argparse.Namespace) -> None:
    """Check a corpus, and print or write what was found.

    Raises
    ------
    UserError : training is not safe; no such folder, a manifest that cannot be read, or something in the way of what
        is to be written.
    """
    # Imported here, once the flags are known to be right: the readers of audio take seconds.
    from ...data.check.cleaning import refuse_what_is_there  # noqa: PLC0415
    from ...data.check.corpus_check import CheckedFolder  # noqa: PLC0415
    from ...data.check.subject import Subject  # noqa: PLC0415

    folder = Path(options.data)
    if options.json not in (None, _PRINTED) and (report := Path(options.json)).exists():
        raise UserError(f"{report}: is there already. Name another file by --json, or take it away.")
    if options.fix:
        refuse_what_is_there(Path(options.fix))
    checked = CheckedFolder.of(folder, Subject.read(folder, deep=options.deep, threads=options.threads))
    if options.fix:
        try:
            checked = checked.fix(Path(options.fix))
        except (UserError, OSError):
            # What was found is not lost with it: it may have taken hours.
            _tell(checked, options.json)
            raise
    _tell(checked, options.json)
    checked.refuse_errors()


def _tell(checked: "CheckedFolder", json_file: str | None) -> None:
    """Write the findings to a file, if there is to be one, and print the same or a table."""
    if json_file is not None:
        text = json.dumps(checked.summary(), indent=1, ensure_ascii=False)
        if json_file == _PRINTED:
            print(text)
            return
        write_text(json_file, text + "\n")
    print(checked.table())
