"""A run that is killed, at whatever point, and gone on with by -a ends as one that was not: bit for bit, all files."""

import signal

import pytest
from helpers.forking import run_forked
from helpers.killing import train_and_die
from helpers.launching import assert_same_files, assert_same_weights, train

# Batches of 4: 8 an epoch, two epochs of the data map and two of Map-Mix; saved and evaluated within the epochs.
SETTINGS = {"downstream_expert.data.batch_size": 4, "runner.save_step": 3, "runner.eval_step": 4}
FILES = tuple(f"{split}_{name}" for split in ("dev", "test") for name in ("scores.csv", "metrics.json", "predict.txt"))
MAP_FILES = ("datamap.csv", "class_similarity.csv", "dynamics/epoch-0001.npz")
# What is killed in a run of Map-Mix or of another variant, and at which call of it; -1 is the last.
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
}


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    """Return the folder of a run that was not killed, and how many checkpoints it wrote."""
    folder = tmp_path_factory.mktemp("whole") / "mapmix"
    process = run_forked(train_and_die, "torch:save", 0, "mapmix", corpus, folder, SETTINGS)
    assert process.returncode == 0, process.stderr
    return folder, int(process.stdout.split()[-1])


@pytest.mark.parametrize("where", PLACES)
def test_a_killed_run_ends_like_one_that_was_not(where, corpus, whole, tmp_path):
    folder, saves = whole
    place, call = PLACES[where]
    call = call if call > 0 else saves
    process = run_forked(train_and_die, place, call, "mapmix", corpus, tmp_path / "run", SETTINGS)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert train(corpus, tmp_path / "run", "-v", "mapmix", "-a", settings=SETTINGS) == 0
    assert_same_weights(tmp_path / "run", folder)
    assert_same_files(tmp_path / "run", folder, *FILES)
    assert_same_weights(tmp_path / "run/datamap", folder / "datamap")
    assert_same_files(tmp_path / "run/datamap", folder / "datamap", *MAP_FILES)
    assert not list((tmp_path / "run").rglob("*.part"))
