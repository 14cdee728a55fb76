"""The process of a run: the lock that it inherits, how it is made to end, and what it prints."""

import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

OUTPUT_NAME = "output.txt"
LOOK_EVERY = 0.2  # seconds
_TO_END = 20.0  # seconds that a run has to end once it is interrupted


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Hold a lock and give its file descriptor, for a process to inherit; filelock, of whose kind it is, gives none.

    Raises
    ------
    BlockingIOError : somebody else holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    finally:
        os.close(descriptor)


def run_process(
    command: Sequence[str], output: Path, environment: Mapping[str, str], stop: threading.Event, lock: int
) -> int:
    """Run a command to its end, or until `stop` is set and it has ended for that, and return its exit status.

    Parameters
    ----------
    command : with its arguments.
    output : the file that what it prints is appended to.
    environment : its variables.
    stop : set when it is to end.
    lock : a file descriptor that it inherits.
    """
    with output.open("a", encoding="utf-8") as printed:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            env=environment,
            # An interruption from the keyboard reaches this process only, which then ends the run itself.
            start_new_session=True,
            pass_fds=[lock],
        )
    until = None
    while True:
        try:
            return process.wait(LOOK_EVERY)
        except subprocess.TimeoutExpired:
            if not stop.is_set():
                continue
        if until is None:
            os.killpg(process.pid, signal.SIGINT)
            until = time.monotonic() + _TO_END
        elif time.monotonic() > until:
            os.killpg(process.pid, signal.SIGKILL)


def size_of(path: Path) -> int:
    """Return a file's size in bytes; 0 where there is none."""
    return path.stat().st_size if path.is_file() else 0


def fault_of(output: Path, start: int, status: int) -> str:
    """Return what a run said last, from a place in its output on, as far as it says what went wrong."""
    with output.open("rb") as printed:
        printed.seek(start)
        lines = printed.read().decode(errors="replace").splitlines()
    # A negative status is the number of the signal that has ended it.
    ended = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    said = next((line for line in reversed(lines) if line.startswith("error: ")), ended)
    return f"{said.removeprefix('error: ')} (see {output})"
