"""S3PRL's runner with patches around it, and none of its code here.

Four faults of the runner matter to a run that is interrupted, evaluated during training or distributed. It deletes old
checkpoints before it writes the new one, and writes that in place, so that a kill in between loses the run. Its
evaluation reseeds the global generators and does not restore them. It fails without a GPU. And in distributed training
only the first process ever ends.
A subclass and replacements of the few module functions that it calls (runner_globals.py) patch them. Speed and
precision are in upstreams.py, optimization.py and precision.py, which are called from here.
"""

import argparse
import contextlib
import copy
import functools
import importlib
import random
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

from ..utils.distributed import is_rank_zero
from ..utils.errors import UserError
from . import compat, downloads, registry
from .optimization import with_fused
from .precision import Casting, read_precision
from .runner_globals import has_replacements, install_replacements, remove_unfinished_checkpoints
from .trust import reading_data_only
from .upstreams import (
    UpstreamSettings,
    check_features,
    check_layer,
    check_weights,
    explained,
    is_out_of_memory,
    out_of_memory,
    patch_upstream,
)

_RUNNER_MODULE = "s3prl.downstream.runner"


def prepare() -> None:
    """Make S3PRL importable, its hub lazy and its downloads reliable; a second call changes nothing."""
    compat.apply()
    registry.install_lazy_hub()
    downloads.install()


def make_runner(
    args: argparse.Namespace, config: dict[str, Any], upstream: UpstreamSettings | None = None, **handed: Any
) -> Any:
    """Return an `s3prl.downstream.runner.Runner` with patches for its known faults.

    `args`: S3PRL's arguments, as from its own command line, with `init_ckpt` (None to start a new run). `config`:
    S3PRL's configuration; it is not changed. Without `runner.gradient_accumulate_steps`, where S3PRL crashes at the
    first step, each batch is a step. `upstream`: the run's other requests of its upstream. `handed`: more arguments for
    the task's expert; not stored in checkpoints.
    """
    prepare()
    # S3PRL's experts get parts of the configuration itself, and complete them.
    config = copy.deepcopy(config)
    section = config.setdefault("runner", {})
    if section.get("gradient_accumulate_steps") is None:
        section["gradient_accumulate_steps"] = 1
    section["precision"] = str(read_precision(section))
    section.pop("fp16", None)
    return _patched_class()(args, config, upstream or UpstreamSettings(), handed)


def is_patched() -> bool:
    """Return whether this process uses the runner of this module, rather than that of S3PRL's own command."""
    return has_replacements(sys.modules.get(_RUNNER_MODULE))


@functools.cache
def _patched_class() -> Any:
    """Define the subclass, after S3PRL has become importable."""
    compat.import_without_unused(_RUNNER_MODULE)
    module: Any = importlib.import_module(_RUNNER_MODULE)
    install_replacements(module)

    class PatchedRunner(module.Runner):  # type: ignore[name-defined, misc]
        """S3PRL's runner; an evaluation does not affect the training that follows."""

        args: argparse.Namespace
        config: dict[str, Any]

        def __init__(
            self, args: argparse.Namespace, config: dict[str, Any], upstream: UpstreamSettings, handed: dict[str, Any]
        ) -> None:
            self.upstream_settings = upstream
            self.handed = handed
            self.casting = Casting(read_precision(config["runner"]), args.device)
            super().__init__(args, config)
            self.casting.resume(self.init_ckpt)

        def train(self) -> None:
            if is_rank_zero():
                remove_unfinished_checkpoints(self.args.expdir)
            if self.config.get("specaug"):
                compat.import_without_unused("s3prl.downstream.specaug")
            with self.casting.training(self.config["runner"]):
                super().train()

        def _init_model(self, model: Any, name: str, *arguments: Any, **keywords: Any) -> Any:
            if name == "Upstream":  # before it is wrapped for distributed training, which records what is trained
                check_weights(model, self.args)
                patch_upstream(model, self.args, self.upstream_settings, self.config["runner"])
            return super()._init_model(model, name, *arguments, **keywords)

        def _load_weight(self, model: Any, name: str) -> None:
            try:
                super()._load_weight(model, name)
            except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
                if is_out_of_memory(error):
                    raise out_of_memory(f"{self.args.init_ckpt}: its {name}", self.args.device) from error
                reason = " ".join(str(error).split())
                raise UserError(
                    f"{self.args.init_ckpt}: its {name} does not match this run, or is damaged ({reason[:300]}). Use "
                    "a checkpoint of the same task, upstream and settings."
                ) from error

        def _get_optimizer(self, model_params: Any) -> Any:
            # Small models gain nothing, and so get the same weights as with S3PRL's own command.
            if not self.args.upstream_trainable:
                return super()._get_optimizer(model_params)
            section = with_fused(self.config["optimizer"], self.init_ckpt.get("Optimizer"))
            # Checkpoints store the original settings.
            with compat.replaced(self, "config", {**self.config, "optimizer": section}):
                return super()._get_optimizer(model_params)

        def _get_upstream(self) -> Any:
            may_download = getattr(self.args, "may_download", True)
            with explained(self.args), reading_data_only(), downloads.allowed(may_download):
                return super()._get_upstream()

        def _get_featurizer(self) -> Any:
            with _unwrapped([self.upstream]):
                check_layer(self.upstream.model, self.args)
            entry = super()._get_featurizer()
            with _unwrapped([self.upstream, entry]):
                check_features(self.upstream.model, entry.model, self.args, self.upstream_settings)
            return entry

        def _get_downstream(self) -> Any:
            # Checkpoints store the original arguments.
            with compat.replaced(self, "args", argparse.Namespace(**vars(self.args), **self.handed)):
                return super()._get_downstream()

        def evaluate(self, split: str | None = None, logger: Any = None, global_step: int = 0) -> list[str]:
            if not is_rank_zero():
                return []
            with random_states_kept(), _unwrapped(self.all_entries), self.casting.autocast():
                return super().evaluate(split, logger, global_step)

        def inference(self) -> None:
            with self.casting.autocast():
                super().inference()

    return PatchedRunner


@contextlib.contextmanager
def random_states_kept() -> Iterator[None]:
    """Restore the global generators of Python, NumPy and torch after the block."""
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    # The state of an unused CUDA device is not read, because reading would initialise it.
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002


@contextlib.contextmanager
def _unwrapped(entries: Sequence[Any]) -> Iterator[None]:
    """Remove the torch.nn.parallel wrappers of the runner's models during the block.

    A wrapped model waits for the other processes in each forward pass, even in one that only rank zero makes.
    """
    with contextlib.ExitStack() as stack:
        for entry in entries:
            if isinstance(entry.model, DistributedDataParallel):
                stack.enter_context(compat.replaced(entry, "model", entry.model.module))
        yield
