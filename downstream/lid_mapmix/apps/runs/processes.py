"""Distributed training: rank and device of each process, the process group, and a joint end if one process fails.

``torchrun --nproc-per-node N run_downstream.py ...`` starts the processes; each reads its rank from the environment. An
error in one process is printed once and ends all processes within seconds, also without torchrun's agent, and also if a
process waits in a collective for one that has ended.
"""

# ruff: noqa: PLC0415 - torch takes seconds to import, and the help does not need it.

import argparse
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from types import FrameType
from typing import Any, NoReturn

from ...utils.errors import UserError
from ...utils.place import Place

# Nodes may start at different times.
_RENDEZVOUS_TIMEOUT = timedelta(minutes=10)
# The other processes wait in a collective while rank zero evaluates.
_COLLECTIVE_TIMEOUT = timedelta(hours=24)
_POLL_SECONDS = 0.5
_END_TIMEOUT = 5.0  # seconds that a process has to end after another one has failed
_CLEANUP_TIMEOUT = 10.0  # seconds that a process has to end after its own failure
_FAILED, _NOTIFIED = "failed", "notified"
# torchrun sets this variable; without it, the parent process may end before the training does.
_STARTED_BY_TORCHRUN = "TORCHELASTIC_RUN_ID"


def choose_device(options: argparse.Namespace, place: Place) -> None:
    """Set device, backend and local rank; with several processes each has its own GPU.

    Raises UserError: the device does not exist, GPUs are fewer than processes, or the backend does not support the
    device.
    """
    import torch

    if options.device is None:
        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(options.device)
    except RuntimeError:
        raise UserError(f"--device {options.device}: expected cuda, cuda:1 or cpu. Use one of them.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device {options.device}: expected a GPU, found none. Remove --device, or use cpu.")
    local_rank = place.local_rank if options.local_rank is None else options.local_rank
    if place.processes == 1:
        if local_rank > 0:
            raise UserError(
                f"--local_rank {local_rank}: expected RANK and WORLD_SIZE in the environment, found none. Start the "
                "processes with torchrun."
            )
        return
    if device.type == "cuda":
        gpus = torch.cuda.device_count()
        if device.index is not None:
            raise UserError(
                f"--device {options.device}: expected cuda for {place.processes} processes, found one GPU. Use cuda: "
                "each process then has its own GPU."
            )
        if max(place.local_processes, local_rank + 1) > gpus:
            raise UserError(
                f"expected one GPU per process, found {gpus} for {place.local_processes} processes. Start "
                f"'torchrun --nproc-per-node {gpus}', or use --device cpu."
            )
        options.device = f"cuda:{local_rank}"
    options.backend = options.backend or ("nccl" if device.type == "cuda" else "gloo")
    if options.backend == "nccl" and device.type == "cpu":
        raise UserError("--backend nccl: expected GPUs, found --device cpu. Remove --backend.")
    # S3PRL's runner uses this to detect distributed training.
    options.local_rank = local_rank


class Processes:
    """The processes of a distributed training, seen from this one. `place`: rank of this process."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._store: Any = None
        self._watch: threading.Thread | None = None
        self._ends = threading.Event()
        self._others_failed = False
        self._parent = os.getppid() if _STARTED_BY_TORCHRUN in os.environ else None

    def meet(self, options: argparse.Namespace) -> None:
        """Wait for all processes and create the process group; do nothing for a single process."""
        if self.place.processes == 1:
            return
        import torch
        from torch import distributed

        device = torch.device(options.device)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        store, _, _ = next(
            iter(distributed.rendezvous("env://", self.place.rank, self.place.processes, timeout=_RENDEZVOUS_TIMEOUT))
        )
        self._store = distributed.PrefixStore("lid_mapmix", store)
        # torchrun forwards Ctrl-C, so it arrives twice.
        signal.signal(signal.SIGINT, _interrupt_once)
        self._watch = threading.Thread(target=self._end_with_others, daemon=True)
        self._watch.start()
        distributed.init_process_group(
            options.backend,
            store=distributed.PrefixStore("group", store),
            rank=self.place.rank,
            world_size=self.place.processes,
            timeout=_COLLECTIVE_TIMEOUT,
            device_id=device if device.type == "cuda" else None,
        )
        distributed.barrier()

    def fails_first(self) -> bool:
        """Notify the other processes that this one fails; return whether it is the first, which prints the error."""
        if self._store is None:
            # There is no group yet: all processes of a machine find the same error.
            return self.place.local_rank == 0
        self.part()
        _end_after_timeout()
        if self._others_failed:
            return False
        try:
            first = self._store.add(_FAILED, 1) == 1
            if first and self.place.rank == 0:
                # Wait until all processes were notified: the store may end with this one.
                until = time.monotonic() + _END_TIMEOUT
                while self._store.add(_NOTIFIED, 0) < self.place.processes and time.monotonic() < until:
                    time.sleep(_POLL_SECONDS / 5)
        except RuntimeError:
            # The process that keeps the store has ended.
            return True
        return first

    def part(self) -> None:
        """Stop watching the other processes, and let them end without waiting for this one."""
        self._ends.set()
        if self._watch is not None:
            self._watch.join()
            self._watch = None
            if not self._others_failed:
                with suppress(RuntimeError):  # the store may have ended
                    self._store.add(_NOTIFIED, 1)

    def _end_with_others(self) -> None:
        """End this process after another has failed; without torchrun's agent it would wait in a collective."""
        while not self._ends.wait(_POLL_SECONDS):
            message = ""
            try:
                if self._store.check([_FAILED]):
                    self._others_failed = True
                    self._store.add(_NOTIFIED, 1)
                elif self._parent in (None, os.getppid()):
                    continue
                elif self._store.add(_FAILED, 1) == 1:
                    message = "torchrun, which started this process, has ended"
            except RuntimeError:
                # The store has ended; collectives between the remaining processes would still work.
                if self.place.local_rank == 0:
                    message = "the process that coordinates the others has ended"
            # An error of this process itself is more specific, and printed instead.
            if not self._ends.wait(_END_TIMEOUT):
                with suppress(OSError):
                    if message:
                        print(f"error: {message}; -a resumes from the last checkpoint", file=sys.stderr, flush=True)
                    sys.stdout.flush()
                os._exit(1)  # sys.exit would end this thread only


def _interrupt_once(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_after_timeout()
    raise KeyboardInterrupt


def _end_after_timeout() -> None:
    """End this process after a timeout, even if it hangs.

    A loader may wait forever for workers that were just starting, and so may a collective of NCCL. An interruption in a
    destructor is lost, since Python ignores errors there.
    """

    def end() -> None:
        time.sleep(_CLEANUP_TIMEOUT)
        sys.stdout.flush()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()
