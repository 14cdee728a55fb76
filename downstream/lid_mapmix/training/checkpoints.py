"""Checkpoints of S3PRL's runner: read without running anything, and checked before anything is built from them.

What the task keeps in a checkpoint besides weights: its form, and what is checked of it before it is used.

=================== =============================================================================================
key                 content
=================== =============================================================================================
version             int, of this form
classes             list of str, the classes in order
best_accuracy       float, the best on dev so far; -1 where there is none
run                 None where nothing is trained, else a dict of these:
run.position        None before the first epoch, else [epoch, batches of it that are behind]
run.curriculum      dict, see curriculum.py
run.recording       None where no dynamics are recorded, else a dict, see mapmix/dynamics.py
=================== =============================================================================================
"""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..utils.errors import UserError
from ..utils.run_folder import BEST_CHECKPOINT

STATE_VERSION = 3


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


def check_state(state: Any) -> None:
    """Check the form of the state, as far as whoever reads it relies on it.

    Raises
    ------
    UserError : something is missing, or of another type.
    """
    _check(isinstance(state, Mapping), "its state", "a mapping", state)
    _check(isinstance(state.get("version"), int), "version", "a whole number", state.get("version"))
    _check(_is_list_of(state.get("classes"), str), "classes", "a list of names", state.get("classes"))
    _check(_is_number(state.get("best_accuracy")), "best_accuracy", "a number", state.get("best_accuracy"))
    if state["version"] != STATE_VERSION:
        return  # whoever trains refuses it as a whole
    _check("run" in state and isinstance(state["run"], Mapping | None), "run", "a mapping or None", state.get("run"))
    run = state["run"]
    if run is None:
        return
    position = run.get("position")
    is_place = _is_list_of(position, int) and len(position) == 2 and min(position) >= 0  # noqa: PLR2004
    _check("position" in run and (position is None or is_place), "run.position", "[epoch, batches]", position)
    _check(isinstance(run.get("curriculum"), Mapping), "run.curriculum", "a mapping", run.get("curriculum"))
    recording = run.get("recording")
    _check(isinstance(recording, Mapping | None), "run.recording", "a mapping or None", recording)


def _check(is_right: bool, place: str, expected: str, found: Any) -> None:
    if not is_right:
        raise UserError(
            f"the checkpoint is damaged or of another program: expected {place} to be {expected}, found "
            f"{str(found)[:80]}. Use another one."
        )


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(each, kind) and not isinstance(each, bool) for each in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
