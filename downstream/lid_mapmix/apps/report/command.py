"""What ``lid-mapmix report`` does, and what a training run does at its end."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from ...utils.errors import UserError
from ...utils.files import write_text
from ...utils.run_folder import RunFolder

if TYPE_CHECKING:
    from ...data.corpus import Corpus
    from .gather import Findings

logger = logging.getLogger(__name__)
GENERATOR = "lid-mapmix report"
# What of a page says whose it is stands at its beginning.
_HEAD_BYTES = 2000
_EXAMPLES = """\
examples:
  of a trained run, into result/downstream/first/report.html:
    lid-mapmix report result/downstream/first
  of its dev scores, elsewhere:
    lid-mapmix report result/downstream/first --split dev --out first-dev.html
  the audio has moved since:
    lid-mapmix report result/downstream/first --data /mnt/corpora/demo
"""


def make_report(options: argparse.Namespace) -> None:
    """Write the page that the flags ask for, and print where it is.

    Raises
    ------
    UserError : no such run, no scores, a file that cannot be read, or one in the way that is no report.
    """
    from ...data.corpus import Corpus  # noqa: PLC0415 - the help needs neither NumPy nor torch
    from .gather import choose_split, gather  # noqa: PLC0415

    folder = RunFolder(Path(options.expdir))
    split = choose_split(folder, options.split)
    path = Path(options.out) if options.out else folder.report
    _refuse_others(path)
    findings = gather(folder, split)
    data = Path(options.data) if options.data else findings.data_directory
    _write(path, findings, None if data is None else Corpus(str(data), findings.labels.clusters))
    print(f"{path}: {split} of {folder}, {path.stat().st_size / 1e6:.1f} MB; open it in a browser")


def try_report(folder: RunFolder, split: str, corpus: "Corpus") -> Path | None:
    """Write the page of a run that has ended; where that fails, say so and leave the run as complete as it is.

    Parameters
    ----------
    folder, split : of the run.
    corpus : its data.
    """
    from .gather import choose_split, gather  # noqa: PLC0415

    path = folder.report
    try:
        _refuse_others(path)
        _write(path, gather(folder, choose_split(folder, split)), corpus)
    # Whatever it is: a page is not worth a run, and the command writes it again.
    except Exception as error:  # noqa: BLE001
        reason = " ".join(str(error).split())
        logger.warning("%s was not written: %s", path, reason or type(error).__name__)
        return None
    return path


def _write(path: Path, findings: "Findings", corpus: "Corpus | None") -> None:
    """Write the page of a split, complete or not at all; without its data no audio is in it."""
    from .clips import worst_clips  # noqa: PLC0415
    from .gather import read_curves  # noqa: PLC0415
    from .page import render  # noqa: PLC0415

    try:
        manifest = None if corpus is None else corpus.manifest(findings.split)
    except UserError:  # the data have moved; the page says so
        manifest = None
    data = None if corpus is None else corpus.directory
    write_text(path, render(findings, read_curves(findings.folder.path), worst_clips(findings, manifest), data))


def _refuse_others(path: Path) -> None:
    """Refuse to write over what is no report."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder; expected a file to write. Name one by --out FILE.")
    if path.exists():
        with path.open("rb") as file:
            if f'content="{GENERATOR}"'.encode() not in file.read(_HEAD_BYTES):
                raise UserError(f"{path}: is there already, and is no report. Write elsewhere by --out FILE.")


def make_report_parser() -> argparse.ArgumentParser:
    """Return the parser of ``lid-mapmix report``; flags that are not given are None."""
    parser = argparse.ArgumentParser(
        GENERATOR,
        description="Write one HTML page of a run: scores, pictures, the worst utterances to hear, its settings. "
        "The page needs no network and no other file.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("expdir", metavar="EXPDIR", help="folder of a run that has scored a split")
    add("--split", metavar="SPLIT", help="whose scores; default: test, or dev where test was not scored")
    add("--data", metavar="DIR", help="folder of SPLIT.csv, whose audio is played; default: the one of the run")
    add("--out", metavar="FILE", help="the page to write; default: EXPDIR/report.html")
    add("--debug", action="store_true", help="show the traceback of an error")
    return parser
