"""The folder of a run: what it holds, who may write there, and what is never deleted.

Nothing is removed but what a run leaves under its own names, and nothing is written over unless asked.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from ..evaluation.dev_calibration import CALIBRATION_NAME
from ..evaluation.results import BEST_CHECKPOINT
from ..utils.errors import UserError
from ..utils.files import replace_when_complete
from .bad_audio import BAD_AUDIO_NAME
from .checkpoints import checkpoints
from .dynamics import DYNAMICS_NAME, forget_recording, holds_recording

_SCORED_SPLITS = ("dev", "test")
REPORT_NAME = "report.html"
PARAMETERS_NAME = "parameters.json"
_SCORE_FILES = (
    *("scores.csv", "metrics.json", "predict.txt", "truth.txt"),
    *("latents.npz", "truncation.json", "truncation.png"),
)


@contextmanager
def only_one(expdir: Path, otherwise: str = "choose another folder by -n or -p") -> Iterator[None]:
    """Keep a second process out of a folder in which one is at work; the folder is made where absent.

    Parameters
    ----------
    expdir : the folder.
    otherwise : what its user can do in place of waiting.

    Raises
    ------
    UserError : another process is at work there.
    """
    expdir.mkdir(parents=True, exist_ok=True)
    lock = expdir / ".lock"
    try:
        with FileLock(lock, timeout=0):
            try:
                yield
            finally:
                # A run that was refused leaves no trace.
                if list(expdir.iterdir()) == [lock]:
                    lock.unlink()
                    expdir.rmdir()
    except Timeout:
        raise UserError(
            f"{expdir}: another process is training or writing there. Wait for it, or {otherwise}."
        ) from None


def refuse_held(expdir: Path, *, resumes: bool = False) -> None:
    """Refuse to train anew in a folder that holds a run.

    Parameters
    ----------
    expdir : the folder.
    resumes : a run that was stopped before its first checkpoint is no obstacle: its epochs and their scores come again.

    Raises
    ------
    UserError : it does.
    """
    held = [path.name for path in _run_files(expdir)]
    scored = {path.name for path in score_files(expdir, "dev")}
    # A run that is complete has a report.
    if resumes and scored.issuperset(held) and not (expdir / REPORT_NAME).is_file():
        return
    if not held and holds_recording(expdir) and not resumes:
        held = [f"{DYNAMICS_NAME}/"]
    if held:
        remedy = "Start anew by --overwrite" if resumes else "Go on with it by -a, start anew by --overwrite,"
        raise UserError(f"{expdir}: already holds a run ({held[-1]}). {remedy} or choose another folder by -n or -p.")


def clear(expdir: Path, *, spare_recording: bool = False) -> None:
    """Delete what a run has left, which would pass for that of the run that takes its place.

    Parameters
    ----------
    expdir : the folder.
    spare_recording : leave recorded epochs and their data map, on which the new run is to train.
    """
    for path in _run_files(expdir):
        path.unlink()
    # Bad audio by itself is no run: one that has ended for too much of it is begun anew once that is mended.
    for name in (REPORT_NAME, PARAMETERS_NAME, BAD_AUDIO_NAME):
        (expdir / name).unlink(missing_ok=True)
    # A data map without the epochs that it was made from is nobody's but the user's.
    if holds_recording(expdir) and not spare_recording:
        forget_recording(expdir)


def score_files(expdir: Path, split: str) -> list[Path]:
    """List the scores of a split that are there."""
    return [path for path in (expdir / f"{split}_{name}" for name in _SCORE_FILES) if path.is_file()]


def _run_files(expdir: Path) -> list[Path]:
    """List what a run has left in a folder, by the very names it gives; nothing else is ever deleted."""
    best = [path for path in (expdir / CALIBRATION_NAME, expdir / BEST_CHECKPOINT) if path.is_file()]
    return best + [path for split in _SCORED_SPLITS for path in score_files(expdir, split)] + checkpoints(expdir)


def keep_settings(expdir: Path, args: argparse.Namespace, config: dict[str, Any]) -> None:
    """Save S3PRL's arguments and the merged configuration beside the run, under the names S3PRL gives them."""
    tag = datetime.now().strftime("%Y-%m-%d-%H-%M-%S")
    for name, content in (("args", vars(args)), ("config", config)):
        write_text(expdir / f"{name}_{tag}.yaml", yaml.safe_dump(content, sort_keys=False))


def kept_settings(expdir: Path, name: str = "config") -> Path:
    """Return the file of the configuration (or of S3PRL's ``args``) that a run was last started with.

    Raises
    ------
    UserError : there is none.
    """
    found = sorted(expdir.glob(f"{name}_*.yaml"))
    if not found:
        raise UserError(
            f"{expdir}: expected {name}_*.yaml, the settings a run keeps, found none. Name the folder the run was "
            "trained in."
        )
    return found[-1]


def write_text(path: Path, text: str) -> None:
    """Write a file, complete or not at all."""
    with replace_when_complete(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
