"""A folder of audio, and the divisions that all corpora share."""

import argparse
import itertools
import logging
import os
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from lid_mapmix.data.labels import read_labels
from lid_mapmix.data.manifest.manifest import read_manifest
from lid_mapmix.data.prepare import folder as folder_corpus
from lid_mapmix.data.prepare.steps.options import Options
from lid_mapmix.data.prepare.steps.splitting import split_units
from lid_mapmix.utils.errors import UserError

SPLITS = ("train", "dev", "test")
QUARTERS = Options(dev_share=0.25, test_share=0.25)


def write_audio(path: Path, seconds: float = 0.25, rate: int = 16_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.linspace(-0.5, 0.5, round(rate * seconds)), rate)


@pytest.fixture
def recordings(tmp_path) -> Path:
    root = tmp_path / "recordings"
    for name in ("ara-apc", "ara-arz", "zho-cmn"):
        for speaker, take in itertools.product(range(8), range(3)):
            write_audio(root / name / f"session{take}" / f"{name}{speaker}_take{take}.wav")
    return root


def read(folder: Path) -> dict[str, list[dict[str, str]]]:
    result = {}
    for split in SPLITS:
        manifest = read_manifest(folder / f"{split}.csv")
        columns = {name: list(map(str, values)) for name, values in manifest.columns.items()}
        result[split] = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return result


def test_all_formats_are_found_at_any_depth(tmp_path):
    root = tmp_path / "recordings"
    for name in ("one", "two"):
        write_audio(root / name / "a.wav", rate=8000)
        write_audio(root / name / "deep" / "er" / "b.flac", rate=44_100)
        write_audio(root / name / "c.OGG", rate=22_050)
        write_audio(root / name / "d.mp3", seconds=0.5)
        (root / name / "notes.txt").write_text("no audio")
        (root / name / "._a.wav").write_text("what macOS leaves behind")
    splits = read(folder_corpus.prepare(root, tmp_path / "data"))
    ids = sorted(row["id"] for rows in splits.values() for row in rows)
    assert ids == [
        f"{name}/{file}" for name in ("one", "two") for file in ("a.wav", "c.OGG", "d.mp3", "deep/er/b.flac")
    ]
    for rows in splits.values():
        for row in rows:
            assert float(row["seconds"]) == pytest.approx(0.5 if row["id"].endswith("mp3") else 0.25, abs=0.06)


def test_without_a_pattern_files_are_divided(recordings, tmp_path):
    splits = read(folder_corpus.prepare(recordings, tmp_path / "data", options=QUARTERS))
    for split, expected in zip(SPLITS, (12, 6, 6), strict=True):
        counts = defaultdict(int)
        for row in splits[split]:
            counts[row["class"]] += 1
        assert counts == {"ara-apc": expected, "ara-arz": expected, "zho-cmn": expected}
    labels = read_labels(tmp_path / "data" / "labels.yaml")
    assert labels.clusters == {"ara": ("ara-apc", "ara-arz"), "zho": ("zho-cmn",)}


@pytest.mark.parametrize("pattern", [r"(\d+)_take", r"(session\d)/[a-z-]+(?P<speaker>\d+)_"])
def test_speakers_are_in_one_split_only(recordings, tmp_path, pattern):
    splits = read(folder_corpus.prepare(recordings, tmp_path / "data", speaker_pattern=pattern, options=QUARTERS))
    speakers = {split: {row["speaker"] for row in rows} for split, rows in splits.items()}
    assert set.union(*speakers.values()) == set("01234567")
    for one, other in itertools.combinations(SPLITS, 2):
        assert not speakers[one] & speakers[other]
    for split, expected in zip(SPLITS, (12, 6, 6), strict=True):
        for name in ("ara-apc", "ara-arz", "zho-cmn"):
            assert sum(row["class"] == name for row in splits[split]) == expected


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (r"\d+_take", "has no group"),
        (r"(\d", "no regular expression"),
        (r"speaker-(\d+)", "in no file, not for example in ara-apc/session0/ara-apc0_take0.wav"),
        (r"([0-3])_take", "in 36 of 72 files"),
        (r"(session)", "has 1 speaker where"),
    ],
)
def test_patterns_that_find_no_speakers(recordings, tmp_path, pattern, message):
    with pytest.raises(UserError, match=message):
        folder_corpus.prepare(recordings, tmp_path / "data", speaker_pattern=pattern)
    assert not (tmp_path / "data").exists()


def test_a_class_with_one_speaker_is_named(recordings, tmp_path):
    for number in range(4):
        write_audio(recordings / "zho-yue" / f"zho-yue9_take{number}.wav")
    with pytest.raises(
        UserError, match="class zho-yue: has 1 speaker where train, dev and test need at least one each"
    ):
        folder_corpus.prepare(recordings, tmp_path / "data", speaker_pattern=r"(\d+)_take")


def test_folders_that_are_no_corpus(recordings, tmp_path):
    out = tmp_path / "data"
    with pytest.raises(UserError, match="no such folder"):
        folder_corpus.prepare(tmp_path / "nowhere", out)
    with pytest.raises(UserError, match="found no sub-folder"):
        folder_corpus.prepare(recordings / "ara-apc" / "session0", out)
    (recordings / "papers").mkdir()
    with pytest.raises(UserError, match="papers: found no audio"):
        folder_corpus.prepare(recordings, out)
    assert not out.exists()


def test_what_is_no_audio_by_its_name_is_said(recordings, tmp_path, caplog):
    for name in ("a.m4a", "b.m4a", "README", ".hidden"):
        (recordings / "ara-apc" / name).write_text("")
    with caplog.at_level(logging.INFO):
        folder_corpus.prepare(recordings, tmp_path / "data")
    assert "left out what is not named .wav .flac .ogg .opus .mp3 .sph: 2 .m4a, 1 without a suffix" in caplog.messages


def test_links_to_folders_are_followed(recordings, tmp_path):
    count = len(read_manifest(folder_corpus.prepare(recordings, tmp_path / "plain") / "train.csv"))
    shutil.move(recordings / "ara-arz", tmp_path / "elsewhere")
    (recordings / "ara-arz").mkdir()
    (recordings / "ara-arz/sessions").symlink_to(tmp_path / "elsewhere")
    assert len(read_manifest(folder_corpus.prepare(recordings, tmp_path / "linked") / "train.csv")) == count


def test_copies_do_not_become_a_class(recordings, tmp_path):
    with pytest.raises(UserError, match="would be taken for a class there"):
        folder_corpus.prepare(recordings, recordings, options=Options(copy_audio=True))
    rows = read(folder_corpus.prepare(recordings, tmp_path / "data", options=Options(copy_audio=True)))
    assert rows["train"][0]["audiopath"].startswith("audio/ara-apc/session")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_says_so(recordings, tmp_path):
    next((recordings / "ara-apc").rglob("*.wav")).chmod(0)
    with pytest.raises(UserError, match=r"cannot be read \(Permission denied\)"):
        folder_corpus.prepare(recordings, tmp_path / "data")


def test_splits_are_not_taken_for_classes(recordings, tmp_path):
    for name, split in (("ara-apc", "train"), ("ara-arz", "Test"), ("zho-cmn", "validation")):
        (recordings / name).rename(recordings / split)
    with pytest.raises(UserError, match=r"found splits: Test, train, validation\."):
        folder_corpus.prepare(recordings, tmp_path / "data")


@pytest.mark.parametrize("content", [b"", b"this is no audio"])
def test_a_broken_file_is_named(recordings, tmp_path, content):
    (recordings / "ara-arz" / "broken.wav").write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.wav"):
        folder_corpus.prepare(recordings, tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("dev_share", "test_share"), [(0, 0.1), (0.5, 0.5), (0.1, -0.1), (1.2, 0.1)])
def test_impossible_shares(recordings, tmp_path, dev_share, test_share):
    with pytest.raises(UserError, match="--dev-share"):
        folder_corpus.prepare(recordings, tmp_path / "data", options=Options(dev_share, test_share))


def test_manifests_of_others_are_not_replaced_unless_asked(recordings, tmp_path):
    out = tmp_path / "data"
    out.mkdir()
    (out / "train.csv").write_text("mine")
    with pytest.raises(UserError, match=r"already holds train\.csv"):
        folder_corpus.prepare(recordings, out)
    assert (out / "train.csv").read_text() == "mine"
    folder_corpus.prepare(recordings, out, options=Options(overwrite=True))
    assert len(read_manifest(out / "train.csv")) > 0


def test_a_failure_with_overwrite_damages_nothing(recordings, tmp_path):
    out = folder_corpus.prepare(recordings, tmp_path / "data")
    before = (out / "train.csv").read_bytes()
    (recordings / "ara-arz" / "broken.wav").write_bytes(b"no audio")
    with pytest.raises(UserError):
        folder_corpus.prepare(recordings, out, options=Options(overwrite=True))
    assert (out / "train.csv").read_bytes() == before


def test_an_interrupted_run_continues(recordings, tmp_path):
    out = folder_corpus.prepare(recordings, tmp_path / "data")
    before = (out / "train.csv").read_bytes()
    (out / "train.csv").unlink()
    folder_corpus.prepare(recordings, out)
    assert (out / "train.csv").read_bytes() == before


def test_the_manifests_may_lie_within_the_audio_folder(recordings):
    out = folder_corpus.prepare(recordings, recordings / "manifests")
    before = (out / "train.csv").stat().st_mtime_ns
    folder_corpus.prepare(recordings, recordings / "manifests")
    assert (out / "train.csv").stat().st_mtime_ns == before


def test_a_folder_that_cannot_be_made(recordings, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write there"):
        folder_corpus.prepare(recordings, tmp_path / "file" / "data")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_write_permission(recordings, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(UserError, match="cannot write there"):
        folder_corpus.prepare(recordings, tmp_path / "locked" / "data")


def test_the_command_line_reaches_prepare(recordings, tmp_path):
    parser = argparse.ArgumentParser()
    folder_corpus.add_arguments(parser)
    out = tmp_path / "data"
    arguments = parser.parse_args([str(recordings), str(out), "--speaker-pattern", r"(\d+)_take", "--seed", "5"])
    assert folder_corpus.run(arguments) == out
    assert "speaker" in read(out)["dev"][0]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.floats(0.5, 60), min_size=3, max_size=30), min_size=1, max_size=5),
    st.floats(0.05, 0.45),
    st.floats(0.05, 0.45),
    st.integers(0, 5),
)
def test_no_split_of_a_class_is_ever_empty(durations, dev_share, test_share, seed):
    classes = np.repeat([f"class{number}" for number in range(len(durations))], list(map(len, durations)))
    units = np.array([f"unit{number}" for number in range(len(classes))])
    splits = split_units(
        units, classes, np.concatenate(durations), dev_share=dev_share, test_share=test_share, seed=seed, unit_name="u"
    )
    for name in set(classes):
        assert set(splits[classes == name]) == set(SPLITS)


def test_speakers_of_several_classes_stay_whole():
    generator = np.random.default_rng(0)
    classes = np.repeat(["a", "b", "c"], 300)
    units = np.array([f"speaker{number}" for number in generator.integers(0, 40, 900)])
    splits = split_units(units, classes, np.ones(900), dev_share=0.2, test_share=0.2, seed=0, unit_name="speaker")
    for unit in set(units):
        assert len(set(splits[units == unit])) == 1
    for name in "abc":
        for split, share in zip(SPLITS, (0.6, 0.2, 0.2), strict=True):
            assert np.mean(splits[classes == name] == split) == pytest.approx(share, abs=0.05)


def divide(speakers_of: dict[str, str]) -> dict[str, str]:
    classes = np.array([name for name, speakers in speakers_of.items() for _ in speakers])
    units = np.array([speaker for speakers in speakers_of.values() for speaker in speakers])
    seconds = np.arange(1.0, 1 + len(units))
    splits = split_units(units, classes, seconds, unit_name="speaker", dev_share=0.3, test_share=0.3, seed=0)
    return dict(zip(map(str, units), map(str, splits), strict=True))


def test_two_classes_with_the_same_three_speakers_can_be_divided():
    assert sorted(divide({"a": "123", "b": "321"}).values()) == sorted(SPLITS)


def test_speakers_that_cannot_be_divided():
    with pytest.raises(UserError, match="class b: has 2 speakers where"):
        divide({"a": "123", "b": "12"})
    # Any two of four speakers meet in some class of three: all four would need a split of their own.
    with pytest.raises(UserError, match="shares speakers with other classes"):
        divide({"a": "123", "b": "124", "c": "134", "d": "234"})
