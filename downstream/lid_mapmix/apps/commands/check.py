"""``lid-mapmix check DATA``: faults of a corpus, found before training.

The checks are in data/check/, their thresholds in data/check/thresholds.py.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...utils.command_line import STANDARD_OUTPUT, CommandParser, whole_number_from
from ...utils.errors import UserError
from ...utils.files import write_text
from ...utils.one_line import printable_json
from ...utils.threads import usable_cores

if TYPE_CHECKING:
    from ...data.check.corpus_check import CheckedFolder

_EXAMPLES = """\
examples:
  check manifests and audio headers (seconds for thousands of files):
    lid-mapmix check data/demo
  decode all audio as well, and write the findings as JSON:
    lid-mapmix check data/demo --deep --json report.json
  write a cleaned copy, and train on it if it is safe:
    lid-mapmix check DATA --deep --fix --out DATA-clean && lid-mapmix run -u fbank --data DATA-clean

exit status:
  0  safe to train: no errors; there may be warnings
  1  not safe to train: errors were found, or nothing could be checked; with --fix, the status of the cleaned copy
  2  wrong flags

Not detected: a wrong sample rate in the header (unless the header contradicts itself; with exact lengths in the
manifest, the audio is shorter or longer); the same recording with another encoding, level or offset; a band limit that
is hidden by noise added later, or by upsampling without a filter.
"""


class _Parser(CommandParser):
    """Accepts ``--fix DIR``, the deprecated spelling of ``--fix --out DIR``."""

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse; a word after --fix is the value of --out unless there is an --out."""
        words = list(sys.argv[1:] if args is None else args)
        if "--fix" in words and not any(word.partition("=")[0] == "--out" for word in words):
            after = words.index("--fix") + 1
            if after < len(words) and not words[after].startswith("-"):
                words.insert(after, "--out")
                self.warn_deprecated("--fix DIR", "--fix --out DIR")
        options, unknown = super().parse_known_args(words, namespace)
        if options.fix != (options.out is not None):
            self.error("--fix and --out: expected both or neither")
        return options, unknown


def make_check_parser() -> CommandParser:
    """Return the parser of ``lid-mapmix check``."""
    parser = _Parser(
        "lid-mapmix check",
        description="Check a corpus before training. Changes no manifest and no audio; beside a manifest of more than "
        "1,000 utterances it records the lengths of their audio, so that training need not read all headers.",
        epilog=_EXAMPLES,
    )
    add = parser.add_argument
    add("data", metavar="DATA", help="folder with train.csv, dev.csv, test.csv and labels.yaml, or some of them")
    add("--deep", action="store_true", help="decode all audio: silence, duplicates, band limits, …")
    parser.add_json("write all findings, with the ids of all utterances affected,")
    add(
        "--fix",
        action="store_true",
        help="write a cleaned corpus to --out: manifests and the list of dropped utterances",
    )
    parser.add_out("folder that --fix writes; audio is not copied")
    parser.add_overwrite("the FILE of --json")
    add(
        "--threads",
        type=whole_number_from(1),
        default=usable_cores(),
        metavar="N",
        help="threads that read audio; default: %(default)s",
    )
    return parser


def check_data(options: argparse.Namespace) -> None:
    """Check a corpus, and print or write the findings.

    Raises UserError: training is not safe; the folder does not exist, a manifest cannot be read, or an output exists.
    """
    # Imported here, after the flags were parsed: the readers of audio take seconds.
    from ...data.check.cleaning import refuse_what_is_there  # noqa: PLC0415
    from ...data.check.corpus_check import CheckedFolder  # noqa: PLC0415
    from ...data.check.subject import Subject  # noqa: PLC0415

    folder, out = Path(options.data), options.out
    if options.json not in (None, STANDARD_OUTPUT) and Path(options.json).exists() and not options.overwrite:
        raise UserError(f"{options.json}: exists already. Name another file by --json, or replace it by --overwrite.")
    if out:
        refuse_what_is_there(out)
    checked = CheckedFolder.of(folder, Subject.read(folder, deep=options.deep, threads=options.threads))
    checked.record_lengths()
    if out:
        try:
            checked = checked.fix(out)
        except (UserError, OSError):
            # The findings may have taken hours: they are written also if the copy cannot be.
            _write_findings(checked, options.json)
            raise
    _write_findings(checked, options.json)
    checked.refuse_errors()


def _write_findings(checked: "CheckedFolder", json_file: str | None) -> None:
    """Write the findings as JSON if asked to, and print them as JSON or as a table."""
    if json_file is not None:
        text = printable_json(json.dumps(checked.summary(), indent=1, ensure_ascii=False))
        if json_file == STANDARD_OUTPUT:
            print(text)
            return
        write_text(json_file, text + "\n")
    print(checked.table())
