"""Reading a checkpoint: without the host, and without running what a stranger has put into it."""

import os
import shutil

import pytest
import torch
from helpers.launching import ROOT, run_python
from lid_mapmix.training.checkpoints import STATE_VERSION, read_checkpoint, with_new_classes
from lid_mapmix.utils.errors import UserError


def test_a_checkpoint_is_read_where_the_host_was_never_prepared(trained):
    """A model card, for one, takes nothing of S3PRL's."""
    code = (
        "import sys; from pathlib import Path; from lid_mapmix.training.checkpoints import read_checkpoint; "
        "print(sorted(read_checkpoint(Path(sys.argv[1]))), 's3prl' in sys.modules)"
    )
    found = run_python("-c", code, trained / "dev-best.ckpt", path=[ROOT / "downstream"])
    assert found.returncode == 0, found.stderr
    assert "'Args'" in found.stdout
    assert found.stdout.endswith("False\n")


class _Command:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_no_code_of_a_checkpoint_is_run(tmp_path):
    torch.save({"Args": _Command(tmp_path / "made"), "Config": {}}, tmp_path / "dev-best.ckpt")
    with pytest.raises(UserError, match="is damaged, or no checkpoint"):
        read_checkpoint(tmp_path / "dev-best.ckpt")
    assert not (tmp_path / "made").exists()


def test_a_name_that_the_locale_did_not_decode_is_no_damage(trained, tmp_path):
    """Once, of every name with umlauts under LC_ALL=C: torch encodes names as UTF-8, even of what is no UTF-8."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    shutil.copy(trained / "dev-best.ckpt", folder)
    found, expected = (read_checkpoint(path / "dev-best.ckpt")["Downstream"] for path in (folder, trained))
    tensors = {name: value for name, value in expected.items() if isinstance(value, torch.Tensor)}
    assert tensors
    assert all(torch.equal(found[name], value) for name, value in tensors.items())


def test_what_the_system_refuses_is_no_damage(tmp_path):
    with pytest.raises(IsADirectoryError):
        read_checkpoint(tmp_path)


def state_of(classes, rows):
    extra = {"version": STATE_VERSION, "classes": classes, "best_accuracy": 0.5, "run": None}
    weight, bias = torch.tensor(rows, dtype=torch.float32)[:, None].expand(-1, 2), torch.tensor(rows)
    head = {"model.classifier.2.weight": weight, "model.classifier.2.bias": bias}
    return {"model.pooling": torch.ones(1), **head, "_extra_state": extra}


def test_rows_of_known_classes_move_to_their_new_places(tmp_path):
    trained, fresh = state_of(["a", "b", "c"], [1.0, 2.0, 3.0]), state_of(["c", "x", "a"], [7.0, 8.0, 9.0])
    fresh["model.pooling"] = torch.zeros(1)
    grown, line = with_new_classes(trained, fresh, tmp_path)
    assert grown["model.classifier.2.bias"].tolist() == [3, 8, 1]
    assert grown["model.classifier.2.weight"].tolist() == [[3, 3], [8, 8], [1, 1]]
    assert grown["model.pooling"].item() == 1
    assert grown["_extra_state"] is fresh["_extra_state"]
    assert line == f"classes of {tmp_path}: 2 known, 1 new (x), 1 dropped (b)"
    assert fresh["model.classifier.2.bias"].tolist() == [7, 8, 9]
    assert with_new_classes(trained, trained, tmp_path)[1].endswith("3 known, 0 new, 0 dropped")


def test_rows_that_are_not_one_per_class_are_not_taken(tmp_path):
    trained = state_of(["a", "b", "c"], [1.0, 2.0])
    grown, _ = with_new_classes(trained, state_of(["a", "x"], [7.0, 8.0]), tmp_path)
    assert "model.classifier.2.weight" not in grown, "loading refuses what is missing"
