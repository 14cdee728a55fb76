"""The scripts in bench/ run to their end; what they measure here, at sizes that say nothing, is not looked at."""

import pytest
from launching import ROOT, run_python
from synthetic import make_corpus

DYNAMICS = ("--steps", 4, "--utterances", 2000, "--naive-utterances", 500, "--epochs", 2, "--repeats", 1)
FROZEN = ("--utterances", 2, "--batch-size", 2, "--repeats", 1, "--layers", 1, "--crop-seconds", 1)
DATALOAD = ("--files", 1, "--repeats", 1, "--steps", 3, "--workers", 1)
TRAIN_STEP = ("--size", "tiny", "--seconds", 0.5, "--repeats", 1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"), seconds=0.5)


@pytest.mark.parametrize(
    ("script", "flags", "printed"),
    [
        ("dynamics.py", DYNAMICS, "naive"),
        ("frozen.py", FROZEN, "without / from the cache"),
        ("train_step.py", TRAIN_STEP, "ratio"),
        ("train_step.py", (*TRAIN_STEP, "--precision", "bf16", "--plain-precision", "bf16"), "ratio"),
        ("dataload.py", [*DATALOAD, "--data", "CORPUS"], "waiting for data in 3 steps"),
    ],
)
def test_a_script_runs(script, flags, printed, corpus, tmp_path):
    flags = [corpus if flag == "CORPUS" else flag for flag in flags]
    path = [ROOT / "downstream", ROOT / "bench"]
    done = run_python(ROOT / "bench" / script, *flags, path=path, cwd=tmp_path, timeout=400)
    assert done.returncode == 0, done.stderr
    assert printed in done.stdout
