"""Batches that a GPU has no memory for are divided."""

from argparse import Namespace
from types import SimpleNamespace

import pytest
import torch
from lid_mapmix.apps.settings.gpu_batch import divide_batch
from lid_mapmix.config.settings import Settings
from lid_mapmix.config.sources import DEFAULT_CONFIG, merge, read_variant, read_yaml


@pytest.fixture
def card(monkeypatch):
    """Let torch say that a GPU has so many GiB."""

    def of(gigabytes):
        properties = SimpleNamespace(total_memory=gigabytes * 2**30)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)

    return of


def _settings(device="cuda", variant="mapmix", **runner):
    config = merge(read_yaml(DEFAULT_CONFIG), merge(read_variant(variant), {"runner": runner}))
    return Settings.make(Namespace(device=device), config)


def test_a_batch_that_fits_stays(card):
    card(24)
    settings = _settings()
    assert divide_batch(settings, {24: 8, 80: 30}) is settings


def test_a_batch_that_does_not_fit_is_divided(card):
    card(24)
    divided = divide_batch(_settings("cuda:0"), {24: 3, 80: 30})
    assert divided.sources == ("3 batches of 3 per optimizer step, for a GPU of 24 GB",)
    assert divided.task.data.batch_size == 3
    assert divided.runner["gradient_accumulate_steps"] == 3


def test_accumulation_that_was_asked_for_is_kept(card):
    card(24)
    divided = divide_batch(_settings(gradient_accumulate_steps=2), {24: 4})
    assert (divided.task.data.batch_size, divided.runner["gradient_accumulate_steps"]) == (4, 4)


def test_what_is_not_mixed_needs_half_the_memory(card):
    card(24)
    settings = _settings(variant="baseline")
    assert divide_batch(settings, {24: 8}) is settings


def test_each_process_has_a_card(card, monkeypatch):
    card(24)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    settings = _settings()
    assert divide_batch(settings, {24: 2}) is settings


@pytest.mark.parametrize("device", ["cpu", None])
def test_without_a_gpu_nothing_changes(device):
    settings = _settings(device)
    assert divide_batch(settings, {24: 1}) is settings
