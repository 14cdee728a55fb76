"""Garbage collection that passes over the half million objects of imported modules, which takes half a second."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collecting_only_new() -> Iterator[None]:
    """Let collections within look at what was made within only."""
    is_outermost = gc.get_freeze_count() == 0
    gc.freeze()
    try:
        yield
    finally:
        if is_outermost:
            gc.unfreeze()
