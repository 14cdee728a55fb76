"""Where a run keeps its checkpoints, which of them to take, and how one is read before anything is built from it."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import torch

from .errors import UserError
from .results import BEST_CHECKPOINT


def checkpoints(folder: Path) -> list[Path]:
    """List the states-STEP.ckpt of a run, the latest last."""
    found = [path for path in folder.glob("states-*.ckpt") if path.stem.removeprefix("states-").isdigit()]
    return sorted(found, key=lambda path: int(path.stem.removeprefix("states-")))


def holds_run(folder: Path) -> bool:
    """Say whether there is a checkpoint to go on from."""
    return bool(checkpoints(folder)) or (folder / BEST_CHECKPOINT).is_file()


def choose_checkpoint(past: Path, mode: str) -> Path:
    """Return the checkpoint that -e names: a file; in a folder the latest to train on, the best to use.

    Where there is no such one it is the other: a run may be stopped before its first regular checkpoint, and the best
    one holds all that training needs as well.

    Raises
    ------
    UserError : nothing there.
    """
    if not past.is_dir():
        return past
    if not holds_run(past):
        raise UserError(f"{past}: holds no states-*.ckpt and no {BEST_CHECKPOINT}. Name the folder of a trained run.")
    best = [path for path in (past / BEST_CHECKPOINT,) if path.is_file()]
    candidates = best + checkpoints(past) if mode == "train" else checkpoints(past) + best
    return candidates[-1]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the states in a checkpoint of S3PRL's; its tensors stay in the file until they are looked at.

    Raises
    ------
    UserError : no such file, a damaged one, or none that S3PRL's runner has written.
    """
    # S3PRL keeps its arguments as they are; nothing else may be unpickled.
    torch.serialization.add_safe_globals([Namespace])
    try:
        states = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint. Name one, or the folder of a run, by -e.") from None
    # torch.load has no error of its own: what a damaged file raises depends on where it is damaged.
    except Exception as error:
        raise UserError(f"{path}: is damaged, or no checkpoint ({type(error).__name__}). Use another one.") from error
    is_sound = isinstance(states, dict) and {"Args", "Config"} <= states.keys()
    if not is_sound or not (isinstance(states["Args"], Namespace) and isinstance(states["Config"], dict)):
        raise UserError(f"{path}: is no checkpoint of S3PRL's runner. Name a states-*.ckpt or {BEST_CHECKPOINT}.")
    return states
