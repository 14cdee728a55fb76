"""Jobs of a cluster, by submitit's executor for this machine."""

import os
import sys

import pytest
from lid_mapmix.apps import cli
from lid_mapmix.apps.leaderboard.state import Status, read_state

from .conftest import leaderboard, write_grid


def test_jobs_share_the_grid_out_among_them(corpus, tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    bench = write_grid(tmp_path, corpus, upstreams=["fbank"], variants=["baseline", "static"], seeds=[0])
    flags = ("--slurm", "cluster=local,timeout_min=5", "--jobs", 2, "--devices", "cpu", "--samples", 10)
    assert leaderboard(bench, *flags) == 0
    states = [read_state(tmp_path / "grid/runs/fbank" / name / "corpus-seed-0") for name in ("baseline", "static")]
    assert [(state.status, state.attempts) for state in states] == [(Status.COMPLETE, 1)] * 2
    assert len(list((tmp_path / "grid/slurm").glob("*_submitted.pkl"))) == 2


def test_without_submitit_the_extra_is_named(corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert cli.main(["leaderboard", str(write_grid(tmp_path, corpus)), "--slurm"]) == 1
    assert "needs submitit, which is not installed. Install it by 'pip install submitit'" in capsys.readouterr().err
