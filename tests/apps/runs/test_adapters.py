"""Runs with an adapter: trained, resumed, scored, exported and used, with checkpoints that lack the base."""

import json
import shutil

import numpy as np
import pytest
import torch
from helpers.checkpoints import Shape, save_hugging_face
from helpers.launching import assert_same_files, assert_same_weights, interrupt_at, overrides, run, train
from helpers.synthetic import hum
from lid_mapmix import Identifier
from lid_mapmix.apps import cli
from lid_mapmix.inference.exported import CONFIG_NAME, WEIGHTS_NAME
from lid_mapmix.utils.digests import file_digest
from lid_mapmix.utils.errors import UserError
from safetensors.torch import load_file

SETTINGS = {
    "downstream_expert.epochs": 1,
    "downstream_expert.datamap.epochs": 1,
    "downstream_expert.datamap.regions": "quantile",
    "downstream_expert.data.batch_size": 16,
    "downstream_expert.upstream.adapter": "{kind: lora, rank: 2}",
    "runner.save_step": 1,
    "optimizer.lr": 1e-2,
}
WAVS = [hum(seconds, 200, number) for number, seconds in enumerate([0.5, 8.0])]


def answers(folder, **arguments):
    identifier = Identifier.from_pretrained(folder, "cpu", detect_speech=False, **arguments)
    return np.stack([answer.probabilities for answer in identifier.batch(WAVS, 16_000)])


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Return the folder of a model with dropout; not to be changed."""
    return save_hugging_face(tmp_path_factory.mktemp("base") / "model", "wav2vec2", Shape(stable=True, dropout=0.1))


@pytest.fixture(scope="module")
def adapted(base, corpus, tmp_path_factory):
    """Return the folder of a complete Map-Mix run with an adapter, and its data map; not to be changed."""
    folder = tmp_path_factory.mktemp("adapted") / "run"
    assert train(corpus, folder, "-u", "hf_auto", "-k", base, settings=SETTINGS) == 0
    return folder


@pytest.fixture(scope="module")
def exported(adapted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports") / "dialects"
    assert cli.main(["export", str(adapted), "--out", str(folder)]) == 0
    return folder


def test_checkpoints_have_the_adapter_and_not_the_base(adapted, base):
    for path in (*adapted.glob("states-*.ckpt"), adapted / "dev-best.ckpt"):
        states = torch.load(path, weights_only=True)
        weights = states["Upstream"]
        assert {name for name in weights if ".lora_" not in name} == {"base_digest"}
        assert any(value.any() for name, value in weights.items() if "lora_B" in name)
        # Adam's moments are those of the trained weights.
        assert len(states["Optimizer"]["state"]) == len(weights) - 1 + len(states["Downstream"]) - 1
        # The head has most of it, as the model is small.
        values = [*weights.values(), *(each for each in states["Downstream"].values() if torch.is_tensor(each))]
        assert path.stat().st_size < 3 * sum(value.nbytes for value in values) + 200_000
    trained = json.loads((adapted / "parameters.json").read_text())["upstream"]
    assert trained["trained"] == 3 * 4 * 2 * 2 * 32 < trained["parameters"] / 20


def test_an_interrupted_run_ends_like_one_that_was_not(adapted, base, corpus, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4)  # in the data map there are two steps
        assert train(corpus, tmp_path, "-u", "hf_auto", "-k", base, settings=SETTINGS) == 130
    assert train(corpus, tmp_path, "-u", "hf_auto", "-k", base, "-a", settings=SETTINGS) == 0
    assert_same_weights(tmp_path, adapted)
    ours, whole = (
        torch.load(folder / "dev-best.ckpt", weights_only=True)["Upstream"] for folder in (tmp_path, adapted)
    )
    assert all(torch.equal(ours[name], whole[name]) for name in whole)
    assert_same_files(tmp_path, adapted, "test_scores.csv", "datamap/datamap.csv")


def test_the_data_map_is_that_of_this_adapter(adapted, base, corpus, tmp_path, capsys):
    again = shutil.copytree(adapted / "datamap", tmp_path / "datamap").parent
    flags = ["-u", "hf_auto", "-k", base]
    other = SETTINGS | {"downstream_expert.upstream.adapter": "{kind: lora, rank: 3}"}
    assert train(corpus, again, *flags, settings=other) == 1
    assert "expected a data map with the same upstream, found another" in capsys.readouterr().err
    assert train(corpus, again, *flags, settings=SETTINGS) == 0
    assert "stage 1 of 2, data map: complete" in capsys.readouterr().out
    assert_same_weights(again, adapted)


def test_an_evaluation_of_the_run_gives_its_scores(adapted, tmp_path):
    copy = shutil.copytree(adapted, tmp_path / "copy")
    (copy / "test_scores.csv").unlink()
    assert run("-m", "evaluate", "-t", "test", "-e", copy, "--device", "cpu") == 0
    assert_same_files(adapted, copy, "test_scores.csv")


def test_the_export_has_the_adapter_and_answers_like_the_run(
    adapted, exported, base, tmp_path, no_pickles, monkeypatch
):
    config = json.loads((exported / CONFIG_NAME).read_text())
    assert config["base"] == str(base)
    assert config["adapter"] == {"kind": "lora", "rank": 2, "alpha": 32.0, "targets": "attention"}
    assert not [name for name in config["upstream"]["settings"]["config"] if name.startswith("_")]
    weights = load_file(exported / WEIGHTS_NAME)
    assert {name for name in weights if name.startswith("upstream.") and ".lora_" not in name} == {
        "upstream.base_digest"
    }
    assert "with an adapter, which needs its weights" in (exported / "README.md").read_text()
    found = answers(exported)
    moved = shutil.copytree(base, tmp_path / "moved")
    np.testing.assert_array_equal(answers(exported, upstream_weights=str(moved)), found)
    monkeypatch.undo()
    np.testing.assert_array_equal(found, answers(adapted))


def test_the_onnx_file_has_the_base_and_answers_like_the_run(adapted, exported, tmp_path):
    session = pytest.importorskip("onnxruntime")
    assert cli.main(["export", str(adapted), "--out", str(tmp_path / "onnx"), "--onnx"]) == 0
    model = session.InferenceSession(tmp_path / "onnx" / "model.onnx", providers=["CPUExecutionProvider"])
    found = model.run(None, {"waveform": WAVS[0][None]})[0][0]
    np.testing.assert_allclose(np.sort(found)[::-1], answers(exported)[0], atol=1e-4)  # the most probable first


def test_an_export_finds_its_base_by_its_digest_only(exported, base, tmp_path, capsys):
    copy = shutil.copytree(exported, tmp_path / "copy")
    config = json.loads((copy / CONFIG_NAME).read_text())
    other = save_hugging_face(tmp_path / "other", "wav2vec2", Shape(stable=True), seed=1)
    for named in (str(other), str(tmp_path / "nowhere"), "/dev/zero"):
        (copy / CONFIG_NAME).write_text(json.dumps(config | {"base": named}))
        with pytest.raises(UserError, match=rf"trained on in '{named}', found others or none\. Pass .* by -k"):
            answers(copy)
    capsys.readouterr()
    assert cli.main(["predict", str(copy), "-k", str(other), "no.wav"]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error == f"error: {other}: expected the base of the adapter by its digest, found another. Use that by -k."
    np.testing.assert_array_equal(answers(copy, upstream_weights=str(base)), answers(exported))


def test_what_is_uploaded_names_no_folder_of_this_machine(adapted, exported, base, hub, capsys):
    assert cli.main(["export", str(adapted), "--push-to-hub", "alice/adapted"]) == 0
    content = b"".join(hub.files("alice/adapted").values())
    assert str(base).encode() not in content and str(adapted).encode() not in content
    np.testing.assert_array_equal(answers("alice/adapted", upstream_weights=str(base)), answers(exported))
    with pytest.raises(UserError, match="trained on in 'a folder', found others or none"):
        answers("alice/adapted")


def test_an_export_whose_base_is_a_file_reads_nothing_of_it(exported, tmp_path):
    copy, secret = shutil.copytree(exported, tmp_path / "copy"), tmp_path / "secret"
    secret.write_text("x")
    config = json.loads((copy / CONFIG_NAME).read_text())
    (copy / CONFIG_NAME).write_text(json.dumps(config | {"base": str(secret), "base_digest": file_digest(secret)}))
    with pytest.raises(UserError, match=rf"trained on in '{secret}', found others or none"):
        answers(copy)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"adapter": {"rank": 10**9}}, "adapter.rank"),
        ({"adapter": {"rank": 3}}, "expected weights of this network, found others"),
        ({"adapter": None}, "expected weights of this network, found others"),
        ({"upstream": {"upstream": "fbank", "family": "x"}}, "adapter: expected a model of Hugging Face, found fbank"),
        ({"upstream": {"upstream": ["x"], "family": "x"}}, "unknown upstream"),
        ({"base": None, "base_digest": None}, "expected weights, found none"),
        ({"base": "owner/name", "base_digest": None}, "-k owner/name: is neither a folder nor in the cache"),
    ],
)
def test_a_config_of_something_else_is_one_line(change, says, exported, tmp_path):
    copy = shutil.copytree(exported, tmp_path / "copy")
    config = json.loads((copy / CONFIG_NAME).read_text())
    (copy / CONFIG_NAME).write_text(json.dumps(config | change))
    with pytest.raises(UserError, match=says) as found:
        answers(copy)
    assert "\n" not in str(found.value)


def test_a_run_needs_its_base(adapted, base, corpus, tmp_path, capsys):
    other = save_hugging_face(tmp_path / "other", "wav2vec2", Shape(stable=True, dropout=0.1), seed=1)
    says = f"{other}: expected the base of the adapter by its digest, found another. Use that by -k."
    with pytest.raises(UserError, match="expected the base of the adapter") as found:
        answers(adapted, upstream_weights=str(other))
    assert str(found.value) == says
    copy = shutil.copytree(adapted, tmp_path / "copy")
    capsys.readouterr()
    settings = "config.downstream_expert.epochs=2,,config.runner.total_steps=None"
    assert run("-e", copy / "states-2.ckpt", "-k", other, "--device", "cpu", "-o", settings) == 1
    assert says in capsys.readouterr().err
    moved = shutil.copytree(base, tmp_path / "moved")
    np.testing.assert_array_equal(answers(adapted, upstream_weights=str(moved)), answers(adapted))


def test_the_error_for_a_missing_base_does_not_promise_an_export_without_it(adapted, tmp_path):
    states = torch.load(adapted / "dev-best.ckpt", weights_only=True)
    states["Args"].upstream_ckpt = str(tmp_path / "gone")
    torch.save(states, tmp_path / "dev-best.ckpt")
    with pytest.raises(
        UserError, match=r"found none\. Pass their path by -k; without an adapter, the folder of .*export"
    ):
        answers(tmp_path / "dev-best.ckpt")


def test_a_grown_run_has_the_adapter_of_the_trained_one(adapted, corpus, tmp_path, capsys):
    flags = ["-i", adapted, "--new-classes", "--data", corpus, "-v", "baseline", "--device", "cpu"]
    quick = {name: value for name, value in SETTINGS.items() if not name.endswith("adapter")}
    assert run(*flags, "-p", tmp_path / "same", "-o", overrides(quick | {"optimizer.lr": 1e-30})) == 0
    old, new = (
        torch.load(each / "dev-best.ckpt", weights_only=True)["Upstream"] for each in (adapted, tmp_path / "same")
    )
    assert all(torch.equal(new[name], old[name]) for name in old)
    capsys.readouterr()
    # Another alpha has the same shapes, and would multiply the trained matrices by another number.
    for value in ("{kind: lora, rank: 2, alpha: 64}", "{kind: lora, rank: 3}", "null"):
        other = quick | {"downstream_expert.upstream.adapter": value}
        assert run(*flags, "-p", tmp_path / "run", "-o", overrides(other)) == 1
        error = capsys.readouterr().err
        assert "dev-best.ckpt: expected adapter {'kind': 'lora', 'rank': 2, 'alpha': 32.0" in error
    assert not (tmp_path / "run").exists()
