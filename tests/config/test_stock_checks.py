"""What is refused under S3PRL's own command."""

import pytest
from lid_mapmix.config.checks import task_config
from lid_mapmix.config.schema import TaskConfig
from lid_mapmix.config.stock_s3prl import check_host, config_without_patches
from lid_mapmix.utils.errors import UserError


@pytest.mark.parametrize("key", [{"precision": "bf16"}, {"compile": True}, {"gradient_checkpointing": True}])
def test_what_s3prls_own_runner_would_pass_over_is_refused_there(key):
    with pytest.raises(UserError, match=f"expected settings of S3PRL's own command, found runner.{next(iter(key))} "):
        check_host(key)
    for known in ({}, {"precision": "fp32", "compile": False}, {"fp16": True}):
        check_host(known)


@pytest.mark.parametrize(("upstream", "mixes"), [("fbank", True), ("hubert_large_ll60k", False), ("xlsr_53", False)])
def test_stock_s3prl_mixes_lengths_of_filter_banks_only(upstream, mixes):
    config = task_config({"evaluation": {"mix_lengths": True, "hop_seconds": 2.0}})
    found = config_without_patches(config, upstream, trainable=True)
    assert (found.evaluation.mix_lengths, found.evaluation.hop_seconds) == (mixes, 2.0)
    assert config.evaluation.mix_lengths


def test_stock_s3prl_does_not_fine_tune_hugging_face_models():
    with pytest.raises(UserError, match="hf_wav2vec2_custom: S3PRL's own command cannot fine-tune it"):
        config_without_patches(TaskConfig(), "hf_wav2vec2_custom", trainable=True)
    config_without_patches(TaskConfig(), "hf_wav2vec2_custom", trainable=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [("train_front_end", True), ("spec_augment", True), ("train_layers", 2), ("adapter", {"rank": 4})],
)
def test_stock_s3prl_does_not_ignore_a_setting_of_the_upstream(name, value):
    with pytest.raises(
        UserError, match=f"expected settings of S3PRL's own command, found downstream_expert.upstream.{name}"
    ):
        config_without_patches(task_config({"upstream": {name: value}}), "xlsr_53", trainable=True)
