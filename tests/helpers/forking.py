"""Processes of their own that need not import torch: each is forked from a server that has imported it once."""

import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
_PATH = os.pathsep.join(str(ROOT / name) for name in ("downstream", "tests"))
_STREAMS = ("stdout", "stderr")
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["helpers.preloaded"])


def run_forked(function, *arguments, environment=None, timeout=120):
    """Call a function of a module in a fresh process, and wait for it.

    Parameters
    ----------
    function, arguments : can be pickled; what the function returns is the exit status (None is 0).
    environment : variables that it sees besides this process's.
    timeout : seconds, after which it is killed.

    Returns
    -------
    subprocess.CompletedProcess with text, as of :func:`subprocess.run`.
    """
    (done,) = finish([start_forked(function, *arguments, environment=environment)], timeout)
    return subprocess.CompletedProcess(function.__name__, *done)


def start_forked(function, *arguments, environment=None):
    """Start such a process, and return it; :func:`finish` waits for it."""
    # The server is started by the first process, and sees this process's variables of that time.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (_PATH, os.environ.get("PYTHONPATH"))))
    outputs = tempfile.mkdtemp()
    variables = {**os.environ, **(environment or {})}
    process = _CONTEXT.Process(target=_call, args=(function, arguments, variables, outputs))
    process.outputs = Path(outputs)
    process.start()
    return process


def finish(processes, timeout=100):
    """Wait for such processes and return (status, standard output, standard error) of each; none outlives the call."""
    try:
        for process in processes:
            process.join(timeout)
            if process.exitcode is None:
                raise subprocess.TimeoutExpired(process.name, timeout)
        return [(process.exitcode, *(_text(process.outputs / name) for name in _STREAMS)) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.join()
            shutil.rmtree(process.outputs, ignore_errors=True)


def run_code(code, arguments):
    """Run a program's text as ``python -c`` does."""
    sys.argv = ["-c", *arguments]
    exec(compile(code, "<test>", "exec"), {"__name__": "__main__"})  # noqa: S102 - a test's own text


def _text(path):
    return path.read_text() if path.exists() else ""


def _call(function, arguments, variables, outputs):
    import torch

    os.environ.clear()
    os.environ.update(variables)
    for name in _STREAMS:
        with Path(outputs, name).open("w") as file:
            os.dup2(file.fileno(), getattr(sys, name).fileno())
    torch.set_num_threads(1)
    sys.exit(function(*arguments))
