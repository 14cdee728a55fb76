"""Several processes that train together: which one this is, and what they tell one another.

Knows torch.distributed and nothing else of the package. In a single process everything here returns at once.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import torch
from torch import distributed

from .errors import ReportedError

_Result = TypeVar("_Result")


def world_size() -> int:
    """Return how many processes train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Return the number of this process among them, from 0 on."""
    return distributed.get_rank() if world_size() > 1 else 0


def is_rank_zero() -> bool:
    """Say whether this is the one process that decides, prints and writes files."""
    return rank() == 0


def gather_rows(tensors: Sequence[torch.Tensor], counts: torch.Tensor, most: int) -> tuple[torch.Tensor, ...]:
    """Bring together in every process the rows that each of them has, by one collective.

    Parameters
    ----------
    tensors : (rows, ...) each, the same number of rows in all of them; types and the shape of a row are the same in
        every process. They travel on the accelerator where one of them is there, as nccl needs it.
    counts : (rows,) bool, which rows are to be gathered.
    most : no process has more rows than this; the same number in every process.

    Returns
    -------
    (all rows, ...) each, without gradient: the rows of process 0, then those of process 1, and so on.
    """
    if world_size() == 1:
        everything = bool(counts.all())
        return tuple(tensor.detach() if everything else tensor.detach()[counts] for tensor in tensors)
    device = next((tensor.device for tensor in tensors if tensor.device.type != "cpu"), torch.device("cpu"))
    # As bytes, tensors of any type share one buffer, and arrive bit for bit.
    columns = [_as_bytes(tensor.detach().to(device)) for tensor in (counts, *tensors)]
    widths = [column.shape[1] for column in columns]
    own = torch.zeros((most, sum(widths)), dtype=torch.uint8, device=device)
    own[: len(counts)] = torch.cat(columns, dim=1)
    everyones = torch.empty((world_size() * most, sum(widths)), dtype=torch.uint8, device=device)
    distributed.all_gather_into_tensor(everyones, own)
    real, *parts = everyones[everyones[:, 0] != 0].split(widths, dim=1)
    return tuple(
        part.clone(memory_format=torch.contiguous_format).view(tensor.dtype).reshape(len(real), *tensor.shape[1:])
        for part, tensor in zip(parts, tensors, strict=True)
    )


def from_everyone(items: list[_Result]) -> list[_Result]:
    """Return in every process the items of all of them, in the order of the processes; each may have any number."""
    if world_size() == 1:
        return items
    gathered: list[list[_Result]] = [[] for _ in range(world_size())]
    distributed.all_gather_object(gathered, items)
    return [item for part in gathered for item in part]


def broadcast_from_rank_zero(work: Callable[[], _Result]) -> _Result:
    """Let rank zero do `work` while the others wait for it, and return in every process what it returned.

    Raises
    ------
    ReportedError : in the others, when rank zero raises; what it raises passes in rank zero itself.
    """
    if world_size() == 1:
        return work()
    outcome: list[Any] = [None, True]
    if is_rank_zero():
        try:
            outcome = [work(), True]
        except Exception:
            # Whoever is gone by then needs no word, and hides no fault.
            with suppress(RuntimeError):
                distributed.broadcast_object_list([None, False])
            raise
    distributed.broadcast_object_list(outcome)
    result, succeeded = outcome
    if not succeeded:
        raise ReportedError
    return result


def continues_as_rank_zero() -> bool:
    """Wait for all processes, part from them, and say whether this one is to do what is left to do: rank zero is."""
    if world_size() == 1:
        return True
    is_first = is_rank_zero()
    distributed.barrier()
    distributed.destroy_process_group()
    return is_first


def _as_bytes(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor's rows as they are in memory, (rows, bytes) uint8."""
    flat = tensor.reshape(len(tensor), math.prod(tensor.shape[1:]))
    # A copy even of what is contiguous: a single row may be so with strides that cannot be seen as bytes.
    return flat.clone(memory_format=torch.contiguous_format).view(torch.uint8)
