"""S3PRL's runner, with mends around it and none of its code here.

Four faults matter to a run that may be interrupted, evaluated on its way or shared among processes. The
runner deletes old checkpoints before it writes the new one, and writes it in place, so that a kill in
between loses the run. Its evaluation reseeds the global generators and leaves them so. It stumbles where
no GPU is used. And of several processes only the first ever ends (leader.py).
They are mended by a subclass and by stand-ins for the few module functions it calls; `torch` and `os`
themselves stay untouched.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from ..files import replace_when_complete
from . import compat, leader, registry
from .upstreams import check_features

_RUNNER_MODULE = "s3prl.downstream.runner"
# By which torch names itself where a write fails, for whatever reason: it raises a RuntimeError.
_TORCHS_WRITER = "inline_container.cc"


def make_runner(args: argparse.Namespace, config: dict[str, Any]) -> Any:
    """Return an `s3prl.downstream.runner.Runner` whose known faults are mended.

    Parameters
    ----------
    args : S3PRL's arguments, as its own command line makes them, with `init_ckpt` (None to start anew).
    config : S3PRL's configuration; it is not changed. Without `runner.gradient_accumulate_steps`, where
        S3PRL crashes at the first step, each batch is a step.
    """
    compat.apply()
    registry.install_lazy_hub()
    # S3PRL's experts are given its parts themselves, and complete them.
    config = copy.deepcopy(config)
    section = config.setdefault("runner", {})
    if section.get("gradient_accumulate_steps") is None:
        section["gradient_accumulate_steps"] = 1
    return _mended_class()(args, config)


@functools.cache
def _mended_class() -> Any:
    """Define the subclass, once S3PRL may be imported."""
    module: Any = importlib.import_module(_RUNNER_MODULE)
    _install_stand_ins(module)

    class MendedRunner(module.Runner):  # type: ignore[name-defined, misc]
        """S3PRL's runner; training goes on from an evaluation as if there had been none."""

        def train(self) -> None:
            if leader.leads():
                remove_unfinished_checkpoints(self.args.expdir)
            super().train()

        def _load_weight(self, model: Any, name: str) -> None:
            try:
                super()._load_weight(model, name)
            except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
                reason = " ".join(str(error).split())
                raise UserError(
                    f"{self.args.init_ckpt}: its {name} does not fit this run, or is damaged ({reason[:300]}). Use "
                    "a checkpoint of the same task, upstream and settings."
                ) from error

        def _get_upstream(self) -> Any:
            from .filter_banks import batch_filter_banks

            entry = super()._get_upstream()
            with leader.unwrapped([entry]):
                batch_filter_banks(entry.model)
            return entry

        def _get_featurizer(self) -> Any:
            entry = super()._get_featurizer()
            with leader.unwrapped([self.upstream, entry]):
                check_features(self.upstream.model, entry.model, self.args)
            return entry

        def evaluate(self, split: str | None = None, logger: Any = None, global_step: int = 0) -> list[str]:
            if not leader.leads():
                return []
            with random_states_kept(), leader.unwrapped(self.all_entries):
                return super().evaluate(split, logger, global_step)

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
    amp = _StandIn(
        torch.cuda.amp,
        # The same under the names that torch recommends in place of these deprecated ones, which warn.
        autocast=functools.partial(torch.amp.autocast, "cuda"),
        GradScaler=functools.partial(torch.amp.GradScaler, "cuda"),
    )
    cuda = _StandIn(torch.cuda, amp=amp, device=_cuda_device)
    module.torch = _StandIn(torch, save=checkpoints.save, cuda=cuda)
    module.os = _StandIn(os, remove=checkpoints.remove)
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
