"""The processes that train together: how each finds its place, how they meet, and how they end when one of them fails.

``torchrun --nproc-per-node N run_downstream.py ...`` starts them; each reads its place from the environment. Whatever
goes wrong in one of them is printed once and ends all of them in seconds, also without torchrun, whose agent would
otherwise do it, and also where a process waits in a collective for one that is gone.
"""

# ruff: noqa: PLC0415 - torch takes seconds to import, and the command line's help needs none of it.

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

# Of nodes that start at different times.
_TO_MEET = timedelta(minutes=10)
# The others wait in a collective while rank zero evaluates.
_TO_WAIT_FOR_THE_LEADER = timedelta(hours=24)
_LOOK_EVERY = 0.5  # seconds
_TO_END = 5.0  # seconds that a process has to end by itself when another one has failed
_TO_CLEAN_UP = 10.0  # seconds that a process has to end once it has failed itself
_FAILED, _HEARD = "failed", "heard"
# torchrun sets it in what it starts; without torchrun, whoever starts the processes may be done with that.
_STARTED_BY_TORCHRUN = "TORCHELASTIC_RUN_ID"


def choose_device(options: argparse.Namespace, place: Place) -> None:
    """Fill in device, backend and local rank; of several processes each has a GPU of its own.

    Raises
    ------
    UserError : no such device, fewer GPUs than processes, or a backend that does not go with the device.
    """
    import torch

    if options.device is None:
        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(options.device)
    except RuntimeError:
        raise UserError(f"--device {options.device}: is no device. Say cuda, cuda:1 or cpu.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device {options.device}: this machine has no usable GPU. Leave --device out, or say cpu.")
    local_rank = place.local_rank if options.local_rank is None else options.local_rank
    if place.processes == 1:
        if local_rank > 0:
            raise UserError(
                f"--local_rank {local_rank}: expected RANK and WORLD_SIZE in the environment, found none. Start the "
                "processes by torchrun."
            )
        return
    if device.type == "cuda":
        gpus = torch.cuda.device_count()
        if device.index is not None:
            raise UserError(
                f"--device {options.device}: is one GPU, found {place.processes} processes. Say cuda, and each takes "
                "one of its own."
            )
        if max(place.local_processes, local_rank + 1) > gpus:
            raise UserError(
                f"expected a GPU a process, found {gpus} for {place.local_processes} processes. Start "
                f"'torchrun --nproc-per-node {gpus}', or say --device cpu."
            )
        options.device = f"cuda:{local_rank}"
    options.backend = options.backend or ("nccl" if device.type == "cuda" else "gloo")
    if options.backend == "nccl" and device.type == "cpu":
        raise UserError("--backend nccl: needs GPUs, found --device cpu. Leave --backend out.")
    # By which S3PRL's runner knows that it is not alone.
    options.local_rank = local_rank


class Processes:
    """Those that train together, from where this one stands.

    Parameters
    ----------
    place : of this process.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._store: Any = None
        self._watch: threading.Thread | None = None
        self._ends = threading.Event()
        self._others_failed = False
        self._parent = os.getppid() if _STARTED_BY_TORCHRUN in os.environ else None

    def meet(self, options: argparse.Namespace) -> None:
        """Wait for all processes and join them into a group; alone, do nothing.

        Parameters
        ----------
        options : with device and backend.
        """
        if self.place.processes == 1:
            return
        import torch
        from torch import distributed

        device = torch.device(options.device)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        store, _, _ = next(
            iter(distributed.rendezvous("env://", self.place.rank, self.place.processes, timeout=_TO_MEET))
        )
        self._store = distributed.PrefixStore("lid_mapmix", store)
        # torchrun passes Ctrl-C on, so that it comes twice.
        signal.signal(signal.SIGINT, _interrupt_once)
        self._watch = threading.Thread(target=self._end_with_the_others, daemon=True)
        self._watch.start()
        distributed.init_process_group(
            options.backend,
            store=distributed.PrefixStore("group", store),
            rank=self.place.rank,
            world_size=self.place.processes,
            timeout=_TO_WAIT_FOR_THE_LEADER,
            device_id=device if device.type == "cuda" else None,
        )
        distributed.barrier()

    def fails_first(self) -> bool:
        """Tell the others that this process fails, and say whether it is the first, the one to say why."""
        if self._store is None:
            # They have not met: all processes of a machine find the same fault.
            return self.place.local_rank == 0
        self.part()
        _end_at_last()
        if self._others_failed:
            return False
        try:
            first = self._store.add(_FAILED, 1) == 1
            if first and self.place.rank == 0:
                self._let_the_others_hear()
        except RuntimeError:
            # Whoever keeps the store has gone without a word.
            return True
        return first

    def part(self) -> None:
        """Stop watching the others; they need not wait for this process any more."""
        self._ends.set()
        if self._watch is not None:
            self._watch.join()
            self._watch = None
            if not self._others_failed:
                with suppress(RuntimeError):  # the store may be gone by now
                    self._store.add(_HEARD, 1)

    def _let_the_others_hear(self) -> None:
        """Wait a little, since the store may end with this process."""
        until = time.monotonic() + _TO_END
        while self._store.add(_HEARD, 0) < self.place.processes and time.monotonic() < until:
            time.sleep(_LOOK_EVERY / 5)

    def _end_with_the_others(self) -> None:
        """Watch for the failure of another process, which this one might otherwise wait for, and end it as well.

        Without torchrun's agent, processes that are left would train on, and nobody could stop them together.
        """
        while not self._ends.wait(_LOOK_EVERY):
            message = ""
            try:
                if self._store.check([_FAILED]):
                    self._others_failed = True
                    self._store.add(_HEARD, 1)
                elif self._parent in (None, os.getppid()):
                    continue
                elif self._store.add(_FAILED, 1) == 1:
                    message = "torchrun, which has started this process, is gone"
            except RuntimeError:
                # Collectives among those that are left would still work.
                if self.place.local_rank == 0:
                    message = "the process by which all keep in touch is gone"
            # What goes wrong in this process itself says more.
            if not self._ends.wait(_TO_END):
                with suppress(OSError):
                    if message:
                        print(f"error: {message}; -a goes on from the last checkpoint", file=sys.stderr, flush=True)
                    sys.stdout.flush()
                os._exit(1)  # sys.exit would end this thread only


def _interrupt_once(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_at_last()
    raise KeyboardInterrupt


def _end_at_last() -> None:
    """See to it that this process ends, also where what it leaves behind does not let it.

    A loader whose workers were about to start may wait for them for ever, and so may a collective of nccl's; and an
    interruption is lost where Python ignores errors, in a destructor.
    """

    def end() -> None:
        time.sleep(_TO_CLEAN_UP)
        sys.stdout.flush()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()
