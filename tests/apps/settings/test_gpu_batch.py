"""Batches that a GPU has no memory for are divided."""

import json
from argparse import Namespace
from types import SimpleNamespace

import pytest
import torch
from lid_mapmix.apps.settings.from_flags import divide_batch
from lid_mapmix.config.settings import Settings
from lid_mapmix.config.sources import DEFAULT_CONFIG, merge, read_variant, read_yaml
from lid_mapmix.config.upstreams import Arguments, Protocol, read_upstream


@pytest.fixture
def card(monkeypatch):
    """Let torch say that a GPU has so many GiB."""

    def of(gigabytes):
        properties = SimpleNamespace(total_memory=gigabytes * 2**30)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)

    return of


def _settings(device="cuda", variant="mapmix", **runner):
    config = merge(read_yaml(DEFAULT_CONFIG), merge(read_variant(variant), {"runner": runner}))
    return Settings.make(Namespace(device=device, upstream_ckpt=None), config)


def _needs(sizes):
    return Protocol(Arguments(True, "last_hidden_state"), batch_sizes=sizes)


def test_a_batch_that_fits_stays(card):
    card(24)
    settings = _settings()
    assert divide_batch(settings, _needs({24: 8, 80: 30})) is settings


def test_a_batch_that_does_not_fit_is_divided(card):
    card(24)
    divided = divide_batch(_settings("cuda:0"), _needs({24: 3, 80: 30}))
    assert divided.sources == ("3 batches of 3 per optimizer step, for a GPU of 24 GB",)
    assert divided.task.data.batch_size == 3
    assert divided.runner["gradient_accumulate_steps"] == 3


def test_accumulation_that_was_asked_for_is_kept(card):
    card(24)
    divided = divide_batch(_settings(gradient_accumulate_steps=2), _needs({24: 4}))
    assert (divided.task.data.batch_size, divided.runner["gradient_accumulate_steps"]) == (4, 4)


def test_what_is_not_mixed_needs_half_the_memory(card):
    card(24)
    settings = _settings(variant="baseline")
    assert divide_batch(settings, _needs({24: 8})) is settings


def test_each_process_has_a_card(card, monkeypatch):
    card(24)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    settings = _settings()
    assert divide_batch(settings, _needs({24: 2})) is settings


@pytest.mark.parametrize("device", ["cpu", None])
def test_without_a_gpu_nothing_changes(device):
    settings = _settings(device)
    assert divide_batch(settings, _needs({24: 1})) is settings


@pytest.mark.parametrize(
    ("shape", "parts"), [((12, 768, 3072), 1), ((24, 1024, 4096), 2), ((48, 1280, 5120), 8), ((48, 1920, 7680), 8)]
)
def test_the_size_of_a_hugging_face_model_is_read_from_its_config(shape, parts, card, tmp_path):
    """Every folder counted as a model of 317 M parameters: one of a billion got batches that no card holds."""
    card(24)
    names = ("num_hidden_layers", "hidden_size", "intermediate_size")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "wav2vec2"} | dict(zip(names, shape, strict=True))))
    settings = _settings().with_arguments(upstream_ckpt=str(tmp_path))
    divided = divide_batch(settings, read_upstream("hf_wav2vec2_custom").finetune)
    assert divided.runner.get("gradient_accumulate_steps", 1) == parts


def test_a_folder_without_a_config_is_divided_as_a_large_model(card, tmp_path):
    card(24)
    settings = _settings().with_arguments(upstream_ckpt=str(tmp_path))
    assert divide_batch(settings, read_upstream("hf_hubert_custom").finetune).task.data.batch_size == 4
