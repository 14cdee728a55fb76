"""A folder of audio, one sub-folder a class."""

import itertools
import logging
import os
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.layouts import prepare
from lid_mapmix.data.labels import read_labels
from lid_mapmix.data.manifest.manifest import read_manifest
from lid_mapmix.utils.errors import UserError

SPLITS = ("train", "dev", "test")
QUARTERS = {"dev_fraction": 0.25, "test_fraction": 0.25}


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
    splits = read(prepare("folder", root, tmp_path / "data"))
    ids = sorted(row["id"] for rows in splits.values() for row in rows)
    assert ids == [
        f"{name}/{file}" for name in ("one", "two") for file in ("a.wav", "c.OGG", "d.mp3", "deep/er/b.flac")
    ]
    for rows in splits.values():
        for row in rows:
            assert float(row["seconds"]) == pytest.approx(0.5 if row["id"].endswith("mp3") else 0.25, abs=0.06)


def test_without_a_pattern_files_are_divided(recordings, tmp_path):
    splits = read(prepare("folder", recordings, tmp_path / "data", **QUARTERS))
    for split, expected in zip(SPLITS, (12, 6, 6), strict=True):
        counts = defaultdict(int)
        for row in splits[split]:
            counts[row["class"]] += 1
        assert counts == {"ara-apc": expected, "ara-arz": expected, "zho-cmn": expected}
    labels = read_labels(tmp_path / "data" / "labels.yaml")
    assert labels.clusters == {"ara": ("ara-apc", "ara-arz"), "zho": ("zho-cmn",)}


@pytest.mark.parametrize("pattern", [r"(\d+)_take", r"(session\d)/[a-z-]+(?P<speaker>\d+)_"])
def test_speakers_are_in_one_split_only(recordings, tmp_path, pattern):
    splits = read(prepare("folder", recordings, tmp_path / "data", speaker_pattern=pattern, **QUARTERS))
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
        (r"\d+_take", "expected a group, found none"),
        (r"(\d", "expected a regular expression, found an invalid one"),
        (r"speaker-(\d+)", "in no file, not for example in ara-apc/session0/ara-apc0_take0.wav"),
        (r"([0-3])_take", "in 36 of 72 files"),
        (r"(session)", "expected at least 3 speakers, .*, found 1 speaker"),
    ],
)
def test_patterns_that_find_no_speakers(recordings, tmp_path, pattern, message):
    with pytest.raises(UserError, match=message):
        prepare("folder", recordings, tmp_path / "data", speaker_pattern=pattern)
    assert not (tmp_path / "data").exists()


def test_a_class_with_one_speaker_is_named(recordings, tmp_path):
    for number in range(4):
        write_audio(recordings / "zho-yue" / f"zho-yue9_take{number}.wav")
    with pytest.raises(
        UserError,
        match=r"class zho-yue: expected at least 3 speakers, .*found 1 speaker.*--split-by file",
    ):
        prepare("folder", recordings, tmp_path / "data", speaker_pattern=r"(\d+)_take")


def test_by_file_a_class_may_have_one_speaker_and_what_that_costs_is_said(recordings, tmp_path, caplog):
    for number in range(4):
        write_audio(recordings / "zho-yue" / f"zho-yue9_take{number}.wav")
    out = prepare("folder", recordings, tmp_path / "data", speaker_pattern=r"(\d+)_take", split_by="file")
    assert "scores do not measure unseen speakers" in caplog.text
    rows = read(out)
    for split in SPLITS:
        assert {row["class"] for row in rows[split]} == {"ara-apc", "ara-arz", "zho-cmn", "zho-yue"}
    assert {row["speaker"] for row in rows["test"] if row["class"] == "zho-yue"} == {"9"}


def test_folders_that_are_no_corpus(recordings, tmp_path):
    out = tmp_path / "data"
    with pytest.raises(UserError, match="no such folder"):
        prepare("folder", tmp_path / "nowhere", out)
    with pytest.raises(UserError, match="expected one sub-folder per class, at least two of them, found none"):
        prepare("folder", recordings / "ara-apc" / "session0", out)
    (recordings / "papers").mkdir()
    with pytest.raises(UserError, match=r"papers: expected audio \(.*\), found none"):
        prepare("folder", recordings, out)
    assert not out.exists()


def test_what_is_no_audio_by_its_name_is_said(recordings, tmp_path, caplog):
    for name in ("a.m4a", "b.m4a", "README", ".hidden"):
        (recordings / "ara-apc" / name).write_text("")
    with caplog.at_level(logging.INFO):
        prepare("folder", recordings, tmp_path / "data")
    counts = "left out: 2 .m4a, 1 without an extension"
    assert f"{counts}; convert audio to wav first: ffmpeg -i FILE.m4a FILE.wav" in caplog.messages


def test_links_to_folders_are_followed(recordings, tmp_path):
    count = len(read_manifest(prepare("folder", recordings, tmp_path / "plain") / "train.csv"))
    shutil.move(recordings / "ara-arz", tmp_path / "elsewhere")
    (recordings / "ara-arz").mkdir()
    (recordings / "ara-arz/sessions").symlink_to(tmp_path / "elsewhere")
    assert len(read_manifest(prepare("folder", recordings, tmp_path / "linked") / "train.csv")) == count


def test_copies_do_not_become_a_class(recordings, tmp_path):
    with pytest.raises(UserError, match="would be read as a class there"):
        prepare("folder", recordings, recordings, copy_audio=True)
    rows = read(prepare("folder", recordings, tmp_path / "data", copy_audio=True))
    assert rows["train"][0]["audiopath"].startswith("audio/ara-apc/session")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_says_so(recordings, tmp_path):
    next((recordings / "ara-apc").rglob("*.wav")).chmod(0)
    with pytest.raises(UserError, match=r"cannot be read \(Permission denied\)"):
        prepare("folder", recordings, tmp_path / "data")


def test_splits_are_not_taken_for_classes(recordings, tmp_path):
    for name, split in (("ara-apc", "train"), ("ara-arz", "Test"), ("zho-cmn", "validation")):
        (recordings / name).rename(recordings / split)
    with pytest.raises(UserError, match=r"found splits: Test, train, validation\."):
        prepare("folder", recordings, tmp_path / "data")


@pytest.mark.parametrize("content", [b"", b"this is no audio"])
def test_a_broken_file_is_named(recordings, tmp_path, content):
    (recordings / "ara-arz" / "broken.wav").write_bytes(content)
    with pytest.raises(UserError, match=r"broken\.wav"):
        prepare("folder", recordings, tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("dev_fraction", "test_fraction"), [(0, 0.1), (0.5, 0.5), (0.1, -0.1), (1.2, 0.1)])
def test_impossible_fractions(recordings, tmp_path, dev_fraction, test_fraction):
    with pytest.raises(UserError, match="--dev-fraction"):
        prepare("folder", recordings, tmp_path / "data", dev_fraction=dev_fraction, test_fraction=test_fraction)


def test_manifests_of_others_are_not_replaced_unless_asked(recordings, tmp_path):
    out = tmp_path / "data"
    out.mkdir()
    (out / "train.csv").write_text("mine")
    with pytest.raises(UserError, match=r"already holds train\.csv"):
        prepare("folder", recordings, out)
    assert (out / "train.csv").read_text() == "mine"
    prepare("folder", recordings, out, overwrite=True)
    assert len(read_manifest(out / "train.csv")) > 0


def test_a_failure_with_overwrite_damages_nothing(recordings, tmp_path):
    out = prepare("folder", recordings, tmp_path / "data")
    before = (out / "train.csv").read_bytes()
    (recordings / "ara-arz" / "broken.wav").write_bytes(b"no audio")
    with pytest.raises(UserError):
        prepare("folder", recordings, out, overwrite=True)
    assert (out / "train.csv").read_bytes() == before


def test_an_interrupted_run_continues(recordings, tmp_path):
    out = prepare("folder", recordings, tmp_path / "data")
    before = (out / "train.csv").read_bytes()
    (out / "train.csv").unlink()
    prepare("folder", recordings, out)
    assert (out / "train.csv").read_bytes() == before


def test_a_folder_of_version_0_1_0_is_recognised(recordings, tmp_path):
    out = prepare("folder", recordings, tmp_path / "data")
    text = (out / "prepared.json").read_text()
    for old, new in (("dev_share", "dev_fraction"), ("test_share", "test_fraction"), ("fingerprint", "digest")):
        assert f'"{new}"' in text
        text = text.replace(f'"{new}"', f'"{old}"')
    (out / "prepared.json").write_text(text)
    before = (out / "train.csv").stat().st_mtime_ns
    prepare("folder", recordings, out)
    assert (out / "train.csv").stat().st_mtime_ns == before


def test_the_manifests_may_lie_within_the_audio_folder(recordings):
    out = prepare("folder", recordings, recordings / "manifests")
    before = (out / "train.csv").stat().st_mtime_ns
    prepare("folder", recordings, recordings / "manifests")
    assert (out / "train.csv").stat().st_mtime_ns == before


def test_a_folder_that_cannot_be_made(recordings, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        prepare("folder", recordings, tmp_path / "file" / "data")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_write_permission(recordings, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(UserError, match="cannot be written"):
        prepare("folder", recordings, tmp_path / "locked" / "data")


def test_the_command_line_reaches_prepare(recordings, tmp_path):
    out = tmp_path / "data"
    assert prepare("folder", recordings, out, speaker_pattern=r"(\d+)_take", seed=5) == out
    assert "speaker" in read(out)["dev"][0]
