"""Length of a run in the steps that S3PRL's runner counts."""

import math
from collections.abc import MutableMapping
from typing import Any

from ..utils.errors import UserError


def fill_schedule(
    runner: MutableMapping[str, Any], batches_per_epoch: int, epochs: int, accumulate_steps: int = 1
) -> None:
    """Convert epochs to the steps that S3PRL's runner counts, where the configuration does not set them.

    Raises UserError: the training is shorter than one optimizer step.

    `runner`: filled in place: S3PRL reads it after the expert is made. `accumulate_steps`: batches per optimizer step.
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
