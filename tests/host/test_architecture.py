"""Upstreams built from settings alone: the same features, without their checkpoints, and without unpickling."""

import dataclasses
import json
from argparse import Namespace

import pytest
import torch
from helpers.checkpoints import (
    Shape,
    save_apc,
    save_data2vec,
    save_hubert,
    save_hugging_face,
    save_multires_hubert,
    save_tera,
    save_wav2vec2,
    save_wavlm,
)
from lid_mapmix.host.architecture import Architecture, rebuild
from lid_mapmix.host.features import build_features, rebuild_features
from lid_mapmix.host.upstreams import UpstreamSettings
from lid_mapmix.utils.errors import UserError

STABLE = Shape(stable=True, layerdrop=0.5)
FAMILIES = {
    "wav2vec2": ("wav2vec2_local", save_wav2vec2, Shape(layerdrop=0.5)),
    "xlsr": ("wav2vec2_local", save_wav2vec2, STABLE),
    "hubert": ("hubert_local", save_hubert, Shape()),
    "hubert_large": ("hubert_local", save_hubert, STABLE),
    "wavlm": ("wavlm_local", save_wavlm, STABLE),
    "data2vec": ("data2vec_local", save_data2vec, Shape()),
    "hf wav2vec2": ("hf_wav2vec2_custom", lambda path, shape: save_hugging_face(path, "wav2vec2", shape), STABLE),
    "hf hubert": ("hf_hubert_custom", lambda path, shape: save_hugging_face(path, "hubert", shape), Shape()),
    "unispeech_sat": ("unispeech_sat_local", save_wavlm, STABLE),
    "multires_hubert": ("multires_hubert_local", save_multires_hubert, STABLE),
    "tera": ("tera_local", save_tera, Shape()),
    "mockingjay": ("mockingjay_local", save_tera, Shape()),
    "apc": ("apc_local", save_apc, Shape()),
    "fbank": ("fbank", None, None),
    "mfcc": ("mfcc", None, None),
}


def arguments(upstream, weights=None, features="hidden_states"):
    return Namespace(
        upstream=upstream, upstream_ckpt=None if weights is None else str(weights), upstream_model_config=None,
        upstream_trainable=False, upstream_feature_selection=features, upstream_layer_selection=None,
        upstream_feature_normalize=False, device="cpu", hub="torch",
    )  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_features_without_the_checkpoint(family, tmp_path, request):
    name, save, shape = FAMILIES[family]
    weights = None if save is None else save(tmp_path / "weights", shape)
    built = build_features(arguments(name, weights), {}, UpstreamSettings())
    stored = json.loads(json.dumps(dataclasses.asdict(built.architecture)))
    state, featurizer = built.upstream.state_dict(), built.featurizer.state_dict()
    request.getfixturevalue("no_pickles")
    again = rebuild_features(Architecture(**stored), arguments(name), {}, UpstreamSettings())
    again.upstream.load_state_dict(state)
    again.featurizer.load_state_dict(featurizer)
    generator = torch.Generator().manual_seed(0)
    wavs = [torch.randn(samples, generator=generator) for samples in (16_000, 9_000)]
    with torch.no_grad():
        for expected, found in zip(built(wavs), again(wavs), strict=True):
            assert torch.equal(expected, found)
    assert built.dim == again.dim
    assert built.rate == again.rate


def test_building_leaves_the_random_state(tmp_path):
    weights = save_wav2vec2(tmp_path / "weights", Shape())
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    build_features(arguments("wav2vec2_local", weights), {}, UpstreamSettings())
    assert torch.rand(1) == expected


def test_settings_that_are_code_are_not_run(tmp_path):
    weights = save_wav2vec2(tmp_path / "weights", Shape())
    built = build_features(arguments("wav2vec2_local", weights), {}, UpstreamSettings())
    settings = json.loads(json.dumps(built.architecture.settings))
    left = tmp_path / "left"
    settings["arguments"][0]["conv_feature_layers"] = f"[(16, 10, 5)] + [open({str(left)!r}, 'w')]"
    with pytest.raises(UserError, match="conv_feature_layers"):
        rebuild(Architecture("wav2vec2_local", "wav2vec2", settings))
    assert not left.exists()


@pytest.mark.parametrize(
    ("architecture", "named"),
    [
        (Architecture("wav2vec2_local", "of_nobody", {"arguments": [], "normalize": False}), "of_nobody"),
        (Architecture("wav2vec2", "filter_banks"), "is not a filter bank"),
        (Architecture("wav2vec2_local", "wav2vec2", {"arguments": [{"unheard": 1}], "normalize": False}), "unheard"),
    ],
)
def test_settings_of_something_else_are_one_line(architecture, named):
    with pytest.raises(UserError, match=named) as found:
        rebuild(architecture)
    assert "\n" not in str(found.value)


def test_an_upstream_that_is_not_known_has_no_architecture(tmp_path):
    config = tmp_path / "fbank.yaml"
    config.write_text(
        "kaldi: {feat_type: fbank, fbank: {num_mel_bins: 40, frame_length: 25.0, frame_shift: 10.0}}\n"
        "delta: {order: 0}\ncmvn: {use_cmvn: false}\n"
    )
    args = arguments("baseline_local")
    args.upstream_model_config, args.upstream_ckpt = str(config), str(config)
    assert build_features(args, {}, UpstreamSettings()).architecture is None
