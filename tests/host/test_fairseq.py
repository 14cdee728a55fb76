"""Checkpoints as fairseq's trainer writes them: loaded without fairseq, with the features of the converted ones."""

import argparse
import enum
import sys
import types
from dataclasses import make_dataclass

import pytest
import torch
from helpers.checkpoints import Shape, save_data2vec, save_hubert, save_wav2vec2, save_wavlm
from lid_mapmix.host import compat, fairseq
from lid_mapmix.host.features import build_features, rebuild_features
from lid_mapmix.host.trust import reading_data_only
from lid_mapmix.host.upstreams import UpstreamSettings
from lid_mapmix.utils.errors import UserError

SAVE = {"wav2vec2_local": save_wav2vec2, "hubert_local": save_hubert, "data2vec_local": save_data2vec}
FORMS = ["mapping", "omegaconf", "namespace"]


@pytest.fixture(scope="module", autouse=True)
def host():
    compat.apply()


@pytest.fixture
def trainer(monkeypatch):
    """Return a stand-in for the modules of fairseq, which are gone when a checkpoint is read."""
    modules = {name: types.ModuleType(name) for name in ("fairseq", "fairseq.data", "fairseq.data.dictionary")}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)

    def define(name, bases=(), **body):
        module = modules["fairseq.data.dictionary"]
        setattr(module, name, type(name, bases, {"__module__": module.__name__, **body}))
        return getattr(module, name)

    yield types.SimpleNamespace(define=define, module=modules["fairseq.data.dictionary"])


def raw(path, converted, form, trainer, *, is_zip=True):
    """Write what fairseq's trainer would have written of a converted checkpoint."""
    content = torch.load(converted, weights_only=True)
    model, task = content["model_cfg"] | {"_name": "wav2vec2", "w2v_path": None}, dict(content["task_cfg"])
    cfg, args = {"common": {"seed": 1}, "model": model, "task": task | {"_name": "audio_pretraining"}}, None
    if form == "namespace":
        cfg, args = None, argparse.Namespace(**model | task, arch="wav2vec2")
    elif form == "omegaconf":
        from omegaconf import OmegaConf, open_dict

        mode = enum.Enum("Mode", {"GIVEN": model["extractor_mode"]}, module=trainer.module.__name__)
        trainer.module.Mode = mode
        fields = make_dataclass("Model", [("extractor_mode", mode, mode.GIVEN)])
        fields.__module__, trainer.module.Model = trainer.module.__name__, fields
        structured = OmegaConf.structured(fields)
        with open_dict(structured):
            structured.update({key: value for key, value in model.items() if key != "extractor_mode"})
            if "label_rate" in model:
                structured.label_rate = "${task.label_rate}"
        cfg = OmegaConf.create({**cfg, "model": structured})
    words = trainer.define("Dictionary")()
    words.symbols, words.indices = ["a", "b", "c"], {"a": 0}
    state = {"args": args, "cfg": cfg, "model": content["model_weight"], "criterion": None, "optimizer_history": []}
    state |= {"task_state": {"dictionaries": [words]}, "extra_state": {"epoch": 1}, "last_optimizer_state": None}
    torch.save(state, path, _use_new_zipfile_serialization=is_zip)
    for name in [name for name in sys.modules if name.partition(".")[0] == "fairseq"]:
        del sys.modules[name]
    return path


def arguments(upstream, weights):
    return argparse.Namespace(
        upstream=upstream, upstream_ckpt=str(weights), upstream_model_config=None, hub="torch", device="cpu",
        upstream_trainable=False, upstream_feature_selection="hidden_states", upstream_layer_selection=None,
        upstream_feature_normalize=False,
    )  # fmt: skip


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("stable", [False, True])
@pytest.mark.parametrize("upstream", SAVE)
def test_features_are_those_of_the_converted_checkpoint(upstream, stable, form, is_zip, trainer, tmp_path):
    converted = SAVE[upstream](tmp_path / "converted.pt", Shape(stable=stable))
    path = raw(tmp_path / "raw.pt", converted, form, trainer, is_zip=is_zip)
    wavs = [0.1 * torch.randn(9_040, generator=torch.Generator().manual_seed(0))]
    args = arguments(upstream, path)
    found = build_features(args, {}, UpstreamSettings())
    expected = build_features(arguments(upstream, converted), {}, UpstreamSettings())
    with torch.no_grad():
        assert torch.equal(found(wavs)[0], expected(wavs)[0])
    again = rebuild_features(found.architecture, args, {}, UpstreamSettings())
    again.upstream.load_state_dict(found.upstream.state_dict())
    with torch.no_grad():
        assert torch.equal(again(wavs)[0], expected(wavs)[0])


def test_a_model_that_is_fine_tuned_in_fairseq_is_one_line(trainer, tmp_path):
    converted = save_wav2vec2(tmp_path / "converted.pt")
    path = raw(tmp_path / "raw.pt", converted, "mapping", trainer)
    content = torch.load(converted, weights_only=True)
    weights = {f"w2v_encoder.w2v_model.{name}": value for name, value in content["model_weight"].items()}
    state = {"cfg": {"model": {"w2v_path": "x"}, "task": {"normalize": True}}, "model": weights}
    torch.save(state | {"optimizer_history": [], "extra_state": {}}, path)
    with pytest.raises(
        UserError, match="expected a pretrained model of fairseq, found a fine-tuned one; hf_auto loads"
    ) as caught:
        build_features(arguments("wav2vec2_local", path), {}, UpstreamSettings())
    assert "\n" not in str(caught.value)


def test_other_checkpoints_are_not_taken_for_fairseqs(tmp_path):
    content = torch.load(save_wavlm(tmp_path / "wavlm.pt"), weights_only=True)
    assert fairseq.convert(content) is content
    for other in (content["model"], {"model": {}}, {"model": {}, "cfg": 3}, [1], None):
        assert fairseq.convert(other) is other


class Run:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return exec, (f"open({str(self.marker)!r}, 'w')",)


@pytest.mark.parametrize("place", ["cfg", "args", "task_state"])
def test_no_code_of_a_checkpoint_runs(place, tmp_path):
    torch.save({"model": {}, place: Run(tmp_path / "ran")}, tmp_path / "evil.pt")
    with reading_data_only(), pytest.raises(ValueError, match="found other Python objects or damage"):
        torch.load(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


def test_settings_of_fairseq_are_checked_as_all_others(trainer, tmp_path):
    converted = save_wav2vec2(tmp_path / "converted.pt")
    path = raw(tmp_path / "raw.pt", converted, "mapping", trainer)
    content = torch.load(converted, weights_only=True)
    model = content["model_cfg"] | {"conv_feature_layers": f"[open({str(tmp_path / 'ran')!r}, 'w')]"}
    torch.save({"cfg": {"model": model, "task": {"normalize": True}}, "model": content["model_weight"]}, path)
    with reading_data_only(), pytest.raises(ValueError, match="conv_feature_layers: expected a list"):
        torch.load(path)
    assert not (tmp_path / "ran").exists()


def test_settings_that_hold_themselves_or_each_other_often_end():
    own: dict = {"task": {}}
    own["model"] = own
    content = {"model": {}, "cfg": own}
    assert fairseq.convert(content) is content
    many: list = []
    for _ in range(60):
        many = [many, many]
    assert fairseq.convert({"model": {}, "cfg": {"model": {"x": many}, "task": {}}})["model_cfg"]["x"]


def test_nothing_of_a_class_but_its_content_is_kept():
    stand_in, name = fairseq.substitute("fairseq.data.dictionary.Dictionary")
    assert name == "fairseq.data.dictionary.Dictionary"
    assert not callable(stand_in())
