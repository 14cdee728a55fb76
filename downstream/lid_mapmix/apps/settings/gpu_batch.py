"""A batch that a GPU has no memory for is divided into parts whose gradients are added up before a step.

What is drawn once a batch, λ with ``weight_per: batch``, is then drawn once a part.
"""

import os
from collections.abc import Mapping
from typing import Any

import torch

from ...config.sources import TASK_KEY
from ...config.upstreams import largest_batch, split_batch
from ...mapmix.mixup import MixSpace
from ...utils.place import find_place


def divide_batch(config: Mapping[str, Any], batch_sizes: Mapping[int, int], device: str | None) -> str | None:
    """Divide the batch of a configuration where the GPU is too small for it.

    Parameters
    ----------
    config : merged; batch size and gradient accumulation are changed in place.
    batch_sizes : of the upstream's file, gigabytes of a GPU -> anchors.
    device : where the run is to be.

    Returns
    -------
    what was done, in words; None where nothing was.
    """
    if not batch_sizes or device is None or torch.device(device).type != "cuda":
        return None
    gigabytes = torch.cuda.get_device_properties(torch.device(device)).total_memory / 2**30
    task, runner = config[TASK_KEY], config["runner"]
    data = task["data"]
    if not isinstance(data["batch_size"], int) or not isinstance(runner["gradient_accumulate_steps"] or 1, int):
        return None  # what is wrong with them is said where settings are checked
    waveforms = 2 if task["mapmix"]["mix"] == MixSpace.LATENT else 1
    most = largest_batch(batch_sizes, gigabytes, float(data["crop_seconds"]), waveforms)
    # The batch is that of all processes together.
    most = None if most is None else most * find_place(os.environ).processes
    if most is None or data["batch_size"] <= most:
        return None
    data["batch_size"], parts = split_batch(data["batch_size"], most)
    runner["gradient_accumulate_steps"] = parts * (runner["gradient_accumulate_steps"] or 1)
    return f"{parts} batches of {data['batch_size']} a step, for a GPU of {gigabytes:.0f} GB"
