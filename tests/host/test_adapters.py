"""Adapters of Hugging Face upstreams: what is trained, what is saved, and what they are loaded into."""

import json
import sys
from argparse import Namespace

import pytest
import torch
from helpers.checkpoints import LAYERS, Shape, save_hugging_face
from lid_mapmix.host import compat, registry
from lid_mapmix.host.formats import MODEL_TYPES
from lid_mapmix.host.hugging_face import builders
from lid_mapmix.host.upstreams import UpstreamSettings, check_upstream_arguments, patch_upstream
from lid_mapmix.utils.errors import UserError
from safetensors.torch import load_file, save_file

LORA = {"kind": "lora", "rank": 4, "alpha": 8.0, "targets": "attention"}
FEED_FORWARD = LORA | {"targets": "feed_forward"}
# Model types with two feed-forward networks per layer.
CONFORMERS = ("wav2vec2-conformer", "wav2vec2-bert")


@pytest.fixture(scope="module", autouse=True)
def host():
    compat.apply()
    registry.install_lazy_hub()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Return model_type → a folder with a small model, written when it is used first; not to be changed."""
    root = tmp_path_factory.mktemp("models")

    class Folders(dict):
        def __missing__(self, kind):
            self[kind] = save_hugging_face(root / kind, kind, Shape(stable=True, dropout=0.1))
            return self[kind]

    return Folders()


def plain(folder):
    return builders()["hf_auto"](ckpt=str(folder)).eval()


def adapted(folder, adapter=LORA, **runner):
    """Return an upstream with an adapter, of which the matrices that start at zero are random."""
    upstream = plain(folder)
    arguments = Namespace(upstream="hf_auto", upstream_ckpt=str(folder))
    torch.manual_seed(3)
    patch_upstream(upstream, arguments, UpstreamSettings(adapter=adapter), runner)
    for name, parameter in upstream.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return upstream


def waveforms():
    generator = torch.Generator().manual_seed(1)
    return [0.1 * torch.randn(length, generator=generator) for length in (9_040, 12_000)]


def last(upstream):
    with torch.no_grad():
        return upstream(waveforms())["last_hidden_state"]


def gradients(upstream):
    torch.manual_seed(5)
    upstream.train()(waveforms())["last_hidden_state"].square().sum().backward()
    return {name: one.grad for name, one in upstream.named_parameters() if one.grad is not None}


@pytest.mark.parametrize(
    ("kind", "adapter"),
    [
        *((kind, LORA) for kind in MODEL_TYPES if kind != "wavlm"),
        *((kind, FEED_FORWARD) for kind in ("wav2vec2", "wavlm", "sew-d", "wav2vec2-bert", "whisper")),
    ],
    ids=lambda value: value if isinstance(value, str) else value["targets"],
)
def test_only_the_matrices_of_every_layer_learn(kind, adapter, folders):
    upstream = adapted(folders[kind], adapter)
    targets = 4 if adapter is LORA or kind in CONFORMERS else 2
    learning = {name for name, one in upstream.named_parameters() if one.requires_grad}
    assert len(learning) == 2 * targets * LAYERS
    assert all(".lora_" in name for name in learning)
    found = gradients(upstream)
    assert found.keys() == learning
    assert all(gradient.any() for gradient in found.values())
    assert (last(upstream.eval()) - last(plain(folders[kind]))).norm() > 0.1


def test_the_attention_of_wavlm_which_calls_no_layers_is_refused(folders):
    with pytest.raises(UserError, match=r"WavLM's attention does not call its layers\. Use targets: feed_forward"):
        adapted(folders["wavlm"])


def test_at_first_the_features_are_those_of_the_base(folders):
    for kind, adapter in (("wav2vec2", LORA), ("whisper", FEED_FORWARD)):
        upstream = plain(folders[kind])
        expected = last(upstream)
        patch_upstream(
            upstream, Namespace(upstream="hf_auto", upstream_ckpt="x"), UpstreamSettings(adapter=adapter), {}
        )
        assert torch.equal(last(upstream), expected)


def test_rank_and_alpha_are_those_of_the_settings(folders):
    weights = adapted(folders["wav2vec2"]).state_dict()
    assert {min(value.shape) for name, value in weights.items() if ".lora_" in name} == {LORA["rank"]}
    others = [last(adapted(folders["wav2vec2"], LORA | {"alpha": alpha})) for alpha in (8.0, 16.0)]
    assert not torch.allclose(*others)


@pytest.mark.parametrize("kind", ["wav2vec2", "whisper", "wav2vec2-conformer"])
def test_the_state_is_the_adapter_and_the_digest_of_its_base(kind, folders):
    upstream, other = adapted(folders[kind]), adapted(folders[kind])
    gradients(upstream)  # a step of training leaves the base as it is
    state = upstream.state_dict()
    assert {name for name in state if ".lora_" not in name} == {"base_digest"}
    assert state["base_digest"].shape == (32,)
    with torch.no_grad():
        for value in state.values():
            value.add_(1)
        state["base_digest"].sub_(1)
    other.load_state_dict(state)
    assert torch.equal(last(other.eval()), last(upstream.eval()))
    del state[next(iter(state))]
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_dict(state)


def change_weights(folder):
    weights = load_file(folder / "model.safetensors")
    weights["encoder.layer_norm.bias"][0] += 1e-6
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def change_settings(name, **values):
    def change(folder):
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


@pytest.mark.parametrize(
    "change",
    [
        change_weights,
        change_settings("config.json", num_attention_heads=2),
        change_settings("config.json", do_stable_layer_norm=False),
        change_settings("preprocessor_config.json", do_normalize=False),
    ],
)
def test_another_base_is_refused(change, folders, tmp_path):
    state = adapted(folders["wav2vec2"]).state_dict()
    folder = save_hugging_face(tmp_path / "same", "wav2vec2", Shape(stable=True, dropout=0.1))
    adapted(folder).load_state_dict(state)  # in another place
    change(folder)
    with pytest.raises(
        UserError, match=r"same: expected the base of the adapter by its digest, found another\."
    ) as found:
        adapted(folder).load_state_dict(state)
    assert "\n" not in str(found.value)


def test_a_base_without_the_vector_for_masked_frames_is_the_same_again(folders, tmp_path):
    folder = save_hugging_face(tmp_path, "wav2vec2", Shape(stable=True))
    weights = load_file(folder / "model.safetensors")
    del weights["masked_spec_embed"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    adapted(folder).load_state_dict(adapted(folder).state_dict())


def test_a_frozen_batch_norm_keeps_its_statistics(folders):
    upstream = adapted(folders["wav2vec2-conformer"]).train()
    norms = [module for module in upstream.modules() if isinstance(module, torch.nn.BatchNorm1d)]
    before = [norm.running_mean.clone() for norm in norms]
    upstream(waveforms())
    assert len(norms) == LAYERS
    assert all(torch.equal(norm.running_mean, one) for norm, one in zip(norms, before, strict=True))
    assert upstream.training
    assert not any(norm.training for norm in norms)


@pytest.mark.parametrize("kind", ["wav2vec2", "wav2vec2-bert", "whisper"])
def test_recomputed_layers_have_the_same_gradients(kind, folders):
    expected = gradients(adapted(folders[kind]))
    found = gradients(adapted(folders[kind], gradient_checkpointing=True))
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name])


def test_compiled_layers_have_the_same_gradients_and_serve_those_behind_them(folders, monkeypatch):
    from torch._dynamo.testing import CompileCounter

    counter, compiled = CompileCounter(), torch.compile
    monkeypatch.setattr(torch, "compile", lambda function: compiled(function, backend=counter))
    torch._dynamo.reset()
    expected = gradients(adapted(folders["wav2vec2"]))
    quick, pieces = adapted(folders["wav2vec2"], compile=True, gradient_checkpointing=True), []
    for layer in quick.layers:
        layer.register_forward_hook(lambda *_: pieces.append(counter.frame_count))
    found = gradients(quick)
    assert 0 < pieces[0] <= pieces[1] == pieces[2]
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name])


@pytest.mark.parametrize(
    ("changes", "settings", "says"),
    [
        ({"upstream": "fbank", "upstream_ckpt": None}, {}, "adapter: expected a model of Hugging Face, found fbank"),
        ({"upstream_trainable": False}, {}, r"adapter: expected a fine-tuned upstream \(-f\)"),
        ({}, {"train_layers": 2}, "train_layers and adapter exclude each other"),
        ({}, {"train_front_end": True}, "train_front_end and adapter exclude each other"),
    ],
)
def test_what_does_not_combine_is_refused_before_anything_is_built(changes, settings, says, folders):
    usual = {"hub": "torch", "upstream": "hf_auto", "upstream_ckpt": "owner/name", "upstream_trainable": True}
    with pytest.raises(UserError, match=says) as found:
        check_upstream_arguments(Namespace(**usual | changes), UpstreamSettings(adapter=LORA, **settings))
    assert "\n" not in str(found.value)
    check_upstream_arguments(Namespace(**usual), UpstreamSettings(adapter=LORA, spec_augment=True))


def test_without_peft_one_line_names_it(folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UserError, match=r"upstream\.adapter needs the package 'peft', .* Run 'pip install peft'"):
        adapted(folders["wav2vec2"])
