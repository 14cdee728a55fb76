"""Whole runs of several processes: gloo on the CPU, filter banks, a tiny corpus whose last batch has one utterance."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch
from helpers.forking import finish
from helpers.launching import (
    ROOT,
    assert_same_files,
    assert_same_weights,
    free_port,
    keep_gradients,
    last_checkpoint,
    listing,
    overrides,
    start_processes,
    train,
    weights,
)
from helpers.synthetic import make_corpus

# 28 utterances are three batches of nine, which two processes share out as four and five, and one for one of them.
UTTERANCES, BATCH = 28, 9
# A checkpoint every second step falls within the epochs of four steps.
SETTINGS = {"downstream_expert.data.batch_size": BATCH, "runner.save_step": 2}

COMMAND = """
import os, pathlib, runpy, sys
import torch
from helpers.launching import keep_gradients
script, gradients, *sys.argv[1:] = sys.argv[1:]
torch.nn.utils.clip_grad_norm_ = keep_gradients(pathlib.Path(gradients, os.environ["RANK"]))
runpy.run_path(script, run_name="__main__")
"""
# Runs in the same processes, one after the other, each of which meets the others anew. In a step, an event happens.
RUNS = """
import contextlib, io, json, os, signal, sys, time
import torch
torch.set_num_threads(1)
from helpers.launching import DownstreamExpert, train
from lid_mapmix.apps.runs import processes
from lid_mapmix.utils.errors import UserError
rank, original = int(os.environ["RANK"]), DownstreamExpert.forward
def forward(self, split, *arguments, **keywords):
    global steps
    steps += split == "train"
    exec(event)
    return original(self, split, *arguments, **keywords)
DownstreamExpert.forward = forward
processes._END_TIMEOUT = 1.0
processes._CLEANUP_TIMEOUT = 1000.0  # this program goes on
for port, data, expdir, flags, settings, event in json.loads(sys.argv[1]):
    os.environ["MASTER_PORT"], steps = str(port), 0
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as errors:
        status = train(data, expdir, *flags, settings=settings)
    print(json.dumps([status, errors.getvalue()]), flush=True)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("data"), sizes={"train": UTTERANCES // 4, "dev": 3, "test": 3})


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    """Return the folder of a run of one process; beside it, its gradients."""
    folder = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", keep_gradients(folder / "gradients" / "0"))
        assert train(data, folder / "run", settings=SETTINGS) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def together(data, tmp_path_factory):
    """Return the folder of the same run of two processes, started by torchrun; beside it, gradients and outputs."""
    folder = tmp_path_factory.mktemp("together")
    (folder / "command.py").write_text(textwrap.dedent(COMMAND))
    flags = ["-u", "fbank", "--data", data, "-p", folder / "run", "--device", "cpu", "-o", overrides(SETTINGS)]
    arguments = [folder / "command.py", ROOT / "run_downstream.py", folder / "gradients", *flags]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    process = subprocess.run(
        [*torchrun, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'downstream'}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    (folder / "stdout").write_text(process.stdout)
    (folder / "stderr").write_text(process.stderr)
    return folder / "run"


def run_two(*runs):
    """Train in two processes, without torchrun, some runs one after the other.

    Parameters
    ----------
    runs : (data, folder, flags, event) each; event is a program that each process runs before each step.

    Returns
    -------
    the status of each process; for each run the (status, standard error) of every process that ended it by itself.
    """
    listed = [(free_port(), str(data), str(to), flags, SETTINGS, event) for data, to, flags, event in runs]
    ended = finish(start_processes(2, RUNS, json.dumps(listed)))
    printed = [[json.loads(line) for line in output.splitlines()] for _, output, _ in ended]
    return [status for status, *_ in ended], [
        [own[number] for own in printed if number < len(own)] for number in range(len(runs))
    ]


def messages(run):
    """Return what the processes of a run say of its end."""
    return [line for _, text in run for line in text.splitlines() if re.match("error: |interrupted|Traceback", line)]


def files(folder):
    """List a run's files, without the times in their names."""
    paths = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return sorted(re.sub(r"\d{4}(-\d\d){5}|tfevents\..*", "TIME", path) for path in paths)


def differences(one, other):
    """Return how far each tensor of two lists is from its like, in parts of the largest of its values."""
    return [
        ((first - second).abs().max() / first.abs().max().clamp(min=1e-3)).item()
        for first, second in zip(one, other, strict=True)
    ]


def assert_close_weights(one, other, tolerance=1e-4):
    """Compare the last checkpoints of two runs but for a bias that the softmax over time cancels.

    Its gradient is what rounding leaves, which Adam makes as large as any other.
    """
    assert last_checkpoint(one).name == last_checkpoint(other).name
    first, second = weights(last_checkpoint(one)), weights(last_checkpoint(other))
    assert first.keys() == second.keys()
    names = first.keys() - {"head.model.pooling.score.bias"}
    assert max(differences([first[name] for name in names], [second[name] for name in names])) < tolerance


def test_everything_is_printed_and_written_once(alone, together):
    assert files(together) == files(alone)
    for folder in (".", "datamap"):
        logs = [(run / folder / "log.log").read_text().splitlines() for run in (alone, together)]
        assert len(logs[0]) == len(logs[1])
    printed = (together.parent / "stdout").read_text()
    for line in ("run in", "stage 1 of 2", "stage 2 of 2"):
        assert printed.count(f"[lid_mapmix] {line}") == 1
    assert printed.count("dev at step 4") == 2, "once a stage"
    assert len(re.findall(r"^test +\d\.\d{3}", printed, re.MULTILINE)) == 1
    errors = (together.parent / "stderr").read_text()
    assert "Traceback" not in errors
    assert errors.count("test: 100%") <= 2


def test_the_dynamics_are_those_of_one_process(alone, together):
    for epoch in range(2):
        one, two = (np.load(run / f"datamap/dynamics/epoch-{epoch:04d}.npz") for run in (alone, together))
        assert sorted(two["indices"]) == list(range(UTTERANCES))
        np.testing.assert_array_equal(one["indices"], two["indices"])
        np.testing.assert_allclose(one["probabilities"], two["probabilities"], atol=1e-5)
    with (together / "datamap/datamap.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == UTTERANCES
    assert {row["epochs"] for row in rows} == {"2"}


def test_the_gradients_are_those_of_one_process(alone, together):
    steps = {path.name for path in (alone.parent / "gradients/0").iterdir()}
    assert len(steps) > 8, "eight steps for the data map, then Map-Mix"
    for step in steps:
        one = torch.load(alone.parent / "gradients/0" / step)
        first, second = (torch.load(together.parent / "gradients" / rank / step) for rank in "01")
        assert all(map(torch.equal, first, second)), "of both processes"
        assert max((a - b).abs().max().item() for a, b in zip(one, first, strict=True)) < 1e-5
        if step in {"0.pt", "8.pt"}:  # from the same weights
            assert max(differences(one, first)) < 1e-5


def test_the_trained_weights_are_those_of_one_process(alone, together):
    assert_close_weights(alone / "datamap", together / "datamap")
    assert_close_weights(alone, together)


@pytest.fixture(scope="module")
def killed(data, tmp_path_factory):
    """Return the folder of a data map whose two processes are killed in the middle of its second epoch."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    event = "if steps == 8: os.kill(os.getpid(), signal.SIGKILL)"
    statuses, _ = run_two((data, folder, ["-v", "datamap"], event))
    assert statuses == [-9, -9]
    assert last_checkpoint(folder).name == "states-6.ckpt"
    return folder


def test_a_killed_run_goes_on_as_if_it_had_not_been(data, killed, together, tmp_path):
    folder = shutil.copytree(killed, tmp_path / "run")
    _, (run,) = run_two((data, folder, ["-a"], ""))
    assert [status for status, _ in run] == [0, 0], run
    assert_same_weights(folder, together / "datamap")
    assert_same_files(folder, together / "datamap", "datamap.csv", "class_similarity.csv")


def test_a_killed_run_goes_on_in_one_process(data, killed, alone, tmp_path):
    folder = shutil.copytree(killed, tmp_path / "run")
    assert train(data, folder, "-a", settings=SETTINGS) == 0
    assert_close_weights(folder, alone / "datamap")
    for epoch in range(2):
        one, two = (np.load(run / f"dynamics/epoch-{epoch:04d}.npz") for run in (alone / "datamap", folder))
        np.testing.assert_array_equal(one["indices"], two["indices"])


# Faults --------------------------------------------------------------------------------------------------------------

# The terminal interrupts every process, and torchrun does so again.
INTERRUPTED_TWICE = """
if steps == 2:
    try:
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        os.kill(os.getpid(), signal.SIGINT)
"""
# Rank zero waits as it would in a collective of nccl's, which does not notice that a process is gone.
ONLY_IN_ONE = """
if steps == 2 and rank == 1:
    raise UserError("only here")
if steps == 2:
    open(expdir + "/waits", "w").close()
    time.sleep(90)
"""


@pytest.fixture(scope="module")
def faults(data, killed, tmp_path_factory):
    """Return how runs end in which something goes wrong, and the folder of the last."""
    folder = tmp_path_factory.mktemp("faults")
    held = shutil.copytree(killed, folder / "held")
    broken = shutil.copytree(data, folder / "broken data")
    next((broken / "audio/train").iterdir()).write_bytes(b"no audio")
    before, started = listing(held), time.monotonic()
    statuses, runs = run_two(
        (data, held, [], ""),
        (broken, folder / "broken", [], ""),
        (data, folder / "interrupted", ["-v", "datamap"], INTERRUPTED_TWICE),
        (data, folder / "one", ["-v", "datamap"], ONLY_IN_ONE),
    )
    assert time.monotonic() - started < 80, "nobody waits for what will not come"
    assert listing(held) == before
    assert not (folder / "broken").exists()
    return folder, statuses, runs


def test_a_fault_of_rank_zero_is_printed_once_and_ends_all(faults):
    folder, _, (run, *_) = faults
    assert [status for status, _ in run] == [1, 1]
    (message,) = messages(run)
    assert message.startswith(f"error: {folder / 'held'}: already holds a run")


def test_a_fault_that_all_processes_find_is_printed_once(faults):
    _, _, (_, run, *_) = faults
    assert [status for status, _ in run] == [1, 1]
    (message,) = messages(run)
    assert "broken data" in message


def test_ctrl_c_is_one_message(faults):
    _, _, (_, _, run, _) = faults
    assert [status for status, _ in run] == [130, 130]
    assert messages(run) == ["interrupted; -a resumes from the last checkpoint"]


def test_a_fault_of_one_process_ends_the_others_wherever_they_wait(faults):
    folder, statuses, (*_, run) = faults
    assert (folder / "one/waits").exists()
    assert statuses == [1, 0], "rank zero is ended; the other one has gone on to the end of this test's program"
    assert [status for status, _ in run] == [1]
    assert messages(run) == ["error: only here"]
