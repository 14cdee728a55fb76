"""Batches that a GPU has no memory for are divided."""

from types import SimpleNamespace

import pytest
import torch
from lid_mapmix.apps.settings.gpu_batch import divide_batch
from lid_mapmix.config.sources import DEFAULT_CONFIG, TASK_KEY, merge, read_variant, read_yaml


@pytest.fixture
def card(monkeypatch):
    """Let torch say that a GPU has so many GiB."""

    def of(gigabytes):
        properties = SimpleNamespace(total_memory=gigabytes * 2**30)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)

    return of


def _config(variant="mapmix", **data):
    return merge(read_yaml(DEFAULT_CONFIG), merge(read_variant(variant), {TASK_KEY: {"data": data}}))


def test_a_batch_that_fits_stays(card):
    card(24)
    config = _config()
    assert divide_batch(config, {24: 8, 80: 30}, "cuda") is None
    assert config == _config()


def test_a_batch_that_does_not_fit_is_divided(card):
    card(24)
    config = _config()
    assert divide_batch(config, {24: 3, 80: 30}, "cuda:0") == "3 batches of 3 a step, for a GPU of 24 GB"
    assert config[TASK_KEY]["data"]["batch_size"] == 3
    assert config["runner"]["gradient_accumulate_steps"] == 3


def test_accumulation_that_was_asked_for_is_kept(card):
    card(24)
    config = _config()
    config["runner"]["gradient_accumulate_steps"] = 2
    divide_batch(config, {24: 4}, "cuda")
    assert (config[TASK_KEY]["data"]["batch_size"], config["runner"]["gradient_accumulate_steps"]) == (4, 4)


def test_what_is_not_mixed_needs_half_the_memory(card):
    card(24)
    assert divide_batch(_config("baseline"), {24: 8}, "cuda") is None


def test_each_process_has_a_card(card, monkeypatch):
    card(24)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert divide_batch(_config(), {24: 2}, "cuda") is None


@pytest.mark.parametrize("device", ["cpu", None])
def test_without_a_gpu_nothing_changes(device):
    assert divide_batch(_config(), {24: 1}, device) is None
