"""Checkpoints of S3PRL's runner: read without executing code, checked before they are used, and copied to resume.

The task's own state in a checkpoint, which is everything except weights:

=================== =============================================================================================
key                 content
=================== =============================================================================================
version             int, version of this format
classes             list of str, the classes in order
best_accuracy       float, the best on dev so far; -1 if there is none
class_prior         list of float, the class priors that training has seen; absent in version 0.1.0, None if unknown
run                 None without training, else a dict of these:
run.position        None before the first epoch, else [epoch, number of its batches that are done]
run.curriculum      dict: data_map, digest of the regions or None
run.recording       None if no dynamics are recorded, else a dict, see mapmix/dynamics.py
=================== =============================================================================================
"""

from argparse import Namespace
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any

import torch

from ..data.labels import shorten
from ..utils.errors import UserError, is_of_the_system
from ..utils.files import copy_file, encodable_name
from ..utils.run_folder import BEST_CHECKPOINT, RunFolder
from .dynamics import copy_epochs, first_unrecorded

STATE_VERSION = 3
_CLASS_ROWS = ("model.classifier.2.weight", "model.classifier.2.bias")
# Types of S3PRL's arguments in a checkpoint that are used before S3PRL checks them.
_ARGUMENTS: Mapping[str, type | UnionType] = {
    "downstream": str,
    "expdir": str,
    "hub": str,
    "upstream": str,
    "upstream_ckpt": str | None,
    "upstream_model_config": str | None,
    "upstream_feature_selection": str,
    "upstream_layer_selection": int | None,
    "upstream_feature_normalize": bool,
    "upstream_trainable": bool | None,
    "seed": int,
}


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint of S3PRL's; tensors stay in the file until they are used.

    Raises UserError: no such file, a damaged one, or one that S3PRL's runner has not written.
    """
    # S3PRL pickles its arguments; nothing else may be unpickled.
    torch.serialization.add_safe_globals([Namespace])
    try:
        with encodable_name(path) as name:
            states = torch.load(name, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint. Name a checkpoint or the folder of a trained run.") from None
    # torch.load has no error class of its own: what a damaged file raises depends on where it is damaged.
    except Exception as error:
        if is_of_the_system(error):
            raise
        raise UserError(f"{path}: is damaged, or no checkpoint ({type(error).__name__}). Use another one.") from error
    is_sound = isinstance(states, dict) and {"Args", "Config"} <= states.keys()
    if not is_sound or not (isinstance(states["Args"], Namespace) and isinstance(states["Config"], dict)):
        raise UserError(f"{path}: is no checkpoint of S3PRL's runner. Pass a states-*.ckpt or {BEST_CHECKPOINT}.")
    for name, kind in _ARGUMENTS.items():
        if not isinstance(found := getattr(states["Args"], name, None), kind):
            raise UserError(
                f"{path}: expected {name} of type {kind}, found {ascii(found)[:80]}. Use another checkpoint."
            )
    return states


def kept_state(path: Path) -> dict[str, Any]:
    """Return the state of the task in a checkpoint, which is everything except weights."""
    return read_checkpoint(path)["Downstream"]["_extra_state"]


def check_complete(path: Path, states: Mapping[str, Any], mode: str) -> None:
    """Check that a checkpoint has every part; S3PRL would continue without one, from fresh weights or another step.

    Raises UserError: a part is missing.
    """
    needed = ["Featurizer", "Downstream"]
    if getattr(states["Args"], "upstream_trainable", False):
        needed.append("Upstream")
    if mode == "train":
        needed += ["Optimizer", "Step", "Epoch"]
        if states["Config"].get("scheduler"):
            needed.append("Scheduler")
    if missing := [name for name in needed if name not in states]:
        raise UserError(f"{path}: expected {', '.join(missing)} in the checkpoint, found none. Use another one.")


def check_state(state: Any) -> None:
    """Check the types in the task's state. Raises UserError: something is missing or has another type."""
    _check(isinstance(state, Mapping), "its state", "a mapping", state)
    _check(isinstance(state.get("version"), int), "version", "a whole number", state.get("version"))
    _check(_is_list_of(state.get("classes"), str), "classes", "a list of names", state.get("classes"))
    _check(_is_number(state.get("best_accuracy")), "best_accuracy", "a number", state.get("best_accuracy"))
    prior = state.get("class_prior")
    is_prior = isinstance(prior, list) and len(prior) == len(state["classes"])
    is_prior = prior is None or (is_prior and all(_is_number(each) and 0 < each <= 1 for each in prior))
    _check(is_prior, "class_prior", "a number above 0 per class", prior)
    if state["version"] != STATE_VERSION:
        return  # training refuses another version
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


def with_new_classes(trained: Any, fresh: Mapping[str, Any], path: Path) -> tuple[dict[str, Any], str]:
    """Return the task's part of a checkpoint with the classes of a new run, and a line that counts them.

    Classes of both have their trained rows of the classifier, others fresh ones. Raises UserError: none is of both.
    `trained`: from the checkpoint at `path`. `fresh`: of the new run.
    """
    check_state(trained.get("_extra_state") if isinstance(trained, Mapping) else None)
    grown = {**trained, "_extra_state": fresh["_extra_state"]}
    old, new = trained["_extra_state"]["classes"], grown["_extra_state"]["classes"]
    known, added, dropped = (sorted(each) for each in ({*old} & {*new}, {*new} - {*old}, {*old} - {*new}))
    if not known:
        raise UserError(
            f"{path}: expected one of the classes {shorten(new)}, found {shorten(old)}. Train without --new-classes."
        )
    for name in _CLASS_ROWS:
        rows = grown.pop(name, None)
        # Rows of another shape stay missing, which load_state_dict refuses.
        if isinstance(rows, torch.Tensor) and rows.shape == (len(old), *fresh[name].shape[1:]):
            grown[name] = fresh[name].clone()
            grown[name][[*map(new.index, known)]] = rows[[*map(old.index, known)]].to(fresh[name])
    counts = f"{len(known)} known, {len(added)} new ({shorten(added)}), {len(dropped)} dropped ({shorten(dropped)})"
    return grown, f"classes of {path}: {counts.replace(' ()', '')}"


@dataclass(frozen=True)
class Past:
    """What a run that is resumed in another folder copies from its old folder."""

    folder: RunFolder  # of the run that wrote the checkpoint
    first_unrecorded: int  # the first epoch that is not completely recorded there
    has_best: bool  # whether its best checkpoint, and the dev scores of that, are of the run up to the checkpoint

    @classmethod
    def of(cls, checkpoint: Path) -> "Past":
        """Read it from a checkpoint that the runner has already loaded, and so checked."""
        state, best = kept_state(checkpoint), checkpoint.with_name(BEST_CHECKPOINT)
        has_best = False
        # If it cannot be read, the best checkpoint is not copied.
        with suppress(UserError, KeyError, TypeError):
            # A run that continued after the checkpoint may have found a better one.
            has_best = best.is_file() and kept_state(best)["best_accuracy"] == state["best_accuracy"]
        return cls(RunFolder(checkpoint.parent), _first_unrecorded(state["run"]), has_best)

    def copy_to(self, folder: RunFolder, *, records: bool) -> None:
        """Copy the files to the folder in which the run is resumed."""
        if records:
            copy_epochs(self.folder, folder, self.first_unrecorded)
        paths = [self.folder.bad_audio] if self.folder.bad_audio.is_file() else []
        if self.has_best:
            paths += [*self.folder.score_files("dev"), self.folder.best]
        for path in paths:
            copy_file(path, folder.path / path.name)


def _first_unrecorded(run: dict[str, Any] | None) -> int:
    if run is None or run["position"] is None:
        return 0
    epoch, recording = run["position"][0], run["recording"]
    return epoch if recording is None else first_unrecorded(epoch, recording)


def _check(is_valid: bool, place: str, expected: str, found: Any) -> None:
    if not is_valid:
        raise UserError(
            f"the checkpoint is damaged or of another program: expected {place} to be {expected}, found "
            f"{str(found)[:80]}. Use another one."
        )


def _is_list_of(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(each, kind) and not isinstance(each, bool) for each in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
