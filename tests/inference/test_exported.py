"""Exported runs: the same answers without the upstream's checkpoint, without the data, and without unpickling."""

import json
import shutil

import numpy as np
import pytest
import torch
from helpers.checkpoints import Shape, save_hugging_face, save_wav2vec2
from helpers.launching import train
from helpers.synthetic import hum
from lid_mapmix import Identifier
from lid_mapmix.apps import cli
from lid_mapmix.inference.exported import CONFIG_NAME, WEIGHTS_NAME, read_config, write_export
from lid_mapmix.scoring.calibration import write_calibration
from lid_mapmix.scoring.calibration_fit import fit
from lid_mapmix.scoring.files.own import read_scores
from lid_mapmix.utils.errors import UserError
from safetensors.torch import load_file, save_file

ONE_STEP = {"runner.total_steps": 1, "downstream_expert.mapmix.mix": "none"}
WAVS = [hum(seconds, 200, number) for number, seconds in enumerate([0.5, 8.0])]


def answers(folder, **arguments):
    identifier = Identifier.from_pretrained(folder, "cpu", detect_speech=False, **arguments)
    return np.stack([answer.probabilities for answer in identifier.batch(WAVS, 16_000)])


def export(run, out, *flags):
    return cli.main(["export", str(run), "--out", str(out), *map(str, flags)])


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """Return the export of a run on filter banks; not to be changed."""
    folder = tmp_path_factory.mktemp("exports") / "dialects"
    assert export(trained, folder) == 0
    return folder


@pytest.fixture
def own_export(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "own")


def test_filter_banks(exported, trained, no_pickles, monkeypatch):
    others = {"calibration.json", "novelty.safetensors"}
    assert {path.name for path in exported.iterdir()} - others == {"README.md", CONFIG_NAME, WEIGHTS_NAME}
    found = answers(exported)
    assert (exported / "novelty.safetensors").read_bytes() == (trained / "novelty.safetensors").read_bytes()
    monkeypatch.undo()
    np.testing.assert_array_equal(found, answers(trained))


def test_a_frozen_native_upstream_whose_weights_have_gone(corpus, tmp_path, capsys, request):
    """Its weighted sum of layers travels along; the run itself says what it lacks, and may be told where that is."""
    weights = save_wav2vec2(tmp_path / "weights.pt", Shape(stable=True))
    flags = ["-u", "wav2vec2_local", "-k", weights, "-v", "baseline", "--frozen"]
    assert train(corpus, tmp_path / "run", *flags, settings=ONE_STEP) == 0
    expected = answers(tmp_path / "run")
    moved = weights.rename(tmp_path / "moved.pt")
    with pytest.raises(UserError, match=r"expected the weights of its upstream in .*weights\.pt, found none"):
        answers(tmp_path / "run")
    capsys.readouterr()
    assert export(tmp_path / "run", tmp_path / "out") == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.glob("*out*"))
    np.testing.assert_array_equal(answers(tmp_path / "run", upstream_weights=str(moved)), expected)
    assert export(tmp_path / "run", tmp_path / "out", "-k", moved) == 0
    moved.unlink()
    request.getfixturevalue("no_pickles")
    np.testing.assert_array_equal(answers(tmp_path / "out"), expected)


@pytest.mark.parametrize(
    ("name", "kind"), [("hf_wav2vec2_custom", "wav2vec2"), ("hf_auto", "wav2vec2-bert"), ("whisper_small", "whisper")]
)
def test_a_fine_tuned_hugging_face_upstream(name, kind, corpus, tmp_path, request):
    """Its trained weights, and not those it started from."""
    weights = save_hugging_face(tmp_path / "weights", kind, Shape(stable=True))
    flags = ["-u", name, "-k", weights, "-v", "baseline"]
    settings = ONE_STEP | {"optimizer.lr": 0.01}
    assert train(corpus, tmp_path / "run", *flags, settings=settings) == 0
    expected = answers(tmp_path / "run")
    assert export(tmp_path / "run", tmp_path / "out") == 0
    shutil.rmtree(weights)
    request.getfixturevalue("no_pickles")
    np.testing.assert_array_equal(answers(tmp_path / "out"), expected)


def test_calibration_and_rejection_travel_along(own_run, tmp_path):
    scores = read_scores(own_run / "dev_scores.csv")
    write_calibration(
        own_run / "calibration.json",
        fit("temperature", scores.log_probabilities, scores.truth_indices, scores.classes),
    )
    assert export(own_run, tmp_path / "out") == 0
    expected = answers(own_run)
    found = Identifier.from_pretrained(tmp_path / "out", "cpu", detect_speech=False)
    assert found.is_calibrated
    np.testing.assert_allclose(answers(tmp_path / "out"), expected)
    run = Identifier.from_pretrained(own_run, "cpu", detect_speech=False)
    np.testing.assert_allclose(found.trained.confidence, run.trained.confidence)


def test_nothing_is_written_over(trained, own_export, tmp_path, capsys):
    (own_export / "mine.txt").write_text("mine")
    assert export(trained, own_export) == 1
    assert "exists already" in capsys.readouterr().err
    assert export(trained, own_export, "--overwrite") == 0
    assert not (own_export / "mine.txt").exists()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    assert export(trained, foreign, "--overwrite") == 1
    assert "expected an earlier export, found other files" in capsys.readouterr().err
    assert (foreign / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"format": "lid_mapmix model 9"}, "expected format"),
        ({"sample_rate": 8_000}, "sample_rate"),
        ({"labels": {"x": ["one"]}}, "expected weights of this network, found others"),
        ({"model": {"hidden_dim": 3}}, "expected weights of this network, found others"),
        ({"upstream": {"upstream": "fbank"}}, "family"),
        ({"unheard_of": 1}, "unheard_of"),
        ({"features": {}}, "features: expected upstream_feature_selection"),
        ({"confidence": []}, "confidence"),
        ({"confidence": [0.5, float("nan")]}, "confidence"),
    ],
)
def test_a_config_of_something_else_is_one_line(own_export, change, named):
    path = own_export / CONFIG_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=named) as found:
        answers(own_export)
    assert "\n" not in str(found.value)


def test_damaged_weights_are_one_line(own_export):
    path = own_export / WEIGHTS_NAME
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match=r"model\.safetensors: is damaged") as found:
        answers(own_export)
    assert "\n" not in str(found.value)


def test_a_config_nested_without_end_is_one_line(own_export):
    (own_export / CONFIG_NAME).write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"config\.json: is damaged"):
        answers(own_export)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda weights: {**weights, "other.weight": torch.zeros(2)}, "unknown weights other.weight"),
        (lambda weights: {**weights, "head.other": torch.zeros(2)}, "expected weights of this network, found others"),
        (
            lambda weights: {name: value * float("nan") for name, value in weights.items()},
            "expected finite weights, found NaN or infinity",
        ),
    ],
)
def test_weights_of_something_else_are_one_line(own_export, change, named):
    save_file(change(load_file(own_export / WEIGHTS_NAME)), own_export / WEIGHTS_NAME)
    with pytest.raises(UserError, match=named) as found:
        answers(own_export)
    assert "\n" not in str(found.value)


def test_an_export_is_not_exported_again(exported, tmp_path, capsys):
    assert export(exported, tmp_path / "again") == 1
    assert "expected a run, found an export" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_config_is_read_as_it_is_written(exported):
    config = read_config(exported / CONFIG_NAME)
    assert config.upstream["family"] == "filter_banks"
    assert config.evaluation.window_seconds == 6.0
    assert "torch" in config.versions


def test_an_upstream_that_needs_its_checkpoint_is_refused(trained, tmp_path):
    run = Identifier.from_pretrained(trained, "cpu").trained
    run.features.architecture = None
    with pytest.raises(
        UserError, match="expected an upstream that can be built without code of its checkpoint"
    ) as found:
        write_export(tmp_path, run, {})
    assert "\n" not in str(found.value)
    assert not list(tmp_path.iterdir())


def test_weights_that_cannot_be_written_are_one_line(exported, tmp_path):
    """A full disk was an error of safetensors that named no file."""
    (tmp_path / WEIGHTS_NAME).mkdir()
    with pytest.raises(UserError, match=rf"{WEIGHTS_NAME}: cannot be written \(.*os error") as found:
        write_export(tmp_path, Identifier.from_pretrained(exported, "cpu").trained, {})
    assert "\n" not in str(found.value)
