"""What goes with a checkpoint to another folder."""

import re
from argparse import Namespace

import pytest
import torch
from helpers.launching import assert_same_files, run
from lid_mapmix.training.checkpoints import Past, check_complete
from lid_mapmix.utils.errors import UserError
from lid_mapmix.utils.run_folder import RunFolder

STATES = "states-6.ckpt"


def change(path, change_state):
    """Let a checkpoint hold something else."""
    states = torch.load(path, weights_only=True)
    change_state(states)
    torch.save(states, path)


def test_a_run_that_goes_on_elsewhere_has_its_best_checkpoint_with_the_scores_of_it(trained, tmp_path):
    Past.of(trained / STATES).copy_to(RunFolder(tmp_path), records=False)
    names = [path.name for path in (trained / "dev-best.ckpt", *RunFolder(trained).score_files("dev"))]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert_same_files(trained, tmp_path, *names)


def test_a_best_checkpoint_of_later_epochs_is_not_that_of_the_run_so_far(own_run, tmp_path):
    change(own_run / STATES, lambda states: states["Downstream"]["_extra_state"].update(best_accuracy=0.01))
    past = Past.of(own_run / STATES)
    assert not past.has_best
    past.copy_to(RunFolder(tmp_path / "new"), records=False)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("content", [None, b"no checkpoint"])
def test_without_a_best_checkpoint_the_best_is_looked_for_anew(content, own_run):
    (own_run / "dev-best.ckpt").unlink()
    if content is not None:
        (own_run / "dev-best.ckpt").write_bytes(content)
    assert not Past.of(own_run / STATES).has_best


def test_going_on_elsewhere_without_a_better_epoch_leaves_the_best_so_far(own_run, tmp_path, capsys):
    # A learning rate of nothing: no later epoch is better.
    rate = "config.optimizer.lr=1e-30,,config.runner.total_steps=9"
    for name in (STATES, "dev-best.ckpt"):
        change(own_run / name, lambda states: states["Downstream"]["_extra_state"].update(best_accuracy=1.0))
    assert run("-e", own_run / STATES, "-p", tmp_path / "new", "-o", rate) == 0
    assert_same_files(own_run, tmp_path / "new", "dev-best.ckpt", "dev_scores.csv", "test_scores.csv")
    assert "\ndev " in capsys.readouterr().out


# Damaged and foreign ones --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("missing", "mode", "trainable", "scheduler"),
    [
        ("Optimizer", "train", False, None),
        ("Step", "train", False, None),
        ("Scheduler", "train", False, {"name": "any"}),
        ("Downstream", "evaluate", False, None),
        ("Featurizer", "inference", False, None),
        ("Upstream", "evaluate", True, None),
    ],
)
def test_a_checkpoint_without_a_part_is_refused(missing, mode, trainable, scheduler):
    # S3PRL would go on from fresh weights, or with a fresh optimizer, without a word.
    names = ("Upstream", "Featurizer", "Downstream", "Optimizer", "Scheduler", "Step", "Epoch")
    states = dict.fromkeys(names) | {"Config": {"scheduler": scheduler}}
    states["Args"] = Namespace(upstream_trainable=trainable)
    check_complete("a.ckpt", states, mode)
    del states[missing]
    with pytest.raises(UserError, match=f"a.ckpt: expected {missing} in the checkpoint, found none"):
        check_complete("a.ckpt", states, mode)


def no_state(states):
    del states["Downstream"]["_extra_state"]


def another_shape(states):
    states["Downstream"]["model.pooling.score.weight"] = torch.zeros(2, 3)


def no_run(states):
    del states["Downstream"]["_extra_state"]["run"]


def no_curriculum(states):
    states["Downstream"]["_extra_state"]["run"]["curriculum"] = {}


def arguments_of_another_program(states):
    states["Args"] = {"lr": 1}


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (no_state, f"{STATES}: its Downstream does not match this run, or is damaged (.*_extra_state"),
        (another_shape, f"{STATES}: its Downstream does not match this run, or is damaged (.*size mismatch"),
        (no_run, "the checkpoint is damaged or of another program: expected run to be a mapping or None"),
        (no_curriculum, f"{STATES}: its Downstream does not match this run, or is damaged (.*data_map"),
        (arguments_of_another_program, f"{STATES}: is no checkpoint of S3PRL's runner"),
    ],
)
def test_a_damaged_or_foreign_checkpoint_is_one_line(damage, says, own_run, tmp_path, capsys):
    change(own_run / STATES, damage)
    assert run("-e", own_run / STATES, "-p", tmp_path / "new") == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert re.search(says.replace("damaged (", r"damaged \("), lines[0])
    assert not (tmp_path / "new").exists()
