"""Checks of a checkpoint of S3PRL's runner before it is used, and the files that a resumed run copies."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..utils.errors import UserError
from ..utils.files import copy_file
from ..utils.run_folder import BEST_CHECKPOINT, RunFolder
from .checkpoints import read_checkpoint
from .dynamics import copy_epochs, first_unrecorded


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


def kept_state(path: Path) -> dict[str, Any]:
    """Return the state of the task in a checkpoint, which is everything except weights."""
    return read_checkpoint(path)["Downstream"]["_extra_state"]


def _first_unrecorded(run: dict[str, Any] | None) -> int:
    if run is None or run["position"] is None:
        return 0
    epoch, recording = run["position"][0], run["recording"]
    return epoch if recording is None else first_unrecorded(epoch, recording)
