"""A bundle holds what its figures are computed from."""

import json
import shlex
import shutil
import zipfile
from pathlib import Path

import pytest
from lid_mapmix.apps.runs import launch

from .conftest import leaderboard


@pytest.fixture(scope="module")
def packed(finished, tmp_path_factory):
    """Return a bundle of the grid; not to be changed."""
    path = tmp_path_factory.mktemp("packed") / "bundle.zip"
    assert leaderboard(finished[0], "--no-training", "--paper", "--samples", 50, "--bundle", path) == 0
    return path


@pytest.fixture
def bundle(packed, tmp_path):
    """Return a copy of it that a test may change."""
    return Path(shutil.copy(packed, tmp_path))


def test_a_bundle_holds_what_its_figures_follow_from(bundle):
    with zipfile.ZipFile(bundle) as archive:
        names = archive.namelist()
        content = json.loads(archive.read("leaderboard.json"))
    assert sum(name.endswith("/test_scores.csv") for name in names) == 8
    assert not any(name.endswith((".ckpt", ".wav", ".html")) for name in names)
    run = next(run for run in content["runs"] if run["variant"] == "mapmix")
    assert run["command"].startswith("lid-mapmix run -u fbank --data corpus")
    assert "mapmix.datamap=maps/fbank/" in run["command"]
    assert len(run["manifests"]["train.csv"]) == 64
    assert content["versions"]["s3prl"]


def test_a_bundle_of_the_same_runs_is_the_same(bundle, finished, tmp_path):
    again = tmp_path / "again.zip"
    assert leaderboard(finished[0], "--no-training", "--samples", 50, "--bundle", again) == 0
    assert again.read_bytes() == bundle.read_bytes()


def test_the_commands_of_a_bundle_make_its_runs_again(bundle, finished, corpus, tmp_path, monkeypatch):
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(tmp_path / "there")
        content = json.loads(archive.read("leaderboard.json"))
    (tmp_path / "there/corpus").symlink_to(corpus)
    monkeypatch.chdir(tmp_path / "there")
    run = next(run for run in content["runs"] if run["variant"] == "mapmix")
    assert run["versions"]["torch"]
    for command in (run["map_command"], run["command"]):
        program, name, *flags = shlex.split(command)
        assert (program, name) == ("lid-mapmix", "run")
        assert launch.main([*flags, "--device", "cpu"]) == 0
    scores = Path(run["folder"], "test_scores.csv").read_bytes()
    assert Path(run["folder"], "again/test_scores.csv").read_bytes() == scores


def test_a_bundle_is_not_written_over(bundle, finished, capsys):
    before = bundle.read_bytes()
    assert leaderboard(finished[0], "--no-training", "--bundle", bundle) == 1
    assert bundle.read_bytes() == before
    assert "exists already" in capsys.readouterr().err
    bundle.write_bytes(b"old")
    flags = ("--no-training", "--paper", "--samples", 50)
    assert leaderboard(finished[0], *flags, "--bundle", bundle, "--overwrite") == 0
    assert bundle.read_bytes() == before


def test_the_figures_of_an_unpacked_bundle_are_computed_again(bundle, finished, tmp_path, capsys):
    there = tmp_path / "there"
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(there)
    stated = (there / "leaderboard.json").read_bytes()
    again = (finished[0], "--no-training", "--paper", "--samples", 50, "--out", there)
    assert leaderboard(*again) == 0
    assert (there / "leaderboard.json").read_bytes() == stated
    path = there / "runs/mfcc/mapmix/corpus-seed-1/test_scores.csv"
    head, *rows = path.read_text().splitlines()
    # The most probable class of each utterance becomes another one.
    turned = [",".join([*row.split(",")[:7], *row.split(",")[:6:-1]]) for row in rows]
    path.write_text("\n".join([head, *turned]) + "\n")
    assert leaderboard(*again) == 0
    found, expected = (json.loads(text)["runs"] for text in ((there / "leaderboard.json").read_bytes(), stated))
    changed = [one["folder"] for one, other in zip(found, expected, strict=True) if one["scores"] != other["scores"]]
    assert changed == ["runs/mfcc/mapmix/corpus-seed-1"]


def test_a_data_map_outside_the_folder_is_not_read(bundle, finished, tmp_path, capsys):
    there = tmp_path / "there"
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(there)
    state = next(there.glob("runs/*/mapmix/*/leaderboard_run.json"))
    state.write_text(json.dumps(json.loads(state.read_text()) | {"datamap": "/etc"}))
    assert leaderboard(finished[0], "--no-training", "--samples", 50, "--out", there) == 1
    printed = capsys.readouterr()
    assert "found '/etc'" in printed.out + printed.err + (there / "leaderboard.json").read_text()
