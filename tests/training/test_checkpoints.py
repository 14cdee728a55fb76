"""Reading a checkpoint: without the host, and without running what a stranger has put into it."""

import os

import pytest
import torch
from helpers.launching import ROOT, run_python
from lid_mapmix.training.checkpoints import read_checkpoint
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
