"""One run of S3PRL's runner, in a mode of its own, by this process or by several together."""

import argparse
import gc
import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ...config.checks import check_configuration, task_config
from ...host.runner import make_runner
from ...training.run_folder import PARAMETERS_NAME, keep_settings, write_text
from ...utils.distributed import from_leader, is_leader
from ..report.datamap_figure import leave_picture
from ..settings.settings import Settings
from .feature_cache import attach_cache


def run(
    settings: Settings,
    mode: str,
    begin: Callable[[], None] = lambda: None,
    change: Callable[[Any], None] = lambda expert: None,
) -> None:
    """Run S3PRL's runner once, in a mode of its own.

    Parameters
    ----------
    settings : of the run.
    mode : train, evaluate or inference.
    begin : called just before it starts to train.
    change : called with the expert just before the runner starts.
    """
    settings.args.mode = mode
    check_configuration(settings.config)
    _seed_global_generators(settings.args.seed)
    runner = make_runner(settings.args, settings.config, task_config(settings.task).upstream_settings)
    config = runner.config
    cached = None if mode == "inference" else attach_cache(runner, settings.args, config, mode)
    counts = _parameter_counts(runner)

    def prepare_folder() -> None:
        settings.expdir.mkdir(parents=True, exist_ok=True)
        if mode == "train":
            # Only now, when nothing was found wrong with settings and data, and the expert has filled in the steps.
            begin()
            keep_settings(settings.expdir, settings.args, config)
            write_text(settings.expdir / PARAMETERS_NAME, json.dumps(counts, indent=1))

    from_leader(prepare_folder)
    change(runner.downstream.model)
    getattr(runner, mode)()
    if cached is not None and is_leader():
        print(
            f"[lid_mapmix] feature cache: the upstream was run on {cached.computed:,} crops and windows, "
            f"{cached.read:,} were read"
        )
    # The next run of this process needs the memory.
    del runner
    gc.collect()


def place(settings: Settings, options: argparse.Namespace) -> None:
    """Let settings that the leader has made hold for this process, which has a device of its own."""
    settings.args.device, settings.args.local_rank = options.device, options.local_rank


def leave_picture_of(settings: Settings) -> None:
    """Draw the data map of a run that has recorded one."""
    datamap = task_config(settings.task).datamap
    if datamap.record:
        leave_picture(settings.expdir, datamap)


def _parameter_counts(runner: Any) -> dict[str, dict[str, int]]:
    """Count the parameters of each part of the model, and how many of them are trained."""
    counts = {}
    for entry in runner.all_entries:
        sizes = [(each.numel(), each.requires_grad and entry.trainable) for each in entry.model.parameters()]
        counts[entry.name.lower()] = {
            "parameters": sum(size for size, _ in sizes),
            "trained": sum(size for size, is_trained in sizes if is_trained),
        }
    return counts


def _seed_global_generators(seed: int) -> None:
    """Seed what the models' first weights are drawn from; nothing of ours draws from it afterwards."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - some upstreams draw from it
    torch.manual_seed(seed)
