"""Runs of the command line that tests make: filter banks on the CPU, settings so small that a run takes seconds."""

import hashlib
import itertools
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import torch
from lid_mapmix.apps.runs import launch
from lid_mapmix.expert import DownstreamExpert

from .forking import run_code, start_forked

ROOT = Path(__file__).parents[2]
QUICK = {
    "downstream_expert.epochs": 2,
    "downstream_expert.datamap.epochs": 2,
    "downstream_expert.data.crop_seconds": 0.5,
    "downstream_expert.model.encoder": "none",
    "downstream_expert.data.workers": 0,
    "runner.report": False,
}


def overrides(settings=None):
    """Return -o's text for the quick settings and `settings` over them."""
    return ",,".join(f"config.{key}={value}" for key, value in {**QUICK, **(settings or {})}.items())


def train(data, expdir, *flags, settings=None):
    """Train and return the exit status."""
    where = ["-u", "fbank", "--data", data, "-p", expdir, "--device", "cpu", "-o", overrides(settings)]
    return run(*where, *flags)


def run(*flags):
    """Run the command line in this process and return its exit status, of wrong flags as well."""
    try:
        return launch.main([str(flag) for flag in flags])
    except SystemExit as exit_:
        return exit_.code


def run_python(*arguments, path=(), cwd=None, timeout=120):
    """Run Python in a fresh process that finds `path` and what is installed, and return the completed process."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), "OMP_NUM_THREADS": "1"},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def free_port():
    """Return the number of a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start_processes(count, code, *arguments):
    """Start Python processes that are to train together, without torchrun, and return them; forking.finish waits."""
    fixed = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": free_port(), "MASTER_ADDR": "127.0.0.1"}
    places = [{"RANK": rank, "LOCAL_RANK": rank, **fixed} for rank in range(count)]
    arguments = (textwrap.dedent(code), [str(argument) for argument in arguments])
    return [
        start_forked(run_code, *arguments, environment={name: str(value) for name, value in place.items()})
        for place in places
    ]


def keep_gradients(folder):
    """Let the process's training keep the gradients of its steps, in files that are numbered from 0 on."""
    original, steps = torch.nn.utils.clip_grad_norm_, itertools.count()
    folder.mkdir(parents=True)

    def clip(parameters, *arguments):
        torch.save([parameter.grad.clone() for parameter in parameters], folder / f"{next(steps)}.pt")
        return original(parameters, *arguments)

    return clip


def weights(checkpoint):
    """Return the trained tensors of a checkpoint."""
    states = torch.load(checkpoint, map_location="cpu", weights_only=True)
    tensors = {f"head.{name}": value for name, value in states["Downstream"].items() if torch.is_tensor(value)}
    return tensors | {f"featurizer.{name}": value for name, value in states["Featurizer"].items()}


def last_checkpoint(folder):
    """Return the latest states-STEP.ckpt."""
    return max(Path(folder).glob("states-*.ckpt"), key=lambda path: int(path.stem.removeprefix("states-")))


def assert_same_weights(one, other):
    """Compare the last checkpoints of two runs bit for bit."""
    assert last_checkpoint(one).name == last_checkpoint(other).name
    first, second = weights(last_checkpoint(one)), weights(last_checkpoint(other))
    assert first.keys() == second.keys()
    differing = [name for name in first if not torch.equal(first[name], second[name])]
    assert not differing


def assert_same_files(one, other, *names):
    """Compare files of two folders byte for byte."""
    for name in names:
        assert (Path(one) / name).read_bytes() == (Path(other) / name).read_bytes(), name


def listing(folder):
    """Return what every file of a folder is: its time and its content."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def interrupt_at(monkeypatch, step, error=KeyboardInterrupt):
    """Let the process's training stop before its `step`-th step, all runs of the command counted together."""
    steps = 0
    original = DownstreamExpert.forward

    def forward(self, split, *arguments, **keywords):
        nonlocal steps
        steps += split == "train"
        if split == "train" and steps == step:
            raise error
        return original(self, split, *arguments, **keywords)

    monkeypatch.setattr(DownstreamExpert, "forward", forward)
