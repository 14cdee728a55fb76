"""Distributed training: the rank of this process, and communication between processes.

Depends on torch.distributed and on nothing else of the package. In a single process every function returns at once.
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
    """Return the number of processes that train together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Return the rank of this process, from 0."""
    return distributed.get_rank() if world_size() > 1 else 0


def is_rank_zero() -> bool:
    """Return whether this process decides, prints and writes files."""
    return rank() == 0


def gather_rows(tensors: Sequence[torch.Tensor], counts: torch.Tensor, max_rows: int) -> tuple[torch.Tensor, ...]:
    """Gather in every process the rows of all processes, with one collective operation.

    Returns (all rows, ...) each, without gradient, in the order of the ranks.

    `tensors`: (rows, ...) each, with equal numbers of rows; dtypes and the shape of a row are the same in every
    process. They are sent from the accelerator if one of them is there, as nccl requires. `counts`: (rows,) bool, the
    rows to gather. `max_rows`: maximum number of rows per process; the same in every process.
    """
    if world_size() == 1:
        everything = bool(counts.all())
        return tuple(tensor.detach() if everything else tensor.detach()[counts] for tensor in tensors)
    device = next((tensor.device for tensor in tensors if tensor.device.type != "cpu"), torch.device("cpu"))
    # As bytes, tensors of any dtype share one buffer and arrive bit for bit.
    columns = [_as_bytes(tensor.detach().to(device)) for tensor in (counts, *tensors)]
    widths = [column.shape[1] for column in columns]
    own = torch.zeros((max_rows, sum(widths)), dtype=torch.uint8, device=device)
    own[: len(counts)] = torch.cat(columns, dim=1)
    everyones = torch.empty((world_size() * max_rows, sum(widths)), dtype=torch.uint8, device=device)
    distributed.all_gather_into_tensor(everyones, own)
    real, *parts = everyones[everyones[:, 0] != 0].split(widths, dim=1)
    return tuple(
        part.clone(memory_format=torch.contiguous_format).view(tensor.dtype).reshape(len(real), *tensor.shape[1:])
        for part, tensor in zip(parts, tensors, strict=True)
    )


def gather_items(items: list[_Result]) -> list[_Result]:
    """Gather in every process the items of all processes, in the order of the ranks; each may have any number."""
    if world_size() == 1:
        return items
    gathered: list[list[_Result]] = [[] for _ in range(world_size())]
    distributed.all_gather_object(gathered, items)
    return [item for part in gathered for item in part]


def broadcast_from_rank_zero(work: Callable[[], _Result]) -> _Result:
    """Return in every process what `work` returns in rank zero. Raises ReportedError: rank zero has failed."""
    if world_size() == 1:
        return work()
    outcome: list[Any] = [None, True]
    if is_rank_zero():
        try:
            outcome = [work(), True]
        except Exception:
            # A process that has already ended cannot be told, and must not hide the fault.
            with suppress(RuntimeError):
                distributed.broadcast_object_list([None, False])
            raise
    distributed.broadcast_object_list(outcome)
    result, succeeded = outcome
    if not succeeded:
        raise ReportedError
    return result


def continues_as_rank_zero() -> bool:
    """Wait for all processes, leave the process group, and return whether this one continues: only rank zero does."""
    if world_size() == 1:
        return True
    is_first = is_rank_zero()
    distributed.barrier()
    distributed.destroy_process_group()
    return is_first


def _as_bytes(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor's rows as they are in memory, (rows, bytes) uint8."""
    flat = tensor.reshape(len(tensor), math.prod(tensor.shape[1:]))
    # Copied even if contiguous: a single row may be contiguous with strides that cannot be viewed as bytes.
    return flat.clone(memory_format=torch.contiguous_format).view(torch.uint8)
