"""Garbage collection without the half million objects of imported modules, which would take half a second."""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


def collect_none_at_exit() -> None:
    """Let the process end without a last collection, which takes as long as a fifth of torch's import."""
    atexit.register(gc.freeze)


@contextmanager
def collecting_only_new() -> Iterator[None]:
    """Restrict garbage collections in the block to objects that it creates."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
