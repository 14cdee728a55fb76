"""The scripts in bench/ run to their end; what they measure here, at sizes that say nothing, is not looked at."""

import os
import signal
import subprocess
import sys
import time

import pytest
from helpers.forking import run_forked, run_script
from helpers.launching import ROOT
from helpers.synthetic import make_corpus

DYNAMICS = ("--tables", "naive", "--naive-utterances", 500, "--epochs", 2, "--repeats", 1)
FROZEN = ("--utterances", 2, "--batch-size", 2, "--repeats", 1, "--layers", 1, "--crop-seconds", 1)
DATALOAD = ("--files", 1, "--repeats", 1, "--steps", 3, "--workers", 1)
EVALUATE = ("--tables", "short", "--files", 5, "--repeats", 1, "--steps", 2)
PREDICT = ("--utterances", 2, "--hours", 0.01)
ADAPTERS = ("--kinds", "whisper_small", "--seconds", 0.1, "--repeats", 0)
TRAIN_STEP = ("--size", "tiny", "--seconds", 0.5, "--repeats", 1)


@pytest.fixture(scope="module")
def short_corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"), seconds=0.5)


def test_a_bench_that_is_stopped_leaves_no_folder(tmp_path):
    arguments = [sys.executable, ROOT / "bench/dynamics.py", "--tables", "map", "--out", tmp_path]
    path = f"{ROOT / 'downstream'}:{ROOT / 'bench'}"
    process = subprocess.Popen([*map(str, arguments)], env={**os.environ, "PYTHONPATH": path})
    until = time.monotonic() + 120
    while not any(tmp_path.iterdir()) and time.monotonic() < until:
        time.sleep(0.1)
    process.terminate()
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("script", "flags", "printed"),
    [
        ("dynamics.py", DYNAMICS, "naive"),
        ("evaluate.py", EVALUATE, "largest difference"),
        ("frozen.py", FROZEN, "without / from the cache"),
        ("train_step.py", TRAIN_STEP, "ratio"),
        ("train_step.py", (*TRAIN_STEP, "--precision", "bf16", "--plain-precision", "bf16"), "ratio"),
        ("bootstrap.py", (), "peak"),
        ("adapters.py", ADAPTERS, "LoRA, feed_forward"),
        ("intervals.py", ("--classes", 2, "--units", 4, "--repeats", 1, "--samples", 10), "coverage"),
        ("check.py", ("--files", 20, "--utterances", 300, "--threads", 2, "--data", "CORPUS"), "peak"),
        ("manifest.py", ("--rows", 300, "--list-rows", 30, "--repeats", 1), "parquet"),
        ("predict.py", [*PREDICT, "--run", "RUN", "--data", "CORPUS"], "peak of memory"),
        ("startup.py", ("--rows", 200, "--repeats", 1), "predict here"),
        ("contention.py", ("--loops", 0, 1, "--repeats", 1, "--steps", 1), "after / fair"),
        ("shards.py", ("--crop-files", 3, "--files", 9, "--repeats", 1), "sph, written in another"),
        ("dataload.py", [*DATALOAD, "--data", "CORPUS"], "waiting for data in 3 steps"),
    ],
)
def test_a_script_runs(script, flags, printed, short_corpus, trained, tmp_path):
    stands_for = {"CORPUS": short_corpus, "RUN": trained}
    flags = [stands_for.get(flag, flag) for flag in flags]
    done = run_forked(run_script, ROOT / "bench" / script, flags, tmp_path, [ROOT / "bench"], timeout=400)
    assert done.returncode == 0, done.stderr
    assert printed in done.stdout
