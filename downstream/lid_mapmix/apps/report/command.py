"""What ``lid-mapmix report`` does, and what a training run does at its end."""

import argparse
import logging
from pathlib import Path

from ...errors import UserError
from ..run_folder import REPORT_NAME, write_text
from .clips import worst_clips
from .curves import read_curves
from .gather import choose_split, gather
from .page import GENERATOR, render

logger = logging.getLogger(__name__)
# What of a page says whose it is stands at its beginning.
_HEAD_BYTES = 2000


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
