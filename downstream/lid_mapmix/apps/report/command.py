"""``lid-mapmix report``, and the report that a training run writes at its end."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ...utils.command_line import CommandParser
from ...utils.errors import UserError
from ...utils.files import warn_if_not_written, write_text
from ...utils.run_folder import RunFolder

if TYPE_CHECKING:
    from ...data.corpus import Corpus
    from .gather import Findings

GENERATOR = "lid-mapmix report"
# The meta tag that names the generator is within these first bytes of a page.
_HEAD_BYTES = 2000
_EXAMPLES = """\
examples:
  the report of a trained run, as result/downstream/first/report.html:
    lid-mapmix report result/downstream/first
  the report of its dev split, in another file:
    lid-mapmix report result/downstream/first --split dev --out first-dev.html
  with audio that has moved:
    lid-mapmix report result/downstream/first --data /mnt/corpora/demo
"""


def make_report(options: argparse.Namespace) -> None:
    """Write the page and print its path.

    Raises UserError: the run or its scores do not exist, a file cannot be read, or the output exists and is not a
    report.
    """
    from ...data.corpus import Corpus  # noqa: PLC0415 - the help needs neither NumPy nor torch
    from .gather import choose_split, gather  # noqa: PLC0415

    folder = RunFolder(options.run)
    split = choose_split(folder, options.split)
    path = options.out or folder.report
    _refuse_others(path)
    findings = gather(folder, split)
    data = Path(options.data) if options.data else findings.data_directory
    _write(path, findings, None if data is None else Corpus(str(data), findings.labels.clusters))
    print(f"{path}: {split} of {folder}, {path.stat().st_size / 1e6:.1f} MB. Open it in a browser.")


def try_report(folder: RunFolder, split: str, corpus: "Corpus") -> Path | None:
    """Write the page of a finished run; log a warning if that fails. `folder`, `split`: of the run."""
    from .gather import choose_split, gather  # noqa: PLC0415

    path = folder.report
    with warn_if_not_written(path):
        _refuse_others(path)
        _write(path, gather(folder, choose_split(folder, split)), corpus)
        return path
    return None


def _write(path: Path, findings: "Findings", corpus: "Corpus | None") -> None:
    """Write the page of a split, complete or not at all; without a corpus it has no audio."""
    from .clips import worst_clips  # noqa: PLC0415
    from .gather import read_curves  # noqa: PLC0415
    from .page import render  # noqa: PLC0415

    try:
        manifest = None if corpus is None else corpus.manifest(findings.split)
    except UserError:  # the data have moved; the page states it
        manifest = None
    data = None if corpus is None else corpus.directory
    write_text(path, render(findings, read_curves(findings.folder.path), worst_clips(findings, manifest), data))


def _refuse_others(path: Path) -> None:
    """Refuse to replace a file that is not a report."""
    if path.is_dir():
        raise UserError(f"{path}: expected a file to write, found a folder. Name a file by --out FILE.")
    if path.exists():
        with path.open("rb") as file:
            if f'content="{GENERATOR}"'.encode() not in file.read(_HEAD_BYTES):
                raise UserError(f"{path}: exists already, and is not a report. Name another file by --out FILE.")


def make_report_parser() -> CommandParser:
    """Return the parser of ``lid-mapmix report``; flags that are not given are None."""
    parser = CommandParser(
        GENERATOR,
        description="Write an HTML report of a run: scores, figures, the worst utterances with audio, settings.\n"
        "It is one file that needs no network. An earlier report is replaced.",
        epilog=_EXAMPLES,
    )
    parser.add_run("folder of a trained run with the scores of a split")
    parser.add_split("default: test, or dev if test was not scored", default=None)
    parser.add_argument("--data", metavar="DIR", help="folder with SPLIT.csv, for audio; default: that of the run")
    parser.add_out("file to write; default: RUN/report.html", metavar="FILE")
    return parser
