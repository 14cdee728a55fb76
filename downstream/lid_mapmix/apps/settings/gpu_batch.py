"""Gradient accumulation: a batch that exceeds the GPU memory is split into parts.

Values drawn once per batch, such as λ with ``lambda_per: batch``, are then drawn once per part.
"""

import os
from dataclasses import replace

import torch

from ...config.settings import Settings
from ...config.upstreams import Protocol, largest_batch, split_batch
from ...host.pretrained import encoder_millions
from ...mapmix.mixup import MixSpace
from ...utils.place import find_place


def divide_batch(settings: Settings, needs: Protocol) -> Settings:
    """Split the batch of a run if it exceeds the GPU memory, and append that to the sources.

    `settings`: with the device. `needs`: batch sizes by GPU memory, from the file of the upstream.
    """
    device = settings.args.device
    if not needs.batch_sizes or device is None or torch.device(device).type != "cuda":
        return settings
    batch_sizes, weights = needs.batch_sizes, settings.args.upstream_ckpt
    if needs.batch_sizes_by_millions and weights and (millions := encoder_millions(weights)) is not None:
        batch_sizes = needs.batch_sizes_of(millions)
    gigabytes = torch.cuda.get_device_properties(torch.device(device)).total_memory / 2**30
    task, data = settings.task, settings.task.data
    waveforms = 2 if task.mapmix.mix is MixSpace.LATENT else 1
    max_size = largest_batch(batch_sizes, gigabytes, data.crop_seconds, waveforms)
    # The batch size is that of all processes together.
    max_size = None if max_size is None else max_size * find_place(os.environ).processes
    if max_size is None or data.batch_size <= max_size:
        return settings
    size, parts = split_batch(data.batch_size, max_size)
    steps = parts * (settings.runner.get("gradient_accumulate_steps") or 1)
    return replace(
        settings,
        task=replace(task, data=replace(data, batch_size=size)),
        sections={**settings.sections, "runner": {**settings.runner, "gradient_accumulate_steps": steps}},
        sources=(*settings.sources, f"{parts} batches of {size} per optimizer step, for a GPU of {gigabytes:.0f} GB"),
    )
