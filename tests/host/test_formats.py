"""Common mistakes in naming an upstream or its weights: each is one line that says what to do."""

import argparse
import json
import re

import pytest
from helpers.checkpoints import Shape, save_hugging_face, save_wav2vec2
from lid_mapmix.host.formats import check_files, check_name
from lid_mapmix.host.registry import upstream_names
from lid_mapmix.utils.errors import UserError


def refused(says, check, *arguments):
    with pytest.raises(UserError, match=says) as caught:
        check(*arguments)
    assert "\n" not in str(caught.value)


def test_a_repository_as_upstream():
    refused("Use -u hf_auto -k facebook/mms-300m", check_name, "facebook/mms-300m")


def test_no_upstream_of_s3prl_is_refused():
    for name in upstream_names():
        check_name(name)


@pytest.mark.parametrize("name", ["stft_mag", "baseline_local"])
def test_an_upstream_that_needs_a_configuration(name):
    refused("expected its settings by -g, found none. Pass a YAML file such as", check_files, name, None, None)
    check_files(name, None, "some.yaml")


def test_the_configuration_that_is_named_works(tmp_path):
    from lid_mapmix.host.features import build_features
    from lid_mapmix.host.formats import _NEED_CONFIG
    from lid_mapmix.host.upstreams import UpstreamSettings

    for name, text in _NEED_CONFIG.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(re.sub(r"\}, (?=delta|cmvn)", "}\n", text))  # on one line in the message
        args = argparse.Namespace(
            upstream=name, upstream_ckpt=str(path) if "local" in name else None, upstream_model_config=str(path),
            hub="torch", upstream_trainable=False, upstream_feature_selection="hidden_states", device="cpu",
            upstream_layer_selection=None, upstream_feature_normalize=False,
        )  # fmt: skip
        assert build_features(args, {}, UpstreamSettings()).dim in (201, 80)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_hugging_face(tmp_path_factory.mktemp("hf") / "model", "hubert", Shape(layers=1))


def test_a_folder_of_save_pretrained_for_a_native_upstream(folder, tmp_path):
    for weights in (folder, folder / "model.safetensors"):
        says = f"found weights of save_pretrained.*Use -u hf_auto -k {re.escape(str(folder))}"
        refused(says, check_files, "wavlm_local", str(weights), None)
    refused(
        "expected a file in S3PRL's format, found a folder. Pass the file",
        check_files,
        "wavlm_local",
        str(tmp_path),
        None,
    )


def test_a_file_for_a_hugging_face_upstream(folder, tmp_path):
    file = str(folder / "model.safetensors")
    refused(f"Pass its folder {re.escape(str(folder))}", check_files, "hf_hubert_custom", file, None)
    native = str(save_wav2vec2(tmp_path / "native.pt", Shape(layers=1)))
    refused("are for -u wav2vec2_local or hubert_local", check_files, "hf_wav2vec2_custom", native, None)
    check_files("wav2vec2_local", native, None)


def test_an_adapter_of_peft(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "x/y"}))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    for name in ("hf_wav2vec2_custom", "wav2vec2_local"):
        for weights in (tmp_path, tmp_path / "adapter_model.safetensors"):
            refused("found an adapter of PEFT. Merge it", check_files, name, str(weights), None)
