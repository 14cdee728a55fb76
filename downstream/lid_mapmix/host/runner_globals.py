"""Replacements of global names in S3PRL's runner module: `torch`, `os`, `hub`, `tqdm` and others.

`torch` and `os` themselves are not changed: the module gets proxies of them. With these, a checkpoint is complete or
absent, a CPU run does not use a GPU, and in distributed training only rank zero writes and prints. In S3PRL every other
rank leaves each step before it is counted, and never ends. Here every process is told that it is rank zero, and what
only rank zero may do has no effect in the others.
"""

import contextlib
import errno
import functools
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.parallel import DistributedDataParallel

from ..utils.distributed import is_rank_zero
from ..utils.errors import UserError
from ..utils.files import replace_when_complete
from .precision import casting, training_autocast, training_scaler

# Part of the RuntimeError that torch raises when a write fails for any reason.
_TORCHS_WRITER = "inline_container.cc"


def install_replacements(module: Any) -> None:
    """Replace global names of the runner's module; the objects themselves are not changed."""
    from .hugging_face import builders

    if has_replacements(module):
        return
    checkpoints = Checkpoints()
    amp = _ModuleProxy(torch.cuda.amp, autocast=training_autocast, GradScaler=training_scaler)
    cuda = _ModuleProxy(torch.cuda, amp=amp, device=_cuda_device)
    module.torch = _ModuleProxy(torch, save=checkpoints.save, cuda=cuda)
    module.os = _ModuleProxy(os, remove=checkpoints.remove)
    module.hub = _ModuleProxy(module.hub, **builders())
    module.is_leader_process = lambda: True
    module.DDP = _distributed
    module.SummaryWriter = functools.partial(_writer, module.SummaryWriter)
    module.tqdm = _Progress(module.tqdm)
    module.print = _print


def has_replacements(module: Any) -> bool:
    """Return whether the names of the runner's module were replaced."""
    return isinstance(getattr(module, "torch", None), _ModuleProxy)


def remove_unfinished_checkpoints(folder: Path | str) -> None:
    """Delete the unfinished checkpoint of a killed run, which may be as large as a checkpoint."""
    for leftover in Path(folder).glob(".*.ckpt.*.part"):
        leftover.unlink(missing_ok=True)


class _ModuleProxy:
    """A module with some of its names replaced; every other name is the module's own."""

    def __init__(self, original: Any, **replaced: Any) -> None:
        self._original = original
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


class Checkpoints:
    """Checkpoints that are complete or absent; old ones are deleted only after a new one is written."""

    def __init__(self) -> None:
        self._obsolete: set[Path] = set()

    def save(self, states: dict[str, Any], path: str) -> None:
        """Write `states`, in place of `torch.save`, then delete the checkpoints passed to :meth:`remove`."""
        if not is_rank_zero():
            return
        final = Path(path)
        current = casting.get()
        states = states if current is None else current.completed(states)
        with _explained(final), replace_when_complete(final) as temporary:
            torch.save(states, temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())  # otherwise a power cut may leave the new name without content
        if not _holds_a_step(final):  # dev-best.ckpt is written first and replaces none of the others
            return
        for path_in_folder in [each for each in self._obsolete if each.parent == final.parent]:
            self._obsolete.remove(path_in_folder)
            if path_in_folder != final:
                path_in_folder.unlink(missing_ok=True)

    def remove(self, path: str) -> None:
        """Mark a checkpoint, in place of `os.remove`, to be deleted once a newer one is written."""
        if not is_rank_zero():
            return
        if _holds_a_step(Path(path)):
            self._obsolete.add(Path(path))
        else:
            os.remove(path)  # noqa: PTH107 - the replaced call


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Raise a UserError that explains why a checkpoint cannot be written; torch's message does not name a full disk."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if not is_full and _TORCHS_WRITER not in str(error):
            raise
        free = shutil.disk_usage(path.parent).free / 1e6
        raise UserError(
            f"{path}: no space left on the disk or in the quota ({free:,.0f} MB free). Free some space and resume by "
            "-a from the last checkpoint, which is complete."
        ) from error


def _holds_a_step(path: Path) -> bool:
    return path.name.startswith("states-") and path.suffix == ".ckpt"


def _cuda_device(device: Any) -> contextlib.AbstractContextManager[Any]:
    """Select `device`, unless it is the CPU: the runner does so whenever a GPU exists."""
    return torch.cuda.device(device) if torch.device(device).type == "cuda" else contextlib.nullcontext()


def _distributed(model: Any, device_ids: Sequence[int], **keywords: Any) -> Any:
    """Wrap a model without naming its device, which is an error on a CPU.

    On a GPU the wrapper would move the arguments to the device, where they already are, and copy the runner's
    dictionary of records, so that records added by a model would be lost.
    """
    return DistributedDataParallel(model, **keywords)


def _writer(original: Any, *arguments: Any, **keywords: Any) -> Any:
    return original(*arguments, **keywords) if is_rank_zero() else _Nothing()


def _print(*values: Any, **keywords: Any) -> None:
    if is_rank_zero():
        print(*values, **keywords)  # noqa: T201 - the replaced call


class _Nothing:
    """A TensorBoard writer, or a file, that discards everything."""

    def __getattr__(self, name: str) -> Any:
        return self._ignore

    def _ignore(self, *arguments: Any, **keywords: Any) -> None:
        pass


class _Progress:
    """Replaces `tqdm`: bars count in every process, but only rank zero shows them."""

    def __init__(self, original: Any) -> None:
        self._original = original

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self._original(*arguments, **(keywords if is_rank_zero() else {**keywords, "file": _Nothing()}))

    def write(self, *arguments: Any, **keywords: Any) -> None:
        if is_rank_zero():
            self._original.write(*arguments, **keywords)
