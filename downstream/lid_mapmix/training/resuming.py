"""What of a checkpoint of S3PRL's runner is checked before it is used, and what goes with it to another folder."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..utils.errors import UserError
from ..utils.files import copy_file
from ..utils.run_folder import BEST_CHECKPOINT, RunFolder
from .checkpoints import read_checkpoint
from .dynamics import copy_epochs, first_to_come


def check_complete(path: Path, states: Mapping[str, Any], mode: str) -> None:
    """Check that a checkpoint has all that S3PRL would go on without, from fresh weights or at another step.

    Parameters
    ----------
    path : of the checkpoint.
    states : in it.
    mode : train, evaluate or inference.

    Raises
    ------
    UserError : a part is missing.
    """
    needed = ["Featurizer", "Downstream"]
    if getattr(states["Args"], "upstream_trainable", False):
        needed.append("Upstream")
    if mode == "train":
        needed += ["Optimizer", "Step", "Epoch"]
        if states["Config"].get("scheduler"):
            needed.append("Scheduler")
    if missing := [name for name in needed if name not in states]:
        raise UserError(f"{path}: has no {', '.join(missing)}, which every checkpoint has. Use another one.")


@dataclass(frozen=True)
class Past:
    """What a run that goes on in another folder takes with it.

    Attributes
    ----------
    folder : of the run that the checkpoint is of.
    first_to_come : the first epoch that is not recorded as a whole there.
    has_best : its best checkpoint, and the dev scores of that, are those of the run up to the checkpoint.
    """

    folder: RunFolder
    first_to_come: int
    has_best: bool

    @classmethod
    def of(cls, checkpoint: Path) -> "Past":
        """Read it from a checkpoint that the runner has loaded, so that it is known to be sound."""
        state, best = kept_state(checkpoint), checkpoint.with_name(BEST_CHECKPOINT)
        has_best = False
        # Where it cannot be read, the best is looked for anew.
        with suppress(UserError, KeyError, TypeError):
            # A run that went on from the checkpoint may have found a better one since.
            has_best = best.is_file() and kept_state(best)["best_accuracy"] == state["best_accuracy"]
        return cls(RunFolder(checkpoint.parent), _first_to_come(state["run"]), has_best)

    def copy_to(self, folder: RunFolder, *, records: bool) -> None:
        """Copy it to the folder in which the run is resumed.

        Parameters
        ----------
        folder : of the resumed run.
        records : the run records its dynamics.
        """
        if records:
            copy_epochs(self.folder, folder, self.first_to_come)
        paths = [self.folder.bad_audio] if self.folder.bad_audio.is_file() else []
        if self.has_best:
            paths += [*self.folder.score_files("dev"), self.folder.best]
        for path in paths:
            copy_file(path, folder.path / path.name)


def kept_state(path: Path) -> dict[str, Any]:
    """Return what the task keeps in a checkpoint besides weights."""
    return read_checkpoint(path)["Downstream"]["_extra_state"]


def _first_to_come(run: dict[str, Any] | None) -> int:
    if run is None or run["position"] is None:
        return 0
    epoch, recording = run["position"][0], run["recording"]
    return epoch if recording is None else first_to_come(epoch, recording)
