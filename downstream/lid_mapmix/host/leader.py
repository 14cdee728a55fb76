"""S3PRL's runner in several processes: all of them go through its steps, the leader alone writes, prints and evaluates.

In S3PRL a process that is not the leader leaves each step before it is counted, and so never ends. Here all processes
believe to be leaders, and what only a leader may do is without effect in the others.
"""

# ruff: noqa: PLC0415 - torch takes seconds to import, and the command line's help needs none of it.

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


def leads() -> bool:
    """Say whether this process is the leader, as the only one always is."""
    from ..utils import distributed

    return distributed.is_leader()


def install_stand_ins(module: Any) -> None:
    """Replace what the runner's module does as a leader, and how it makes its models distributed.

    Parameters
    ----------
    module : the runner's, in which names are replaced; what they stand for stays as it is.
    """
    module.is_leader_process = lambda: True
    module.DDP = _distributed
    module.SummaryWriter = functools.partial(_writer, module.SummaryWriter)
    module.tqdm = _Progress(module.tqdm)
    module.print = _print


@contextmanager
def unwrapped(entries: Sequence[Any]) -> Iterator[None]:
    """Give the runner's entries their models as such, without their wrappers of torch.nn.parallel, during the block.

    A wrapped model waits for the other processes in each forward pass, also in one that only the leader makes.
    """
    from torch.nn.parallel import DistributedDataParallel

    wrapped = [(entry, entry.model) for entry in entries if isinstance(entry.model, DistributedDataParallel)]
    for entry, model in wrapped:
        entry.model = model.module
    try:
        yield
    finally:
        for entry, model in wrapped:
            entry.model = model


def _distributed(model: Any, device_ids: Sequence[int], **keywords: Any) -> Any:
    """Wrap a model without naming its device, which on a CPU is an error.

    On a GPU the wrapper would move the arguments there, where they are already; it would copy the runner's dictionary
    of records on the way, and what a model adds to it would be lost.
    """
    from torch.nn.parallel import DistributedDataParallel

    return DistributedDataParallel(model, **keywords)


def _writer(original: Any, *arguments: Any, **keywords: Any) -> Any:
    return original(*arguments, **keywords) if leads() else _Nothing()


def _print(*values: Any, **keywords: Any) -> None:
    if leads():
        print(*values, **keywords)  # noqa: T201 - the very call it stands for


class _Nothing:
    """A writer for TensorBoard, or a file, that keeps nothing."""

    def __getattr__(self, name: str) -> Any:
        return self._ignore

    def _ignore(self, *arguments: Any, **keywords: Any) -> None:
        pass


class _Progress:
    """In place of `tqdm`: bars that count in every process, and are seen in the leader's."""

    def __init__(self, original: Any) -> None:
        self._original = original

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self._original(*arguments, **(keywords if leads() else {**keywords, "file": _Nothing()}))

    def write(self, *arguments: Any, **keywords: Any) -> None:
        if leads():
            self._original.write(*arguments, **keywords)
