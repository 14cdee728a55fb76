"""Silences libmpg123, the MP3 decoder in libsndfile.

It writes to standard error without the file's name, also about valid files: after each seek it lacks bits of earlier
frames. What is wrong with a file is found by its frames (:mod:`.mp3`), or because it ends early.
"""

import ctypes
import functools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_lock = Lock()
_users = 0
_original: int | None = None


@contextmanager
def silent_decoder() -> Iterator[None]:
    """Discard what C libraries write to the C variable ``stderr`` in the block; Python's messages are not affected.

    Several threads may be in such a block. Where the variable does not exist, as on Windows, nothing is done.
    """
    global _users, _original  # noqa: PLW0603 - the variable is global to the process
    variable, null = _standard_error()
    if variable is None:
        yield
        return
    with _lock:
        if _users == 0:
            _original, variable.value = variable.value, null
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                variable.value = _original


def _reset_in_child() -> None:
    """Begin again in a process that was forked while another thread was in a block."""
    global _lock, _users
    variable, _ = _standard_error()
    if variable is not None and _users:
        variable.value = _original
    _lock, _users = Lock(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_in_child)


@functools.cache
def _standard_error() -> tuple[ctypes.c_void_p | None, int | None]:
    """Return the C variable, and a stream that discards everything."""
    try:
        library = ctypes.CDLL(None)
        variable = ctypes.c_void_p.in_dll(library, "__stderrp" if sys.platform == "darwin" else "stderr")
    except (TypeError, OSError, ValueError):
        return None, None
    library.fopen.restype = ctypes.c_void_p
    null = library.fopen(b"/dev/null", b"w")
    return (variable, null) if null else (None, None)
