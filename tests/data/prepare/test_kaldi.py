"""Kaldi data directories."""

import itertools
import logging
from pathlib import Path

import pytest
from helpers.layouts import contents, prepare, read_rows, values, write_lines, write_tone
from lid_mapmix.apps import cli
from lid_mapmix.utils.errors import UserError

CLASSES = ("ara-apc", "ara-arz")


def write_directory(folder: Path, root: Path, *, speakers: int = 6, prefix: str = "") -> Path:
    """Write a data directory with segments: two utterances a recording, one recording a speaker and class."""
    wavs, segments, languages, speakers_of = [], [], [], []
    for name, number in itertools.product(CLASSES, range(speakers)):
        recording = f"{prefix}{name}-{number}"
        path = write_tone(root / "wav" / f"{recording}.wav", 0.8)
        wavs.append((recording, path.relative_to(root)))
        for take, times in enumerate(((0.1, 0.4), (0.4, -1))):
            segments.append((f"{recording}-{take}", recording, *times))
            languages.append((f"{recording}-{take}", name))
            speakers_of.append((f"{recording}-{take}", f"{prefix}{number}"))
    tables = {"wav.scp": wavs, "segments": segments, "utt2lang": languages, "utt2spk": speakers_of}
    for name, lines in tables.items():
        write_lines(folder / name, lines, between=" ")
    return folder


@pytest.fixture
def directory(tmp_path) -> Path:
    return write_directory(tmp_path / "egs/data/all", tmp_path / "egs")


def test_a_directory_is_divided_by_speakers(directory, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "egs")
    command = [
        "prepare",
        "kaldi",
        "data/all",
        "--out",
        str(tmp_path / "one"),
        "--dev-fraction",
        "0.3",
        "--test-fraction",
        "0.3",
    ]
    assert cli.main(command) == 0
    rows = read_rows(tmp_path / "one")
    assert len(list(itertools.chain(*rows.values()))) == 24
    for some in rows.values():
        assert values(some, "class") == set(CLASSES)
    row = next(row for row in itertools.chain(*rows.values()) if row["id"] == "ara-apc-3-1")
    assert (row["start"], row["end"], row["speaker"], row["group"]) == ("0.4", "nan", "3", "ara-apc-3")
    # To the end of a recording of 0.8 s, from its header.
    assert float(row["seconds"]) == pytest.approx(0.4)
    command[4:5] = [str(tmp_path / "two"), "--root", "."]
    assert cli.main(command) == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert cli.main([*command, "--seed", "1"]) == 1
    assert cli.main([*command, "--seed", "1", "--overwrite"]) == 0
    assert contents(tmp_path / "one") != contents(tmp_path / "two")


def test_directories_of_splits_and_durations(tmp_path):
    root = tmp_path / "egs"
    for split in ("train", "dev"):
        folder = write_directory(root / "data" / split, root, prefix=split)
        (folder / "segments").unlink()
        recordings = [line.split()[0] for line in (folder / "wav.scp").read_text().splitlines()]
        write_lines(folder / "utt2lang", [(name, name.removeprefix(split)[:7]) for name in recordings], between=" ")
        (folder / "utt2spk").unlink()
    write_lines(root / "data/train/reco2dur", [(f"train{name}-0", 0.79) for name in CLASSES], between=" ")
    write_lines(root / "data/dev/utt2dur", [(f"dev{name}-0", 0.75) for name in CLASSES], between=" ")
    rows = read_rows(prepare("kaldi", root / "data", tmp_path / "data", root=root))
    assert {split: len(some) for split, some in rows.items()} == {"train": 12, "dev": 12}
    assert values(rows["train"], "seconds") == {"0.79", "0.8"}
    assert values(rows["dev"], "seconds") == {"0.75", "0.8"}


def test_only_train_is_divided_where_there_is_no_dev(tmp_path):
    root = tmp_path / "egs"
    for split in ("train", "test"):
        write_directory(root / "data" / split, root, prefix=split)
    rows = read_rows(prepare("kaldi", root / "data", tmp_path / "data", root=root))
    assert all(group.startswith("train") for split in ("train", "dev") for group in values(rows[split], "group"))
    assert len(rows["test"]) == 24
    assert len(rows["train"]) + len(rows["dev"]) == 24


def test_speakers_that_are_languages_are_left_out(directory, tmp_path, caplog):
    (directory / "utt2spk").write_text((directory / "utt2lang").read_text())
    with caplog.at_level(logging.INFO):
        rows = read_rows(prepare("kaldi", directory, tmp_path / "data", root=tmp_path / "egs"))
    assert "the speakers are the languages" in caplog.text
    assert "speaker" not in rows["train"][0]


def test_segments_that_end_up_to_half_a_second_after_the_file_are_shortened_as_kaldi_does(directory, tmp_path, caplog):
    """Once "ready", and then refused by training and dropped by check --fix."""
    segments = (directory / "segments").read_text()
    # Recordings have 0.8 s.
    late = segments.replace(" 0.4 -1", " 0.4 1.3")
    (directory / "segments").write_text(late)
    root = tmp_path / "egs"
    with caplog.at_level(logging.INFO):
        folder = prepare("kaldi", directory, tmp_path / "data", root=root)
    assert "shortened 12 of 24 utterances, which end up to 0.5 s after their audio" in caplog.text
    rows = {row["id"]: row for row in itertools.chain(*read_rows(folder).values())}
    assert {(row["end"], row["seconds"]) for name, row in rows.items() if name.endswith("-1")} == {("0.8", "0.4")}
    assert cli.main(["check", str(folder)]) == 0
    # Later than that, and after the end, is bad audio.
    for times in ("0.4 1.31", "0.79 0.9", "2.0 -1"):
        (directory / "segments").write_text(late.replace("ara-apc-0 0.4 1.3", f"ara-apc-0 {times}"))
        with pytest.raises(UserError, match=r"ara-apc-0.wav: expected .*\(1 such; --skip-bad-audio drops"):
            prepare("kaldi", directory, tmp_path / "other", root=root, overwrite=True)
        rows = read_rows(
            prepare("kaldi", directory, tmp_path / "other", root=root, skip_bad_audio=True, overwrite=True)
        )
        assert values(itertools.chain(*rows.values()), "id") == {
            line.split()[0] for line in segments.splitlines() if not line.startswith("ara-apc-0-1 ")
        }


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (
            "wav.scp",
            "wav/ara-apc-0.wav",
            "sph2pipe -f wav a.sph |",
            r"expected an audio file for ara-apc-0, found a command \(sph2pipe -f wav a.sph \|\)",
        ),
        ("wav.scp", "wav/ara-apc-0.wav", "feats.ark:1234", "found a part of an archive"),
        ("wav.scp", "wav/ara-apc-0.wav", "-", "found standard input"),
        ("wav.scp", "wav/ara-apc-0.wav", "gone.wav", r"expected the listed audio, found .*gone.wav missing \(2 such\)"),
        ("wav.scp", "ara-apc-1 ", "ara-apc-0 ", "wav.scp: expected unique names, found ara-apc-0 again in line 2"),
        (
            "segments",
            "ara-apc-0 0.1 0.4",
            "ara-apc-0 0.1",
            "expected a recording, a start and an end in seconds for ara-apc-0-0, found 'ara-apc-0 0.1'",
        ),
        (
            "segments",
            "ara-apc-0 0.1",
            "ara-apc-9 0.1",
            "expected a recording of wav.scp for ara-apc-0-0, found ara-apc-9",
        ),
        (
            "utt2lang",
            "ara-apc-0-0 ara-apc\n",
            "",
            r"utt2lang: expected a language for ara-apc-0-0, found none \(1 such\)",
        ),
        (
            "utt2lang",
            "ara-apc-0-0 ara-apc\n",
            "ara-apc-0-0\n",
            "expected a value for ara-apc-0-0 in line 1, found none",
        ),
        ("segments", "ara-apc-0-0 ara-apc-0 0.1 0.4\n", "", "utt2lang: expected audio for ara-apc-0-0, found none"),
        ("segments", "ara-apc-0 0.1 0.4", "ara-apc-0 0.4 0.4", "ara-apc-0-0 has no duration above 0"),
    ],
)
def test_faults_of_a_directory_are_named(directory, tmp_path, name, old, new, message):
    text = (directory / name).read_text()
    assert old in text
    (directory / name).write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=message) as raised:
        prepare("kaldi", directory, tmp_path / "data", root=tmp_path / "egs")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "data").exists()


def test_folders_that_are_no_kaldi_directory(directory, tmp_path):
    with pytest.raises(UserError, match=r"expected wav.scp in it or in its train/, found all/"):
        prepare("kaldi", directory.parent, tmp_path / "data")
    (directory / "utt2lang").unlink()
    with pytest.raises(UserError, match=r"utt2lang: no such file; .*all has segments, utt2spk, wav.scp"):
        prepare("kaldi", directory, tmp_path / "data", root=tmp_path / "egs")


def test_texts_in_another_encoding(directory, tmp_path):
    (directory / "utt2lang").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="utt2lang: expected text in UTF-8"):
        prepare("kaldi", directory, tmp_path / "other")
