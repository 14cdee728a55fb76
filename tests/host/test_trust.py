"""Files of weights and settings are data: nothing in them is run, and no size in them is without limit."""

import json
import os
import zipfile
from argparse import Namespace

import pytest
import torch
from helpers.checkpoints import NATIVE, Shape, code, local, save_hugging_face, save_tera, spoil
from hypothesis import given
from hypothesis import strategies as st
from lid_mapmix.host.features import build_features
from lid_mapmix.host.hugging_face import HuggingFaceUpstream
from lid_mapmix.host.pretrained import load_model
from lid_mapmix.host.trust import check_settings, parameters_limited, reading_data_only
from lid_mapmix.host.upstreams import UpstreamSettings
from lid_mapmix.utils.errors import UserError

REAL = {
    "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] + [(512,2,2)]": [
        (512, 10, 5), *[(512, 3, 2)] * 4, (512, 2, 2), (512, 2, 2)
    ],
    "[(512, 10, 5), (512, 8, 4), (512, 4, 2), (512, 4, 2), (512, 4, 2), (512, 1, 1), (512, 1, 1)]": [
        (512, 10, 5), (512, 8, 4), (512, 4, 2), (512, 4, 2), (512, 4, 2), (512, 1, 1), (512, 1, 1)
    ],
    " 2 * [(8, 2, 2)]": [(8, 2, 2), (8, 2, 2)],
}  # fmt: skip
BOMBS = [
    "[(512,10,5)]*3000000000",
    "[(512,10,5)]*200*200*200",
    "[(512,10,5)]+" * 600 + "[]",
    "(" * 1000,
    "-" * 1999,
    "[(99999999999,3,2)]",
    "[9**9**9]",
    "[(512,10,'a'*10**10)]",
    "quit()",
    "quit",
    "[x for x in ()]",
    "[[1,2,3]]",
    "f'{quit()}'",
    b"[(512,10,5)]",
]


def arguments(upstream, weights, config=None):
    return Namespace(
        upstream=upstream, upstream_ckpt=str(weights), upstream_model_config=config and str(config), hub="torch",
        upstream_trainable=False, upstream_feature_selection="hidden_states", upstream_layer_selection=None,
        upstream_feature_normalize=False, device="cpu",
    )  # fmt: skip


def refusal(upstream, weights, config=None):
    """Return the line with which an upstream is refused."""
    with pytest.raises(UserError) as found:
        build_features(arguments(upstream, weights, config), {}, UpstreamSettings())
    assert "\n" not in str(found.value)
    return str(found.value)


@pytest.mark.parametrize("text", REAL)
def test_layer_lists_of_real_checkpoints_are_read(text):
    settings = {"conv_feature_layers": text}
    check_settings(settings)
    assert settings == {"conv_feature_layers": repr(REAL[text])}


@pytest.mark.parametrize("text", BOMBS, ids=range(len(BOMBS)))
def test_other_texts_are_refused_at_once(text):
    if text == "[[1,2,3]]":
        check_settings({"conv_feature_layers": text})  # the inner list becomes a tuple
        return
    with pytest.raises(ValueError, match="conv_feature_layers: expected a list"):
        check_settings({"conv_feature_layers": text})


@given(st.text() | st.text("[](),+* 0123456789"))
def test_a_text_is_a_list_or_refused(text):
    settings = [{"conv_feature_layers": text}]
    try:
        check_settings(settings)
    except ValueError as error:
        assert "\n" not in str(error)
    else:
        assert set(settings[0]["conv_feature_layers"]) <= set("[](), 0123456789")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1, 1.5])
def test_a_dropout_is_a_probability(value):
    """It failed in the first step, by an error of torch that named no file."""
    check_settings({"attention_dropout": 0.1, "hidden_dropout_prob": 1, "dropout_input": 0})
    for key in ("dropout", "dropout_input", "hidden_dropout_prob"):
        with pytest.raises(ValueError, match=f"{key}: expected a probability"):
            check_settings({"cfg": {key: value}})


@pytest.mark.parametrize("content", [b"", b"hi", b"text of any kind", b"[(512,10,5)]"])
def test_what_is_no_file_of_weights_is_called_so(content, tmp_path):
    """The reason of a text file was "KeyError: 105"."""
    (tmp_path / "weights.pt").write_bytes(content)
    with reading_data_only(), pytest.raises(ValueError, match="expected weights and plain settings, found other"):
        torch.load(tmp_path / "weights.pt")


def test_settings_are_found_wherever_they_are():
    for content in ([{"a": ({"feat_type": "fbank()"},)}], Namespace(x=Namespace(feat_type="x.y"))):
        with pytest.raises(ValueError, match="feat_type"):
            check_settings(content)
    endless = {}
    endless["endless"] = endless
    check_settings(endless)


@pytest.mark.parametrize("kind", NATIVE)
def test_the_text_of_a_native_checkpoint_is_not_run(kind, tmp_path):
    weights = NATIVE[kind](tmp_path / "weights.pt", Shape(layers=1))
    spoil(weights, conv_feature_layers=code(tmp_path / "made"))
    assert "conv_feature_layers: expected a list" in refusal(local(kind), weights)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"encoder_layers": 100_000},
        {"encoder_embed_dim": 2**40},
        {"encoder_ffn_embed_dim": float("inf")},
        {"encoder_attention_heads": 2**40},
        {"conv_feature_layers": "[(512,10,5)]*3000000000"},
    ],
    ids=str,
)
def test_a_model_larger_than_any_is_refused_at_once(settings, tmp_path):
    weights = spoil(NATIVE["wav2vec2"](tmp_path / "weights.pt", Shape(layers=1)), **settings)
    assert next(iter(settings)) in refusal("wav2vec2_local", weights)


def test_the_text_of_a_filter_bank_is_not_run(tmp_path):
    config = tmp_path / "bank.yaml"
    text = f"fbank if open({str(tmp_path / 'made')!r}, 'w') else 0"
    config.write_text(f"kaldi: {{feat_type: {text!r}, fbank: {{}}}}\ndelta: {{order: 0}}\ncmvn: {{use_cmvn: false}}\n")
    assert "feat_type: expected a name" in refusal("baseline_local", config, config)
    assert not (tmp_path / "made").exists()
    config.write_text("delta: {order: 1000000000}\nkaldi: {feat_type: fbank, fbank: {}}\ncmvn: {use_cmvn: false}\n")
    assert "order: expected at most 200" in refusal("baseline_local", config, config)


class Command:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


# S3PRL's builders of all but the first two unpickle without restriction.
@pytest.mark.parametrize(
    "name", ["wav2vec2", "apc", "mockingjay", "tera", "audio_albert", "distiller", "npc", "roberta"]
)
def test_nothing_is_unpickled_but_weights_and_plain_values(name, tmp_path):
    weights = tmp_path / "weights.pt"
    torch.save({"Config": Command(tmp_path / "made"), "model": Command(tmp_path / "made")}, weights)
    from lid_mapmix.host import registry
    from lid_mapmix.host.runner import prepare

    prepare()
    name = f"{name}_local"
    if name not in registry.upstream_names():
        with reading_data_only(), pytest.raises(ValueError, match="expected weights and plain settings"):
            torch.load(weights, weights_only=False)
    else:
        found = refusal(name, weights)
        assert "expected weights and plain settings" in found
        assert "weights_only" not in found
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("is_zip", [True, False])
def test_the_optimizer_in_an_old_checkpoint_is_not_needed_and_not_made(is_zip, tmp_path, monkeypatch):
    """S3PRL reads Mockingjay, TERA and AudioALBERT without restriction, for pickled schedulers in some of them."""
    import sys
    import types

    import numpy as np

    module = types.ModuleType("optimizers")
    module.Lamb = type("Lamb", (Command,), {"__module__": "optimizers", "__reduce__": object.__reduce__})
    monkeypatch.setitem(sys.modules, "optimizers", module)
    content = {"Runner": module.Lamb("x"), "Step": np.float64(3), "Transformer": {"w": torch.ones(2)}}
    torch.save(content, tmp_path / "old.ckpt", _use_new_zipfile_serialization=is_zip)
    with reading_data_only():
        read = torch.load(tmp_path / "old.ckpt", map_location="cpu", weights_only=False)
    assert torch.equal(read["Transformer"]["w"], torch.ones(2))
    assert type(read["Runner"]).__name__ == "Kept"
    assert not hasattr(read["Runner"], "path")


def test_keys_that_make_transformers_import_or_download_are_dropped(tmp_path):
    folder = save_hugging_face(tmp_path / "model", "wav2vec2", Shape(layers=1))
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "_attn_implementation": "nobody/kernel",
        "attn_implementation": "nobody/kernel",
        "custom_pipelines": {"x": {}},
        "quantization_config": {"quant_method": "bitsandbytes"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    upstream = HuggingFaceUpstream(*load_model(str(folder)))
    kept = json.dumps(upstream.architecture())
    assert "nobody" not in kept
    assert "quant" not in kept.replace("feat_quantizer_dropout", "")
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 2**40}))
    with pytest.raises(UserError, match="hidden_size: expected at most"):
        HuggingFaceUpstream(*load_model(str(folder)))


HUGE = {"encoder_layers": 200, "encoder_embed_dim": 16_384, "encoder_ffn_embed_dim": 16_384}


@pytest.mark.parametrize("kind", NATIVE)
def test_settings_within_their_limits_that_are_too_much_together_are_refused(kind, tmp_path):
    """Each setting has its limit; 200 layers of width 16,384 would take terabytes."""
    weights = spoil(NATIVE[kind](tmp_path / "weights.pt", Shape(layers=1)), **HUGE, encoder_attention_heads=16)
    assert "M parameters, which its file may hold, found those of a larger one" in refusal(local(kind), weights)


def test_a_folder_whose_config_is_of_a_model_that_its_files_cannot_hold_is_refused(tmp_path):
    folder = save_hugging_face(tmp_path / "model", "wav2vec2", Shape(layers=1))
    config = json.loads((folder / "config.json").read_text())
    huge = {"num_hidden_layers": 200, "hidden_size": 16_384, "intermediate_size": 16_384}
    (folder / "config.json").write_text(json.dumps(config | huge))
    assert "M parameters, which its file may hold" in refusal("hf_wav2vec2_custom", folder)


def test_a_compressed_archive_is_refused(tmp_path):
    """A file of 200 kB had become a tensor of 200 MB."""
    weights = NATIVE["wav2vec2"](tmp_path / "weights.pt", Shape(layers=1))
    torch.save(torch.load(weights, weights_only=True) | {"more": torch.zeros(10**6)}, weights)
    with zipfile.ZipFile(weights) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(weights, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    assert "bytes as torch writes them, found an archive of" in refusal("wav2vec2_local", weights)


def test_a_model_without_a_known_file_has_a_limit_too():
    layer = torch.nn.Linear(60_000, 60_000, device="meta")
    with parameters_limited([]):
        torch.nn.Linear(60_000, 60_000, device="meta")
        with pytest.raises(ValueError, match="at most 5,000 M parameters, found"):
            torch.nn.Linear(60_000, 60_000, device="meta")
    torch.nn.Sequential(layer, torch.nn.Linear(60_000, 60_000, device="meta"))  # the limit is that of the block


def test_a_parameter_that_is_replaced_counts_once():
    """transformers builds a model without memory, and replaces each parameter by the one of the file."""
    with parameters_limited([2 * 10**8]):  # in half precision, 100 M
        layer = torch.nn.Linear(10_000, 10_000, device="meta")
        for _ in range(3):
            layer.weight = torch.nn.Parameter(torch.empty_like(layer.weight))


def test_a_sampling_rate_has_a_limit(tmp_path):
    """S3PRL's preprocessor draws as many random samples as the checkpoint says that a second has."""
    content = torch.load(save_tera(tmp_path / "tera.ckpt"), weights_only=True)
    content["Config"]["audio"]["sample_rate"] = 10**12
    torch.save(content, tmp_path / "tera.ckpt")
    assert "sample_rate: expected at most 192000" in refusal("tera_local", tmp_path / "tera.ckpt")
