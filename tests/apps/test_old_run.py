"""A run and an export that version 0.1.0 has left (tests/data/old_run) are read, continued and exported."""

import json
import shutil

import numpy as np
import pytest
import torch
from helpers.launching import ROOT, run
from lid_mapmix.apps import cli
from lid_mapmix.inference.identifier import Identifier
from lid_mapmix.scoring.files.own import read_scores

OLD = ROOT / "tests/data/old_run"


@pytest.fixture
def old(tmp_path):
    """Return a copy of the folder: data, run, export."""
    return shutil.copytree(OLD, tmp_path / "old")


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("source", ["run", "export"])
def test_it_identifies(source):
    expected = read_scores(OLD / "run/test_scores.csv")
    identifier = Identifier.from_pretrained(OLD / source, detect_speech=False)
    answers = [identifier.file(OLD / "data" / name) for name in expected.ids.tolist()]
    assert [answer.label for answer in answers] == expected.predictions.tolist()


def test_it_is_evaluated_again(old):
    before = read_scores(old / "run/test_scores.csv")
    assert run("-m", "evaluate", "-t", "test", "-e", old / "run", "--data", old / "data", "--device", "cpu") == 0
    after = read_scores(old / "run/test_scores.csv")
    assert after.ids.tolist() == before.ids.tolist()
    np.testing.assert_allclose(after.log_probabilities, before.log_probabilities, atol=1e-5)
    metrics = [json.loads((folder / "run/test_metrics.json").read_text()) for folder in (OLD, old)]
    assert metrics[0]["overall"]["acc"] == metrics[1]["overall"]["acc"]
    assert (old / "run/report.html").is_file()
    assert (old / "run/README.md").is_file()


def test_it_is_resumed(old):
    more = "config.downstream_expert.epochs=8"
    flags = ["-u", "fbank", "-p", old / "run", "--data", old / "data", "--device", "cpu", "-a", "-o", more]
    datamap = contents(old / "run/datamap")
    assert run(*flags) == 0
    assert (old / "run/states-16.ckpt").is_file()
    # Its request has the old names of settings, and is recognised as that of the same map.
    assert contents(old / "run/datamap") == datamap


def test_its_data_map_is_made_again(old):
    kept = (old / "run/datamap/datamap.csv").read_bytes()
    assert cli.main(["datamap", str(old / "run"), "--data", str(old / "data")]) == 0
    assert (old / "run/datamap/datamap.csv").read_bytes() == kept
    assert (old / "run/datamap/likeness.csv").read_bytes() == (OLD / "run/datamap/likeness.csv").read_bytes()
    assert not (old / "run/datamap/class_similarity.csv").exists()


def test_it_is_exported(old):
    assert cli.main(["export", str(old / "run"), "--out", str(old / "new")]) == 0
    config = [json.loads((folder / "config.json").read_text()) for folder in (OLD / "export", old / "new")]
    assert config[0]["labels"] == config[1]["labels"]
    weights = [(folder / "model.safetensors").read_bytes() for folder in (OLD / "export", old / "new")]
    assert weights[0] == weights[1]


@pytest.fixture
def old_online(old):
    """Return that folder as if the run had been trained with settings that version 0.2.0 has removed."""
    for path in (old / "run").glob("*.ckpt"):
        states = torch.load(path, weights_only=False)
        states["Config"]["downstream_expert"]["mapmix"] |= {"online": True, "plain_finish": 0.3}
        states["Config"]["downstream_expert"]["variant"] = "mapmix_online"
        torch.save(states, path)
    for path in (old / "run").glob("config_*.yaml"):
        path.write_text(path.read_text().replace("online: false", "online: true"))
    return old


def test_a_run_with_removed_settings_is_used_and_not_resumed(old_online, capsys):
    run_folder, data = old_online / "run", old_online / "data"
    expected = read_scores(OLD / "run/test_scores.csv")
    identifier = Identifier.from_pretrained(run_folder, detect_speech=False)
    assert [identifier.file(data / name).label for name in expected.ids.tolist()] == expected.predictions.tolist()
    flags = ["-e", run_folder, "--data", data, "--device", "cpu"]
    assert run("-m", "evaluate", "-t", "test", *flags) == 0
    np.testing.assert_allclose(
        read_scores(run_folder / "test_scores.csv").log_probabilities, expected.log_probabilities, atol=1e-5
    )
    assert cli.main(["export", str(run_folder), "--out", str(old_online / "new")]) == 0
    capsys.readouterr()
    assert run(*flags, "-p", old_online / "more") == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert "mapmix.online is True; version 0.2.0 has removed this setting, because it showed no gain" in lines[0]
    assert not (old_online / "more").exists()
