"""Trainings that end in the middle: the process is killed at a given call of a given function."""

import importlib
import os
import signal

from .launching import train


def train_and_die(place, call, variant, data, expdir, settings):
    """Train, kill the process at the call, and print how often the function was called if it was not.

    Parameters
    ----------
    place : "module:function" or "module:class.method".
    call : which call of it, from 1 on; 0 for none. A ``save`` has written half a file by then.
    variant, data, expdir, settings : of the run.
    """
    module, _, names = place.partition(":")
    *owners, name = names.split(".")
    owner = importlib.import_module(module)
    for each in owners:
        owner = getattr(owner, each)
    original, calls = getattr(owner, name), 0

    def killed(*arguments, **keywords):
        nonlocal calls
        calls += 1
        if calls == call:
            if name == "save":
                arguments[1].write_bytes(b"half a checkpoint")
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **keywords)

    setattr(owner, name, killed)
    status = train(data, expdir, "-v", variant, settings=settings)
    print(calls)
    return status
