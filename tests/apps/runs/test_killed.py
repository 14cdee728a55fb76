"""A run that is killed, at whatever point, and gone on with by -a ends as one that was not: bit for bit, all files."""

import json
import signal

import pytest
from helpers.launching import ROOT, assert_same_files, assert_same_weights, run_python, train

# Batches of 4: 8 an epoch, two epochs of the data map and two of Map-Mix; saved and evaluated within the epochs.
SETTINGS = {"downstream_expert.data.batch_size": 4, "runner.save_step": 3, "runner.eval_step": 4}
# An epoch in which an online run observes, and one of its own regions.
SETTINGS["downstream_expert.mapmix.warmup_epochs"] = 1
FILES = tuple(f"{split}_{name}" for split in ("dev", "test") for name in ("scores.csv", "metrics.json", "predict.txt"))
MAP_FILES = ("datamap.csv", "likeness.csv", "dynamics/epoch-0001.npz")
# What is killed in a run of Map-Mix, or in one of another variant, and at which call of it; -1 is the last.
PLACES = {
    "in the first step": ("lid_mapmix.training.run:TrainingRun.loss", 1),
    "in a step of the data map": ("lid_mapmix.training.run:TrainingRun.loss", 7),
    "writing a checkpoint of the data map": ("torch:save", 3),
    "before an epoch of dynamics is written": ("lid_mapmix.training.dynamics:write_epoch", 2),
    "before the data map is written": ("lid_mapmix.training.dynamics:write_map", 2),
    "between the stages": ("lid_mapmix.apps.runs.run:make_runner", 2),
    "in a step of Map-Mix": ("lid_mapmix.training.run:TrainingRun.loss", 22),
    "in an evaluation of Map-Mix": ("lid_mapmix.evaluation.evaluator:Evaluation.conclude", 5),
    "writing a checkpoint of Map-Mix": ("torch:save", -1),
    "before the test split is scored": ("lid_mapmix.apps.runs.run:make_runner", 3),
    "in an epoch of regions that the run has drawn itself": ("lid_mapmix.training.run:TrainingRun.loss", 12),
    "in the plain end": ("lid_mapmix.training.run:TrainingRun.loss", 25),
}
VARIANTS = {
    "in an epoch of regions that the run has drawn itself": "mapmix_online",
    "in the plain end": "mapmix_finish",
}
SCRIPT = """
import importlib, json, os, signal, sys
import torch
torch.set_num_threads(1)
from helpers.launching import train

place, call, variant, data, expdir, settings = json.loads(sys.argv[1])
module, _, names = place.partition(":")
*owners, name = names.split(".")
owner = importlib.import_module(module)
for each in owners:
    owner = getattr(owner, each)
original, calls = getattr(owner, name), 0

def killed(*arguments, **keywords):
    global calls
    calls += 1
    if name == "save" and calls == call:
        arguments[1].write_bytes(b"half a checkpoint")
    if calls == call:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **keywords)

setattr(owner, name, killed)
train(data, expdir, "-v", variant, settings=settings)
if call < 0:
    print(calls)
"""


def train_in_a_process(place, call, variant, data, expdir):
    arguments = json.dumps([place, call, variant, str(data), str(expdir), SETTINGS])
    return run_python("-c", SCRIPT, arguments, path=[ROOT / "downstream", ROOT / "tests"])


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    """Return a function that gives the folder of a run that was not killed, and how many checkpoints it wrote."""
    folder, saves = tmp_path_factory.mktemp("whole"), {}

    def of(variant):
        if variant not in saves:
            process = train_in_a_process("torch:save", -1, variant, corpus, folder / variant)
            assert process.returncode == 0, process.stderr
            saves[variant] = int(process.stdout.split()[-1])
        return folder / variant, saves[variant]

    return of


@pytest.mark.parametrize("where", PLACES)
def test_a_killed_run_ends_like_one_that_was_not(where, corpus, whole, tmp_path):
    variant = VARIANTS.get(where, "mapmix")
    folder, saves = whole(variant)
    place, call = PLACES[where]
    process = train_in_a_process(place, call if call > 0 else saves, variant, corpus, tmp_path / "run")
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert train(corpus, tmp_path / "run", "-v", variant, "-a", settings=SETTINGS) == 0
    assert_same_weights(tmp_path / "run", folder)
    assert_same_files(tmp_path / "run", folder, *FILES)
    if variant != "mapmix_online":
        assert_same_weights(tmp_path / "run/datamap", folder / "datamap")
        assert_same_files(tmp_path / "run/datamap", folder / "datamap", *MAP_FILES)
    assert not list((tmp_path / "run").rglob("*.part"))
