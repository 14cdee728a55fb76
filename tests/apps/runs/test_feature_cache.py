"""--cache-features: whole runs on a frozen wav2vec 2.0 whose features are kept."""

import collections
import os
import re
import shutil

import pytest
import soundfile
import torch
from helpers.checkpoints import save_initial
from helpers.forking import finish, start_forked
from helpers.launching import (
    assert_same_files,
    assert_same_weights,
    interrupt_at,
    last_checkpoint,
    listing,
    overrides,
    run,
    weights,
)
from lid_mapmix.apps.runs import feature_cache
from lid_mapmix.data.dataset import Split
from lid_mapmix.expert import DownstreamExpert
from lid_mapmix.host import feature_store
from lid_mapmix.host.feature_cache import CachedUpstream

STEP = "downstream_expert.data.crop_step_seconds"
DISK = collections.namedtuple("DISK", "total used free")
# Losses hang on a rounding of 11 bits in each feature, through steps that follow from one another.
TOLERANCE = 2e-3


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return save_initial(tmp_path_factory.mktemp("weights") / "small.pt")


def where(small, data, expdir, **settings):
    settings = {"optimizer.lr": 1e-3, "downstream_expert.datamap.regions": "quantile", **settings}
    flags = ["-u", "wav2vec2_local", "-k", small, "--data", data, "-p", expdir, "--device", "cpu"]
    return [*flags, "-o", overrides(settings)]


def train(small, data, expdir, *flags, **settings):
    return run(*where(small, data, expdir, **settings), "--frozen", *flags)


@pytest.fixture(scope="module")
def cached_run(small, corpus, tmp_path_factory):
    """Return the folder of a complete Map-Mix run and that of the cache it has filled; not to be changed."""
    folder = tmp_path_factory.mktemp("cached")
    assert train(small, corpus, folder / "run", "--cache-features", folder / "cache") == 0
    return folder / "run", folder / "cache"


@pytest.fixture
def own_cache(cached_run, tmp_path):
    return shutil.copytree(cached_run[1], tmp_path / "own-cache")


@pytest.fixture
def counted(monkeypatch):
    """Return, in a list, how many waveforms an upstream was run on and how many were read, a run each."""
    runs = []
    original = feature_cache.attach_cache

    def attach(*arguments):
        cached = original(*arguments)
        runs.extend([] if cached is None else [cached])  # dev in the windows of test is not cached
        return cached

    monkeypatch.setattr("lid_mapmix.apps.runs.run.attach_cache", attach)
    return runs


@pytest.fixture
def losses(monkeypatch):
    """Return the losses of the steps of all runs."""
    found, original = [], DownstreamExpert.forward

    def forward(self, split, *arguments, **keywords):
        loss = original(self, split, *arguments, **keywords)
        if split == "train":
            found.append(loss.item())
        return loss

    monkeypatch.setattr(DownstreamExpert, "forward", forward)
    return found


def fault_of(capsys):
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def test_losses_are_those_without_the_cache_on_the_same_grid(small, corpus, tmp_path, losses):
    caching = ["--cache-features", tmp_path / "cache"]
    for name, flags in (("plain", []), ("filling", caching), ("reading", caching)):
        assert train(small, corpus, tmp_path / name, "-v", "latent_random", *flags, **{STEP: 0.25}) == 0
    plain, filling, reading = (losses[start : start + 8] for start in (0, 8, 16))
    assert len(losses) == 24
    assert len(set(plain)) == 8
    assert filling == reading
    assert filling == pytest.approx(plain, rel=TOLERANCE)
    for split in ("dev", "test"):
        rows = [(tmp_path / name / f"{split}_scores.csv").read_text().splitlines()[1:] for name in ("plain", "reading")]
        for one, other in zip(*rows, strict=True):
            logs = [[float(value) for value in row.split(",")[-4:]] for row in (one, other)]
            assert logs[1] == pytest.approx(logs[0], abs=TOLERANCE)
    # Without the cache crops start anywhere.
    assert train(small, corpus, tmp_path / "anywhere", "-v", "latent_random") == 0
    assert losses[24:] != pytest.approx(plain, rel=TOLERANCE)


def test_both_stages_and_other_variants_share_the_cache(
    small, corpus, own_corpus, cached_run, own_cache, tmp_path, counted, monkeypatch, capsys
):
    folder, cache = cached_run[0], own_cache
    original, splits = Split.read, set()

    def read(split, *arguments):
        splits.add(split.manifest.path.name)
        return original(split, *arguments)

    monkeypatch.setattr(Split, "read", read)
    assert train(small, corpus, tmp_path / "again", "--cache-features", cache) == 0
    assert_same_weights(folder, tmp_path / "again")
    assert_same_files(folder, tmp_path / "again", "dev_scores.csv", "test_scores.csv", "datamap/datamap.csv")
    assert splits == {"dev.csv"}, "in the windows of test, for the calibration"
    # Data map, Map-Mix with its partners, and the scores of the test split.
    assert [each.computed for each in counted] == [0, 0, 0]
    assert all(each.read > 0 for each in counted)
    output = capsys.readouterr().out
    assert "0 crops and windows computed by the upstream" in output
    monkeypatch.undo()
    before = listing(cache)
    flags = ["-v", "latent_across", "--seed", "1338", "--cache-features", cache]
    assert train(small, own_corpus, tmp_path / "other", *flags) == 0  # a copy of the same audio
    stored = [path for path, state in listing(cache).items() if state != before[path]]
    assert set(stored) <= {"train/frames.u32", "train/features.f16"}, "other crops of the same grid, at most"


def test_anchors_and_partners_come_from_the_cache(own_cache, small, corpus, tmp_path, monkeypatch):
    shapes, original = [], CachedUpstream.forward

    def forward(self, wavs):
        features = original(self, wavs)
        shapes.append((len(wavs), features["hidden_states"].stacked.shape[1]))
        return features

    monkeypatch.setattr(CachedUpstream, "forward", forward)
    settings = {"downstream_expert.epochs": 1, "runner.eval_dataloaders": []}
    flags = ["-v", "latent_random", "--cache-features", own_cache]
    assert train(small, corpus, tmp_path / "run", *flags, **settings) == 0
    assert shapes[:4] == [(16, 16)] * 4


def test_the_weighted_sum_learns_from_the_cache(cached_run):
    learnt = weights(last_checkpoint(cached_run[0]))["featurizer.weights"]
    assert learnt.shape == (3,)
    assert (learnt != 0).all()


def test_disk_use_is_printed_before_anything_is_stored(cached_run, small, corpus, tmp_path, capsys):
    assert train(small, corpus, tmp_path / "run", "--cache-features", tmp_path / "cache", "-v", "datamap") == 0
    output = capsys.readouterr().out
    sizes = {split: (tmp_path / "cache" / split / "features.f16").stat().st_size for split in ("train", "dev", "test")}
    expected = ", ".join(f"{split} {size / 1e6:.1f} MB" for split, size in sizes.items())
    # Utterances of 1, 1.1 and 1.2 s: crops of 0.5 s every 0.25 s are 3, 4 and 4; a window each in dev and test.
    assert f"{sum(sizes.values()) / 1e6:.1f} MB for 140 crops and windows ({expected})" in output
    # 26 frames at most of 3 layers of 32 values of 2 bytes.
    assert sizes["train"] == 116 * 26 * 3 * 32 * 2


@pytest.mark.parametrize("step", [1, 2, 5, 7])
def test_an_interrupted_run_goes_on_bit_for_bit(step, small, corpus, cached_run, tmp_path, monkeypatch):
    flags = ["--cache-features", tmp_path / "cache"]
    interrupted = {"runner.save_step": 1}
    with monkeypatch.context() as patch:
        interrupt_at(patch, step)
        assert train(small, corpus, tmp_path / "run", *flags, **interrupted) == 130
    # The checkpoint says where the cache is.
    assert run("-p", tmp_path / "run", "-u", "wav2vec2_local", "-k", small, "--frozen", "--data", corpus, "-a",
               "--device", "cpu", *flags, "-o", overrides({"optimizer.lr": 1e-3, "runner.save_step": 1,
               "downstream_expert.datamap.regions": "quantile"})) == 0  # fmt: skip
    assert_same_weights(cached_run[0], tmp_path / "run")
    assert_same_files(cached_run[0], tmp_path / "run", "dev_scores.csv", "test_scores.csv", "datamap/datamap.csv")
    for split in ("train", "dev", "test"):
        assert_same_files(cached_run[1] / split, tmp_path / "cache" / split, "features.f16", "frames.u32")


def test_two_commands_at_once_fill_one_cache(small, corpus, cached_run, tmp_path):
    flags = ["--frozen", "--cache-features", tmp_path / "cache"]
    processes = [start_forked(run, *where(small, corpus, tmp_path / name), *flags) for name in ("one", "other")]
    for status, _, error in finish(processes, timeout=200):
        assert status == 0, error
    for name in ("one", "other"):
        assert_same_weights(cached_run[0], tmp_path / name)
    assert_same_files(cached_run[1] / "train", tmp_path / "cache/train", "features.f16", "frames.u32")


def test_a_disk_that_is_full_is_one_line_and_the_cache_stays_right(
    small, corpus, cached_run, tmp_path, monkeypatch, capsys
):
    original, calls = os.pwrite, 0

    def full(descriptor, content, offset):
        nonlocal calls
        calls += 1
        if calls == 50:
            raise OSError(28, "No space left on device")
        return original(descriptor, content, offset)

    flags = ["--cache-features", tmp_path / "cache"]
    with monkeypatch.context() as patch:
        patch.setattr(feature_store.os, "pwrite", full)
        assert train(small, corpus, tmp_path / "run", *flags) == 1
    assert re.search(r"cache/train/\S+: no space left on the disk", fault_of(capsys))
    assert train(small, corpus, tmp_path / "run", *flags, "--overwrite") == 0
    assert_same_weights(cached_run[0], tmp_path / "run")


@pytest.mark.parametrize(
    ("flags", "settings", "says"),
    [
        ([], {}, "expected a frozen upstream, found wav2vec2_local fine-tuned"),
        (["--frozen", "-v", "static"], {}, "expected no mapmix.mix input, which makes new waveforms"),
        (["--frozen", "--cache-limit", "0.0005"], {}, "at most 0.0005 GB, found one of 0.8 MB .*Increase"),
        (["--frozen"], {"downstream_expert.cache.limit_gb": 1e-6}, "at most 1e-06 GB, found one of .*Increase"),
    ],
)  # fmt: skip
def test_what_cannot_be_cached_is_refused(flags, settings, says, small, corpus, tmp_path, capsys):
    flags = [*where(small, corpus, tmp_path / "run", **settings), "--cache-features", tmp_path / "cache", *flags]
    assert run(*flags) == 1
    assert re.search(says, fault_of(capsys))
    assert not (tmp_path / "cache").exists()
    assert not list(tmp_path.glob("run/**/*.ckpt"))


def test_a_disk_with_too_little_room_is_refused(small, corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(feature_cache.shutil, "disk_usage", lambda folder: DISK(10, 5, 300_000))
    assert train(small, corpus, tmp_path / "run", "--cache-features", tmp_path / "a" / "cache") == 1
    assert "expected 0.8 MB free for the feature cache, found 0.3 MB" in fault_of(capsys)
    assert not (tmp_path / "a").exists()


def test_evaluation_may_be_left_out(small, corpus, tmp_path):
    settings = {"downstream_expert.cache.evaluation": False}
    assert (
        train(small, corpus, tmp_path / "run", "--cache-features", tmp_path / "cache", "-v", "datamap", **settings) == 0
    )
    assert sorted(path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()) == ["train"]


def other_audio(data):
    path = data / "audio/train/xaa-one-0.wav"
    audio, rate = soundfile.read(path)
    soundfile.write(path, audio[::-1], rate)


def other_manifest(data):
    lines = (data / "train.csv").read_text().splitlines()
    (data / "train.csv").write_text("\n".join(lines[:-1]) + "\n")


@pytest.mark.parametrize(
    ("change", "settings", "named"),
    [
        (other_audio, {}, "train: audio of the features: expected "),
        (other_manifest, {}, "train: audio of the features: expected "),
        (None, {"downstream_expert.data.crop_seconds": 0.4}, "expected crops of 0.4 s every 0.2 s, found crops of 0.5"),
        (None, {STEP: 0.5}, "every 0.5 s, found crops of 0.5 s every 0.25 s"),
        (
            None,
            {"downstream_expert.evaluation.dev_crop_seconds": 0.7},
            "expected the middle 0.7 s, found the middle 20",
        ),
        ("weights", {}, "weights of the features: expected [0-9a-f]{16}, found [0-9a-f]{16}"),
    ],
)
def test_what_has_changed_is_noticed(change, settings, named, small, own_corpus, own_cache, tmp_path, capsys):
    before, weights_file = listing(own_cache), small
    if change == "weights":
        weights_file = save_initial(tmp_path / "other.pt", seed=1)
    elif change:
        change(own_corpus)
    flags = ["-v", "datamap", "--cache-features", own_cache]
    assert train(weights_file, own_corpus, tmp_path / "other", *flags, **settings) == 1
    assert re.search(named, fault_of(capsys))
    assert listing(own_cache) == before


def test_a_run_with_crops_anywhere_does_not_go_on_with_a_cache(small, corpus, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3)
        assert train(small, corpus, tmp_path / "run", "-v", "baseline", **{"runner.save_step": 1}) == 130
    flags = ["-v", "baseline", "-a", "--cache-features", tmp_path / "cache"]
    assert train(small, corpus, tmp_path / "run", *flags) == 1
    assert "expected a run with crops on a grid" in fault_of(capsys)


def test_using_a_trained_run_keeps_features_only_when_asked_to(cached_run, small, tmp_path, counted):
    folder = shutil.copytree(cached_run[0], tmp_path / "run")
    before = listing(cached_run[1])
    assert run("-m", "evaluate", "-e", folder, "-p", tmp_path / "plain", "--device", "cpu") == 0
    assert counted == []
    flags = ["--cache-features", cached_run[1]]
    assert run("-m", "evaluate", "-e", folder, "-p", tmp_path / "cached", "--device", "cpu", *flags) == 0
    assert counted[0].computed == 0
    assert listing(cached_run[1]) == before
    recording = tmp_path / "a.wav"
    soundfile.write(recording, 0.1 * torch.randn(9000).numpy(), 16_000)
    assert run("-m", "inference", "-t", recording, "-e", folder, "--device", "cpu", *flags) == 0


@pytest.mark.parametrize("below", ["", "below"])
def test_a_cache_where_a_file_is_is_one_line(below, small, corpus, tmp_path, capsys):
    taken = tmp_path / "taken"
    taken.write_text("mine")
    assert train(small, corpus, tmp_path / "run", "--cache-features", taken / below) == 1
    assert f"expected a folder, found the file {taken}. Use another folder." in fault_of(capsys)
    assert taken.read_text() == "mine"


def test_a_cache_without_a_name_is_not_kept_in_the_working_directory(small, corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train(small, corpus, tmp_path / "run", "--cache-features", "") == 2
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("limit", ["0", "-1", "nan", "much"])
def test_a_limit_is_a_size(limit, small, corpus, tmp_path):
    assert train(small, corpus, tmp_path, "--cache-features", tmp_path / "cache", "--cache-limit", limit) == 2
