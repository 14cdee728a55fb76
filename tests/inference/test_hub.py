"""Exports on the Hub, served on this machine: the same answers as from a folder, and one line for each failure."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.hub import TOKEN, files_of
from helpers.launching import ROOT, free_port, run_python
from helpers.synthetic import hum
from huggingface_hub import constants
from lid_mapmix import Identifier
from lid_mapmix.inference.hub import EXPORT_FILES, find_folder
from lid_mapmix.utils.errors import UserError

EXPORT = ROOT / "tests/data/old_run/export"
RECORDING = ROOT / "tests/data/old_run/data/audio/test/xaa-one-0.wav"
NAME = "alice/dialects"
WAV = hum(2.0, 200, 1)


def answer(name):
    return Identifier.from_pretrained(name, "cpu", detect_speech=False)(WAV, 16_000).probabilities


def refused(name, says):
    with pytest.raises(UserError, match=says) as caught:
        find_folder(name)
    message = str(caught.value)
    assert message.startswith(f"{name}: expected ")
    assert "\n" not in message
    return message


def asked_for(hub):
    """Return the paths of all requests."""
    return [path for _, path in hub.requests]


@pytest.fixture
def model(hub):
    """Return the server with an export on it."""
    hub.commit(NAME, files_of(EXPORT))
    return hub


def test_an_export_on_the_hub_gives_the_answers_of_its_folder(model):
    np.testing.assert_array_equal(answer(NAME), answer(EXPORT))
    assert files_of(find_folder(NAME)) == files_of(EXPORT)
    np.testing.assert_array_equal(answer(Path(NAME)), answer(EXPORT))


def test_nothing_but_the_files_of_an_export_is_downloaded(hub, no_pickles):
    others = ("app.py", "dev-best.ckpt", "states-1.ckpt", "pytorch_model.bin", "inner/config.json", "../config.json")
    hub.commit(NAME, files_of(EXPORT) | dict.fromkeys(others, b"cos\nsystem\n(S'false'\ntR."))
    folder = find_folder(NAME)
    assert {path.name for path in folder.iterdir()} == set(files_of(EXPORT)) <= set(EXPORT_FILES)
    assert not [path for path in asked_for(hub) if "/resolve/" in path and path.rpartition("/")[2] not in EXPORT_FILES]
    assert not [path for path in asked_for(hub) if "/resolve/" in path and ("inner" in path or ".." in path)]
    answer(NAME)


def test_a_revision_is_a_commit_or_a_branch(model):
    first = model.models[NAME][0][0]
    model.commit(NAME, {**files_of(EXPORT), "README.md": b"newer"})
    assert (find_folder(NAME) / "README.md").read_bytes() == b"newer"
    assert (find_folder(f"{NAME}@main") / "README.md").read_bytes() == b"newer"
    assert (find_folder(f"{NAME}@{first}") / "README.md").read_bytes() == (EXPORT / "README.md").read_bytes()
    refused(f"{NAME}@v9", "found no such revision. Name a branch")


def test_a_folder_comes_before_the_hub(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(EXPORT, NAME)
    answer(NAME)
    assert find_folder(NAME) == Path(NAME)
    for path in (
        "/alice/dialects",
        "alice",
        "alice/dialects/more",
        "../alice/x",
        "https://example.org/alice/x",
        "x/.y",
    ):
        assert find_folder(path) == Path(path)
    assert not model.requests


def test_a_private_model_needs_a_token(model, monkeypatch):
    model.private.add(NAME)
    monkeypatch.delenv("HF_TOKEN")
    refused(NAME, r"found none of this name, or a private one that needs a token \('hf auth login'\)")
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    refused(NAME, "found none of this name, or a private one that the token may not read")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    answer(NAME)


def test_a_model_that_does_not_exist(hub):
    message = refused(NAME, "none of this name")
    assert f"expected a folder, or a model on {hub.url}, found" in message


def test_a_gated_model(model):
    model.gated.add(NAME)
    refused(NAME, "Access to model alice/dialects is restricted")


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, r"found another model \(.*config\.json: no such file"),
        ({"README.md": b"# Speech"}, r"found another model \(.*config\.json: no such file"),
        ({"config.json": b'{"model_type": "wav2vec2"}'}, r"found another model \(.*expected format"),
        ({"config.json": b"\xff\x00"}, r"found another model \(.*config\.json: is damaged"),
    ],
)
def test_another_model_is_refused_before_its_weights_are_downloaded(hub, files, says):
    hub.commit(NAME, {"model.safetensors": bytes(1_000), **files})
    refused(NAME, says)
    assert not [path for path in asked_for(hub) if path.endswith("model.safetensors")]


def test_an_export_without_weights(hub):
    files = files_of(EXPORT)
    del files["model.safetensors"]
    hub.commit(NAME, files)
    refused(NAME, r"found no model\.safetensors")


def test_damaged_weights_are_refused_like_those_of_a_folder(hub):
    hub.commit(NAME, files_of(EXPORT) | {"model.safetensors": bytes(1_000)})
    with pytest.raises(UserError, match=r"model\.safetensors: is damaged"):
        answer(NAME)


def test_without_a_server_the_cache_is_used(model, monkeypatch):
    expected = answer(NAME)
    model.status = 500
    np.testing.assert_array_equal(answer(NAME), expected)
    refused("alice/other", "500 Internal Server Error")
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free_port()}")
    np.testing.assert_array_equal(answer(NAME), expected)
    refused("alice/other", r"Connection refused.*Check the network, HF_ENDPOINT")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    np.testing.assert_array_equal(answer(NAME), expected)
    refused("alice/other", "found it not in the cache, and HF_HUB_OFFLINE is set")


def test_an_interrupted_download_is_no_model_and_is_completed_by_the_next(model):
    """A second of this is huggingface_hub's pause before it asks for the rest."""
    model.broken = 1_000
    refused(NAME, "500 Internal Server Error")
    assert not list(Path(constants.HF_HUB_CACHE).rglob("model.safetensors"))
    model.status = None
    np.testing.assert_array_equal(answer(NAME), answer(EXPORT))


def test_the_commands_and_the_variables_of_the_shell(model, tmp_path, monkeypatch):
    for name, value in {"HF_ENDPOINT": model.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": TOKEN}.items():
        monkeypatch.setenv(name, value)
    model.private.add(NAME)
    command = ("-m", "lid_mapmix", "predict", "-e", NAME, RECORDING, "--any-sound", "--top", "1")
    done = run_python(*command, path=[ROOT / "downstream"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{RECORDING}: xaa-one ")
    # Progress bars are for terminals.
    assert done.stderr.splitlines() == ["lid-mapmix predict: -e RUN AUDIO… is deprecated; use RUN AUDIO…"]
    assert len(list((tmp_path / "home/hub").rglob("model.safetensors"))) == 1
