"""What ``lid-mapmix report`` does, and what a training run does at its end."""

import argparse
import logging
from pathlib import Path

from ...training.run_folder import REPORT_NAME, write_text
from ...utils.errors import UserError
from .clips import worst_clips
from .curves import read_curves
from .gather import choose_split, gather
from .page import GENERATOR, render

logger = logging.getLogger(__name__)
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
    expdir = Path(options.expdir)
    split = choose_split(expdir, options.split)
    path = Path(options.out) if options.out else expdir / REPORT_NAME
    _refuse_others(path)
    write_report(path, expdir, split, Path(options.data) if options.data else None)
    print(f"{path}: {split} of {expdir}, {path.stat().st_size / 1e6:.1f} MB; open it in a browser")


def leave_report(expdir: Path, split: str, data: Path | None = None) -> Path | None:
    """Write the page of a run that has ended; where that fails, say so and leave the run as complete as it is.

    Parameters
    ----------
    expdir, split : of the run.
    data : as for :func:`write_report`.
    """
    path = expdir / REPORT_NAME
    try:
        _refuse_others(path)
        write_report(path, expdir, choose_split(expdir, split), data)
    # Whatever it is: a page is not worth a run, and the command writes it again.
    except Exception as error:  # noqa: BLE001
        reason = " ".join(str(error).split())
        logger.warning("%s was not written: %s", path, reason or type(error).__name__)
        return None
    return path


def write_report(path: Path, expdir: Path, split: str, data: Path | None) -> None:
    """Write the page of a split, complete or not at all.

    Parameters
    ----------
    path : of the page.
    expdir, split : of the run.
    data : folder of SPLIT.csv; None for the one in the run's settings.
    """
    findings = gather(expdir, split)
    data = data or findings.data_directory
    write_text(path, render(findings, read_curves(expdir), worst_clips(findings, data), data))


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
        "lid-mapmix report",
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
