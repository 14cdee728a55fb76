"""Length of a run in the steps that S3PRL's runner counts, and steps.json: its progress and its step time.

``{"step": steps done, "of": total steps, "first": steps done before this process, "seconds": since its first step}``.
The leaderboard estimates the remaining time from it; S3PRL's progress bar is for people.
"""

import json
import logging
import math
import time
from collections.abc import MutableMapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from ..utils.errors import UserError
from ..utils.files import write_text
from ..utils.run_folder import RunFolder

logger = logging.getLogger(__name__)
_WRITE_EVERY = 1.0  # seconds


def fill_schedule(
    runner: MutableMapping[str, Any], batches_per_epoch: int, epochs: int, accumulate_steps: int = 1
) -> None:
    """Convert epochs to the steps that S3PRL's runner counts, where the configuration does not set them.

    Raises UserError: the training is shorter than one optimizer step.

    `runner`: the ``runner`` part of the configuration, filled in place: S3PRL reads it after the expert is made.
    `batches_per_epoch`, `epochs`: length of the training. `accumulate_steps`: batches per optimizer step.
    """
    batches = batches_per_epoch * epochs
    if runner.get("total_steps") is None and accumulate_steps > batches:
        raise UserError(
            f"runner.gradient_accumulate_steps is {accumulate_steps}; expected at most the {batches} batches of the "
            f"whole training ({batches_per_epoch} per epoch, {epochs} epochs). Lower it, or raise the epochs."
        )
    steps_per_epoch = math.ceil(batches_per_epoch / accumulate_steps)
    # Accumulation continues from one epoch to the next. Rounded up, so that the last epoch is whole, which a data map
    # needs, and then to a multiple of the steps per epoch, so that the run ends with an evaluation and a checkpoint.
    steps = math.ceil(batches / accumulate_steps)
    defaults = {
        "total_steps": math.ceil(steps / steps_per_epoch) * steps_per_epoch,
        "eval_step": steps_per_epoch,
        "save_step": steps_per_epoch,
        "log_step": math.ceil(steps_per_epoch / 10),
    }
    for name, value in defaults.items():
        if runner.get(name) is None:
            runner[name] = value
    # A run shorter than an epoch would otherwise end without an evaluation or a checkpoint.
    for name in ("eval_step", "save_step"):
        runner[name] = min(runner[name], runner["total_steps"])


@dataclass(frozen=True)
class Progress:
    """Progress of a run."""

    step: int
    of: int
    first: int
    seconds: float

    @classmethod
    def read(cls, folder: RunFolder) -> Self | None:
        """Return what a run has last written, or None if there is no readable file."""
        try:
            return cls(**json.loads(folder.steps.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    @property
    def seconds_per_step(self) -> float | None:
        """Mean time of an optimizer step of this process, including the evaluations between steps."""
        made = self.step - self.first
        return self.seconds / made if made > 0 else None


class ProgressFile:
    """Writes steps.json at most once per second. `total`: optimizer steps of the run."""

    def __init__(self, folder: RunFolder, total: int) -> None:
        self._folder, self._total = folder, total
        self._first: int | None = None
        self._began = self._written = 0.0

    def update(self, step: int) -> None:
        """Record that `step` steps are complete."""
        now = time.monotonic()
        if self._first is None:
            self._first, self._began = step, now
        if now - self._written >= _WRITE_EVERY:
            self._written = now
            progress = Progress(step, self._total, self._first, now - self._began)
            try:
                write_text(self._folder.steps, json.dumps(asdict(progress)))
            except OSError as error:  # for example a full disk, which must not end the training
                logger.warning("%s cannot be written any more: %s", self._folder.steps, error)
                self._written = math.inf
