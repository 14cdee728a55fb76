"""A batch that a GPU has no memory for is divided into parts whose gradients are added up before a step.

What is drawn once a batch, λ with ``lambda_per: batch``, is then drawn once a part.
"""

import os
from collections.abc import Mapping
from dataclasses import replace

import torch

from ...config.settings import Settings
from ...config.upstreams import largest_batch, split_batch
from ...mapmix.mixup import MixSpace
from ...utils.place import find_place


def divide_batch(settings: Settings, batch_sizes: Mapping[int, int]) -> Settings:
    """Divide the batch of a run where the GPU is too small for it; what was done is the last of the sources.

    Parameters
    ----------
    settings : with the device.
    batch_sizes : of the upstream's file, gigabytes of a GPU → anchors.
    """
    device = settings.args.device
    if not batch_sizes or device is None or torch.device(device).type != "cuda":
        return settings
    gigabytes = torch.cuda.get_device_properties(torch.device(device)).total_memory / 2**30
    task, data = settings.task, settings.task.data
    waveforms = 2 if task.mapmix.mix is MixSpace.LATENT else 1
    most = largest_batch(batch_sizes, gigabytes, data.crop_seconds, waveforms)
    # The batch is that of all processes together.
    most = None if most is None else most * find_place(os.environ).processes
    if most is None or data.batch_size <= most:
        return settings
    size, parts = split_batch(data.batch_size, most)
    steps = parts * (settings.runner.get("gradient_accumulate_steps") or 1)
    return replace(
        settings,
        task=replace(task, data=replace(data, batch_size=size)),
        sections={**settings.sections, "runner": {**settings.runner, "gradient_accumulate_steps": steps}},
        sources=(*settings.sources, f"{parts} batches of {size} a step, for a GPU of {gigabytes:.0f} GB"),
    )
