"""Whole runs on data with bad audio that is to be skipped: names, stand-ins, data map, interruptions, processes."""

import csv
import shutil

import numpy as np
import pytest
import soundfile
from helpers.launching import (
    assert_same_files,
    assert_same_weights,
    interrupt_at,
    train,
)
from helpers.synthetic import make_corpus
from lid_mapmix.apps import cli
from lid_mapmix.mapmix.datamap_files import read_datamap

SKIP = {
    "downstream_expert.data.on_bad_audio": "skip",
    "downstream_expert.data.max_bad_fraction": 0.1,
    "downstream_expert.data.batch_size": 5,
    "runner.save_step": 2,
    "downstream_expert.datamap.regions": "quantile",
}
EMPTY, NAN = "audio/train/xaa-one-0.wav", "audio/train/ybb-two-3.wav"


def spoil(data):
    """Spoil one file so that its header says so, and one whose samples have to be read for it."""
    (data / EMPTY).write_bytes(b"")
    samples = np.zeros(16_000, dtype=np.float32)
    samples[::100] = np.nan
    soundfile.write(data / NAN, samples, 16_000, subtype="FLOAT")
    return data


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return spoil(make_corpus(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def mapped(data, tmp_path_factory):
    """Return a Map-Mix run, with its data map, that skips bad audio."""
    folder = tmp_path_factory.mktemp("mapped") / "run"
    assert train(data, folder, settings={**SKIP, "runner.report": True}) == 0
    return folder


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_skipped_is_counted_and_named(mapped):
    empty, nan = rows_of(mapped / "datamap" / "bad_audio.csv")
    assert (empty["id"], empty["class"], empty["epoch"]) == (EMPTY, "xaa-one", "")
    assert "is empty (0 bytes)" in empty["fault"]
    assert (nan["id"], nan["class"], nan["epoch"]) == (NAN, "ybb-two", "0")
    assert "NaN" in nan["fault"]
    # What is unread is in no region, and so is not even drawn where the map is used.
    assert rows_of(mapped / "bad_audio.csv") == [empty]
    lines = [line for line in (mapped / "datamap/log.log").read_text().splitlines() if "is skipped" in line]
    assert len(lines) == 2
    assert lines[0].startswith(f"headers: {EMPTY} is skipped (1 of 32): ")
    assert lines[1].startswith(f"epoch 0: {NAN} is skipped (2 of 32): ")


def test_the_map_has_all_epochs_and_no_measures_of_the_unread(mapped, data):
    found = read_datamap(mapped / "datamap/datamap.csv")
    unread = np.isin(found.ids, [EMPTY, NAN])
    assert len(found.ids) == 32
    assert set(found.regions[unread]) == {"unread"}
    assert "unread" not in found.regions[~unread]
    assert found.epochs.tolist() == [0 if is_unread else 2 for is_unread in unread]
    assert np.isnan(found.confidence[unread]).all()
    assert np.isfinite(found.confidence[~unread]).all()
    # A third of 30.
    assert np.sum(found.regions == "easy") == 10
    row = next(row for row in rows_of(mapped / "datamap/datamap.csv") if row["id"] == NAN)
    assert (row["confidence"], row["forgetfulness"], row["epochs"]) == ("", "", "0")


def test_the_report_draws_those_that_were_heard(mapped):
    heard = read_datamap(mapped / "datamap/datamap.csv").read_utterances()
    assert len(heard.ids) == 30
    assert np.isfinite(heard.correctness).all()
    page = (mapped / "report.html").read_text(encoding="utf-8")
    assert "; 30 utterances, " in page, "in the label of the data map"
    assert ">unread<" in page


def test_the_command_makes_the_same_map_again(mapped, tmp_path, capsys):
    folder = shutil.copytree(mapped / "datamap", tmp_path / "map")
    assert cli.main(["datamap", str(folder), "--suspects", "40"]) == 0
    assert_same_files(folder, mapped / "datamap", "datamap.csv", "class_similarity.csv")
    assert "unread" in capsys.readouterr().out
    assert len(rows_of(folder / "suspects.csv")) == 30


def test_an_interrupted_run_ends_like_one_that_was_not(data, mapped, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4)  # of the data map
        assert train(data, tmp_path / "run", settings=SKIP) == 130
    assert train(data, tmp_path / "run", "-a", settings=SKIP) == 0
    for part in ("", "datamap"):
        assert_same_weights(tmp_path / "run" / part, mapped / part)
        assert_same_files(tmp_path / "run" / part, mapped / part, "bad_audio.csv")
    assert_same_files(tmp_path / "run/datamap", mapped / "datamap", "datamap.csv", "class_similarity.csv")


def test_sound_data_is_trained_on_as_without_the_setting(corpus, tmp_path):
    for name, settings in (("skip", SKIP), ("error", SKIP | {"downstream_expert.data.on_bad_audio": "error"})):
        assert train(corpus, tmp_path / name, "-v", "latent_random", settings=settings) == 0
    assert_same_weights(tmp_path / "skip", tmp_path / "error")
    assert not (tmp_path / "skip" / "bad_audio.csv").exists()


def test_too_much_bad_audio_ends_the_run(data, tmp_path, capsys):
    again = {0.02: ("the audio of 1 of 32", ()), 0.05: ("the audio of 2 of 32", ("-a",))}
    for limit, (found, flags) in again.items():
        settings = SKIP | {"downstream_expert.data.max_bad_fraction": limit}
        for attempt in ((), flags):
            assert train(data, tmp_path / str(limit), "-v", "baseline", *attempt, settings=settings) == 1
            error = capsys.readouterr().err.splitlines()[-1]
            assert f"{found} utterances is bad, more than data.max_bad_fraction ({limit})" in error
            assert f"{EMPTY}: is empty" in error
        # Once more is allowed, nothing stands in the way.
        assert train(data, tmp_path / str(limit), "-v", "baseline", *flags, settings=SKIP) == 0
        assert len(rows_of(tmp_path / str(limit) / "bad_audio.csv")) == 2
    assert_same_weights(tmp_path / "0.02", tmp_path / "0.05")


def test_a_class_of_which_nothing_can_be_read(data, tmp_path, capsys):
    spoilt = shutil.copytree(data, tmp_path / "data")
    for path in spoilt.glob("audio/train/xaa-two-*.wav"):
        path.write_bytes(b"")
    settings = SKIP | {"downstream_expert.data.max_bad_fraction": 1.0}
    assert train(spoilt, tmp_path / "run", "-v", "baseline", settings=settings) == 1
    assert "expected readable audio for class xaa-two, found none. " in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("split", ["dev", "test"])
def test_bad_audio_in_what_is_scored_is_always_an_error(split, data, tmp_path, capsys):
    spoilt = shutil.copytree(data, tmp_path / "data")
    (spoilt / f"audio/{split}/xaa-one-0.wav").write_bytes(b"")
    assert train(spoilt, tmp_path / "run", "-v", "baseline", settings=SKIP) == 1
    assert f"{split}/xaa-one-0.wav: is empty (0 bytes)" in capsys.readouterr().err.splitlines()[-1]


def test_a_new_run_forgets_what_one_before_has_named(corpus, mapped, tmp_path):
    folder = shutil.copytree(mapped, tmp_path / "run")
    assert train(corpus, folder, "-v", "baseline", "--overwrite") == 0
    assert not (folder / "bad_audio.csv").exists()
