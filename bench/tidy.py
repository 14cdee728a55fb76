"""Lets a script that is stopped by SIGTERM leave nothing behind."""

import multiprocessing
import os
import signal
import sys
from types import FrameType
from typing import NoReturn


def tidy_when_stopped() -> None:
    """Turn SIGTERM into an exit through all `with` blocks, which delete their temporary folders."""
    signal.signal(signal.SIGTERM, _stop)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    # They would be waited for.
    for child in multiprocessing.active_children():
        child.terminate()
    # Where an executor is just starting, its own end fails, and the exit status would be that of its error.
    sys.excepthook = lambda *_: os._exit(128 + number)
    sys.exit(128 + number)
