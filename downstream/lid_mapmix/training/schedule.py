"""How long a run is, in the steps that S3PRL's runner counts in."""

import math
from collections.abc import MutableMapping
from typing import Any

from ..utils.errors import UserError


def fill_schedule(
    runner: MutableMapping[str, Any], batches_an_epoch: int, epochs: int, accumulate_steps: int = 1
) -> None:
    """Turn epochs into the steps that S3PRL's runner counts in, wherever the configuration leaves them open.

    Parameters
    ----------
    runner : the ``runner`` part of the configuration, filled in place: S3PRL reads it after the expert is made.
    batches_an_epoch, epochs : length of the training.
    accumulate_steps : batches an optimizer step.

    Raises
    ------
    UserError : the training is shorter than an optimizer step.
    """
    batches = batches_an_epoch * epochs
    if runner.get("total_steps") is None and accumulate_steps > batches:
        raise UserError(
            f"runner.gradient_accumulate_steps is {accumulate_steps}, more than the {batches} batches of the whole "
            f"training ({batches_an_epoch} an epoch, {epochs} epochs), which would go on for {accumulate_steps}. Lower "
            "it, or raise the epochs."
        )
    steps_an_epoch = math.ceil(batches_an_epoch / accumulate_steps)
    # Accumulation goes on from one epoch into the next. Rounded up, so that the last epoch is a whole one, which a data
    # map needs, and then to where a run is evaluated and saved, so that it ends there.
    steps = math.ceil(batches / accumulate_steps)
    defaults = {
        "total_steps": math.ceil(steps / steps_an_epoch) * steps_an_epoch,
        "eval_step": steps_an_epoch,
        "save_step": steps_an_epoch,
        "log_step": math.ceil(steps_an_epoch / 10),
    }
    for name, value in defaults.items():
        if runner.get(name) is None:
            runner[name] = value
    # A run shorter than an epoch would otherwise end without an evaluation or a checkpoint.
    for name in ("eval_step", "save_step"):
        runner[name] = min(runner[name], runner["total_steps"])
