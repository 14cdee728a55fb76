"""S3PRL's runner, with mends around it and none of its code here.

Four faults matter to a run that may be interrupted, evaluated on its way or shared among processes. The
runner deletes old checkpoints before it writes the new one, and writes it in place, so that a kill in
between loses the run. Its evaluation reseeds the global generators and leaves them so. It stumbles where
no GPU is used. And of several processes only the first ever ends (leader.py).
They are mended by a subclass and by stand-ins for the few module functions it calls; `torch` and `os`
themselves stay untouched. What makes it quicker, or compute in another precision, is called from here and
stands in filter_banks.py, native.py, optimization.py and precision.py.
"""

# ruff: noqa: PLC0415 - torch takes seconds to import, and the command line's help needs none of it.

import argparse
import contextlib
import copy
import errno
import functools
import importlib
import os
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..utils.errors import UserError
from ..utils.files import replace_when_complete
from . import compat, downloads, leader, registry
from .memory import is_out_of_memory, out_of_memory
from .native import speed_up
from .optimization import with_fused
from .precision import Casting, casting, read_precision, training_autocast, training_scaler
from .upstreams import (
    UpstreamSettings,
    check_features,
    check_layer,
    check_weights,
    explained,
    hugging_face_builders,
    mend_upstream,
)

_RUNNER_MODULE = "s3prl.downstream.runner"
# By which torch names itself where a write fails, for whatever reason: it raises a RuntimeError.
_TORCHS_WRITER = "inline_container.cc"


def make_runner(
    args: argparse.Namespace, config: dict[str, Any], upstream: UpstreamSettings | None = None, **handed: Any
) -> Any:
    """Return an `s3prl.downstream.runner.Runner` whose known faults are mended.

    Parameters
    ----------
    args : S3PRL's arguments, as its own command line makes them, with `init_ckpt` (None to start anew).
    config : S3PRL's configuration; it is not changed. Without `runner.gradient_accumulate_steps`, where
        S3PRL crashes at the first step, each batch is a step.
    upstream : what is asked of the upstream besides S3PRL's arguments.
    handed : given to the task's expert besides; no checkpoint holds it.
    """
    compat.apply()
    registry.install_lazy_hub()
    downloads.install()
    # S3PRL's experts are given its parts themselves, and complete them.
    config = copy.deepcopy(config)
    section = config.setdefault("runner", {})
    if section.get("gradient_accumulate_steps") is None:
        section["gradient_accumulate_steps"] = 1
    section["precision"] = str(read_precision(section))
    section.pop("fp16", None)
    return _mended_class()(args, config, upstream or UpstreamSettings(), handed)


def is_mended() -> bool:
    """Say whether the runner at work in this process is the one of this module, and not S3PRL's own command's."""
    module = sys.modules.get(_RUNNER_MODULE)
    return module is not None and isinstance(getattr(module, "torch", None), _StandIn)


@functools.cache
def _mended_class() -> Any:
    """Define the subclass, once S3PRL may be imported."""
    from .filter_banks import batch_filter_banks

    module: Any = importlib.import_module(_RUNNER_MODULE)
    _install_stand_ins(module)

    class MendedRunner(module.Runner):  # type: ignore[name-defined, misc]
        """S3PRL's runner; training goes on from an evaluation as if there had been none."""

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
            if leader.leads():
                remove_unfinished_checkpoints(self.args.expdir)
            if self.config.get("specaug"):
                compat.import_specaug()
            with self.casting.training(self.config["runner"]):
                super().train()

        def _init_model(self, model: Any, name: str, *arguments: Any, **keywords: Any) -> Any:
            if name == "Upstream":  # before it is given to the processes that share it, which note what it trains
                check_weights(model, self.args)
                mend_upstream(model, self.args, self.upstream_settings)
                batch_filter_banks(model)
                speed_up(model, self.args.upstream, self.config["runner"])
            return super()._init_model(model, name, *arguments, **keywords)

        def _load_weight(self, model: Any, name: str) -> None:
            try:
                super()._load_weight(model, name)
            except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
                if is_out_of_memory(error):
                    raise out_of_memory(f"{self.args.init_ckpt}: its {name}", self.args.device) from error
                reason = " ".join(str(error).split())
                raise UserError(
                    f"{self.args.init_ckpt}: its {name} does not fit this run, or is damaged ({reason[:300]}). Use "
                    "a checkpoint of the same task, upstream and settings."
                ) from error

        def _get_optimizer(self, model_params: Any) -> Any:
            # Small models gain nothing by it, and so end with the very weights of S3PRL's own command.
            if not self.args.upstream_trainable:
                return super()._get_optimizer(model_params)
            config = self.config
            self.config = {**config, "optimizer": with_fused(config["optimizer"], self.init_ckpt.get("Optimizer"))}
            try:
                return super()._get_optimizer(model_params)
            finally:
                self.config = config  # checkpoints hold the settings as they were made

        def _get_upstream(self) -> Any:
            with explained(self.args):
                return super()._get_upstream()

        def _get_featurizer(self) -> Any:
            with leader.unwrapped([self.upstream]):
                check_layer(self.upstream.model, self.args)
            entry = super()._get_featurizer()
            with leader.unwrapped([self.upstream, entry]):
                check_features(self.upstream.model, entry.model, self.args, self.upstream_settings)
            return entry

        def _get_downstream(self) -> Any:
            args = self.args
            self.args = argparse.Namespace(**vars(args), **self.handed)
            try:
                return super()._get_downstream()
            finally:
                self.args = args  # checkpoints hold the arguments as they were made

        def evaluate(self, split: str | None = None, logger: Any = None, global_step: int = 0) -> list[str]:
            if not leader.leads():
                return []
            with random_states_kept(), leader.unwrapped(self.all_entries), self.casting.autocast():
                return super().evaluate(split, logger, global_step)

        def inference(self) -> None:
            with self.casting.autocast():
                super().inference()

        def push_to_huggingface_hub(self) -> None:
            if leader.leads():
                super().push_to_huggingface_hub()

    return MendedRunner


@contextlib.contextmanager
def random_states_kept() -> Iterator[None]:
    """Leave the global generators of python, numpy and torch as they were before the block."""
    import torch

    python_state, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    # Asking an unused CUDA for its state would start it.
    cuda_states = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
        torch.set_rng_state(torch_state)
        if cuda_states is not None:
            torch.cuda.set_rng_state_all(cuda_states)


def remove_unfinished_checkpoints(folder: Path | str) -> None:
    """Remove what a killed run had begun to write; each such file may be as large as a checkpoint."""
    for leftover in Path(folder).glob(".*.ckpt.*.part"):
        leftover.unlink(missing_ok=True)


class _StandIn:
    """A module with some of its names replaced; every other name is the module's own."""

    def __init__(self, original: Any, **replaced: Any) -> None:
        self._original = original
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


def _install_stand_ins(module: Any) -> None:
    """Replace `torch` and `os` as the runner's module knows them; a second call changes nothing."""
    import torch

    if isinstance(module.torch, _StandIn):
        return
    checkpoints = _Checkpoints()
    amp = _StandIn(torch.cuda.amp, autocast=training_autocast, GradScaler=training_scaler)
    cuda = _StandIn(torch.cuda, amp=amp, device=_cuda_device)
    module.torch = _StandIn(torch, save=checkpoints.save, cuda=cuda)
    module.os = _StandIn(os, remove=checkpoints.remove)
    module.hub = _StandIn(module.hub, **hugging_face_builders())
    leader.install_stand_ins(module)


def _cuda_device(device: Any) -> contextlib.AbstractContextManager[Any]:
    """Select `device`, unless it is the CPU: the runner does so wherever a GPU exists, used or not."""
    import torch

    return torch.cuda.device(device) if torch.device(device).type == "cuda" else contextlib.nullcontext()


class _Checkpoints:
    """Checkpoints that are complete or absent; the old ones stay until the new one is there."""

    def __init__(self) -> None:
        self._obsolete: set[Path] = set()

    def save(self, states: dict[str, Any], path: str) -> None:
        """Write `states` in place of `torch.save`, then delete what :meth:`remove` was asked to."""
        import torch

        if not leader.leads():
            return
        final = Path(path)
        current = casting()
        states = states if current is None else current.completed(states)
        with _explained(final), replace_when_complete(final) as temporary:
            torch.save(states, temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())  # or a power cut could leave the new name without its content
        if not _holds_a_step(final):  # dev-best.ckpt is written first and replaces none of the others
            return
        for path_in_folder in [each for each in self._obsolete if each.parent == final.parent]:
            self._obsolete.remove(path_in_folder)
            if path_in_folder != final:
                path_in_folder.unlink(missing_ok=True)

    def remove(self, path: str) -> None:
        """Note, in place of `os.remove`, that the checkpoint may go once a newer one is written."""
        if not leader.leads():
            return
        if _holds_a_step(Path(path)):
            self._obsolete.add(Path(path))
        else:
            os.remove(path)  # noqa: PTH107 - the very call it stands for


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Say of a checkpoint that cannot be written why: of a full disk, torch says what its writer had expected."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if not is_full and _TORCHS_WRITER not in str(error):
            raise
        free = shutil.disk_usage(path.parent).free / 1e6
        raise UserError(
            f"{path}: no space left on the disk or in the quota ({free:,.0f} MB free). Free some; -a goes on "
            "from the last checkpoint, which is complete."
        ) from error


def _holds_a_step(path: Path) -> bool:
    return path.name.startswith("states-") and path.suffix == ".ckpt"
