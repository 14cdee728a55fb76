"""Whole runs with augmentation, class-balanced sampling and SpecAugment."""

import importlib.util
import inspect
import json
import shutil
import sys

import numpy as np
import pytest
import soundfile
import torch
from helpers.launching import assert_same_files, assert_same_weights, interrupt_at, last_checkpoint, train, weights
from lid_mapmix.config.checks import check_configuration
from lid_mapmix.config.sources import DEFAULT_CONFIG, read_yaml
from lid_mapmix.data.manifest.manifest import read_manifest, write_manifest
from lid_mapmix.host import compat
from lid_mapmix.utils.errors import UserError

NAN = "audio/train/ybb-two-3.wav"


@pytest.fixture(scope="module")
def data(corpus, tmp_path_factory):
    """Return a corpus of unequal classes with a file of which samples have to be read to see that it is bad."""
    folder = shutil.copytree(corpus, tmp_path_factory.mktemp("augmentation") / "data")
    manifest = read_manifest(folder / "train.csv")
    kept = np.flatnonzero((manifest.columns["class"] != "xaa-one") | (np.arange(32) < 3))
    write_manifest(folder / "train.csv", {name: values[kept].tolist() for name, values in manifest.columns.items()})
    soundfile.write(folder / NAN, np.full(16_000, np.nan, dtype=np.float32), 16_000, subtype="FLOAT")
    return folder


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Return settings with everything on, so that every draw there is has to be keyed."""
    root = tmp_path_factory.mktemp("sounds")
    generator = np.random.default_rng(3)
    for name in ("noise", "rooms"):
        (root / name).mkdir()
        sound = generator.standard_normal(4000) * np.exp(-np.arange(4000) / 500)
        soundfile.write(root / name / "a.wav", 0.3 * sound, 16_000, subtype="FLOAT")
    augment = {
        "speeds": "[0.9, 1.0, 1.1]",
        "noise": root / "noise",
        "rir": root / "rooms",
        "codecs": "['ulaw', 'gsm']",
    }
    return {
        **{f"downstream_expert.data.augment.{name}": value for name, value in augment.items()},
        "downstream_expert.data.on_bad_audio": "skip",
        "downstream_expert.data.sampler": "power",
        "downstream_expert.data.batch_size": 4,
        "downstream_expert.datamap.regions": "quantile",
        "runner.save_step": 3,
    }


@pytest.fixture(scope="module")
def whole(data, settings, tmp_path_factory):
    """Return a function that gives the complete run of a variant, trained once."""
    folder = tmp_path_factory.mktemp("whole")

    def of(variant):
        if not (folder / variant).exists():
            assert train(data, folder / variant, "-v", variant, settings=settings) == 0
        return folder / variant

    return of


def test_workers_do_not_matter(data, settings, whole, tmp_path):
    two = settings | {"downstream_expert.data.workers": 2}
    assert train(data, tmp_path / "run", "-v", "latent_random", settings=two) == 0
    assert_same_weights(tmp_path / "run", whole("latent_random"))
    assert_same_files(tmp_path / "run", whole("latent_random"), "dev_scores.csv", "bad_audio.csv")


# In a data map, the utterance with bad audio is unread, so that the run on it never meets it.
@pytest.mark.parametrize(
    ("variant", "step", "skipped"), [("latent_random", 5, "bad_audio.csv"), ("mapmix", 17, "datamap/bad_audio.csv")]
)
def test_an_interrupted_run_ends_like_one_that_was_not(
    variant, step, skipped, data, settings, whole, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        interrupt_at(patch, step)
        assert train(data, tmp_path / "run", "-v", variant, settings=settings) == 130
    assert train(data, tmp_path / "run", "-v", variant, "-a", settings=settings) == 0
    assert_same_weights(tmp_path / "run", whole(variant))
    assert_same_files(tmp_path / "run", whole(variant), "dev_scores.csv", "test_scores.csv", skipped)


@pytest.mark.parametrize("name", ["augment", "sampler"])
def test_each_setting_changes_what_is_learnt(name, data, settings, whole, tmp_path):
    less = {key: value for key, value in settings.items() if f"data.{name}" not in key}
    assert train(data, tmp_path / "run", "-v", "latent_random", settings=less) == 0
    one, other = (weights(last_checkpoint(folder)) for folder in (tmp_path / "run", whole("latent_random")))
    assert not torch.equal(one["head.model.pooling.score.weight"], other["head.model.pooling.score.weight"])


def test_a_map_is_made_of_augmented_crops_uniformly_and_kept_for_the_same_settings(
    data, settings, whole, tmp_path, capsys
):
    request = json.loads((whole("mapmix") / "datamap/request.json").read_text())["request"]["crop or batch"]
    assert (request["codecs"], request["on_bad_audio"]) == (["ulaw", "gsm"], "skip")
    folder = shutil.copytree(whole("mapmix"), tmp_path / "run")
    for path in folder.iterdir():  # but for the map
        if path.is_file():
            path.unlink()
    other = settings | {"downstream_expert.data.augment.codecs": "['alaw']"}
    assert train(data, folder, "-v", "mapmix", "-a", settings=other) == 1
    assert "crop or batch" in capsys.readouterr().err.splitlines()[-1]
    # How the main run samples is no matter of the map's.
    other = settings | {"downstream_expert.data.sampler": "balanced"}
    assert train(data, folder, "-v", "mapmix", "-a", settings=other) == 0
    assert "stage 1 of 2, data map: complete in" in capsys.readouterr().out


def test_a_map_made_with_other_noise_in_the_same_folder_is_refused(data, settings, whole, tmp_path, capsys):
    folder = shutil.copytree(whole("mapmix"), tmp_path / "run")
    for path in folder.iterdir():  # but for the map
        if path.is_file():
            path.unlink()
    noise = settings["downstream_expert.data.augment.noise"]
    shutil.copy(noise / "a.wav", noise / "b.wav")
    try:
        assert train(data, folder, "-v", "mapmix", "-a", settings=settings) == 1
    finally:
        (noise / "b.wav").unlink()
    assert (
        "expected a data map with the same noise or rooms, found another." in capsys.readouterr().err.splitlines()[-1]
    )


def test_folders_are_checked_before_anything_is_written(data, settings, tmp_path, capsys):
    other = settings | {"downstream_expert.data.augment.rir": tmp_path / "none"}
    assert train(data, tmp_path / "run", "-v", "baseline", settings=other) == 1
    assert f"data.augment.rir: {tmp_path / 'none'}: no such folder" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_folders_are_found_from_anywhere(data, settings, tmp_path, monkeypatch):
    sounds = settings["downstream_expert.data.augment.noise"].parent
    relative = settings | {
        "downstream_expert.data.augment.noise": "noise",
        "downstream_expert.data.augment.rir": "rooms",
    }
    with monkeypatch.context() as patch:
        patch.chdir(sounds)
        interrupt_at(patch, 5)
        assert train(data, tmp_path / "run", "-v", "baseline", settings=relative) == 130
    monkeypatch.chdir(tmp_path)
    assert train(data, tmp_path / "run", "-v", "baseline", "-a", settings={}) == 0


def test_spec_augment_masks_features_in_training_only(corpus, tmp_path, monkeypatch):
    compat.import_without_unused("s3prl.downstream.specaug")
    assert "pandas" not in sys.modules or importlib.util.find_spec("pandas") is not None
    from s3prl.downstream.specaug import SpecAug

    settings = {"runner.save_step": 1, "downstream_expert.data.batch_size": 8}
    own = tmp_path / "own.yaml"
    own.write_text("specaug: {freq_mask_width_range: [5, 20], time_mask_width_range: [5, 20]}")
    masked = []
    original = SpecAug.forward

    def forward(self, features, *arguments):
        result = original(self, features, *arguments)
        masked.extend(float((each == 0).float().mean()) for each in result[0])
        return result

    with monkeypatch.context() as patch:
        patch.setattr(SpecAug, "forward", forward)
        assert train(corpus, tmp_path / "whole", "-v", "baseline", "-c", own, settings=settings) == 0
    # 32 utterances and 2 epochs; dev and test are not masked.
    assert len(masked) == 64
    assert 0.05 < np.mean(masked) < 0.9
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3)
        assert train(corpus, tmp_path / "run", "-v", "baseline", "-c", own, settings=settings) == 130
    assert train(corpus, tmp_path / "run", "-v", "baseline", "-a", settings=settings) == 0
    assert_same_weights(tmp_path / "run", tmp_path / "whole")


def test_the_settings_of_spec_augment_are_those_that_s3prl_has():
    compat.import_without_unused("s3prl.downstream.specaug")
    from s3prl.downstream.specaug import SpecAug

    names = inspect.signature(SpecAug).parameters
    check_configuration(read_yaml(DEFAULT_CONFIG) | {"specaug": {name: 1 for name in names}})
    for wrong, named in (({"time_mask": 1}, r"specaug\.time_mask"), ([1], "specaug is")):
        with pytest.raises(UserError, match=named):
            check_configuration(read_yaml(DEFAULT_CONFIG) | {"specaug": wrong})
