"""NIST's evaluations, on small copies of the layouts of LRE 2005, 2009 and 2022."""

import itertools
import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.layouts import prepare, read_rows, values, write_lines, write_tone
from lid_mapmix.apps import cli
from lid_mapmix.data.labels import read_labels
from lid_mapmix.utils.errors import UserError

LANGUAGES = ("ara-aeb", "ara-arq", "zul-zul")
RATE = 8_000


def write_sph(path: Path, samples: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, RATE, format="NIST", subtype="PCM_16")
    return path


@pytest.fixture
def release(tmp_path) -> Path:
    """Write six recordings per language, and of each a shorter part; ids have no extension, as in LRE 2022."""
    root, generator = tmp_path / "LRE22", np.random.default_rng(0)
    lines = [("file_name", "language_code", "duration_sec")]
    for language, number in itertools.product(LANGUAGES, range(6)):
        samples = generator.uniform(-0.5, 0.5, RATE)
        for part, audio in (("whole", samples), ("part", samples[RATE // 4 : RATE // 2])):
            lines.append((f"lre22_dev_{language}_{number}_{part}", language, "1"))
            write_sph(root / "data/dev" / f"{lines[-1][0]}.sph", audio)
    write_lines(root / "metadata/lre22_dev_metadata.tsv", lines)
    lines = [("segmentid", "language_code", "data_source", "speech_duration")]
    for language, source in itertools.product(LANGUAGES, ("CTS", "BNBS")):
        lines.append((f"lre22_eval_{language}_{source}", language, source, "3"))
        write_sph(root / "data/eval" / f"{lines[-1][0]}.sph", generator.uniform(-0.5, 0.5, RATE * 3))
    write_lines(root / "keys/eval.tsv", lines)
    return root


def test_a_key_without_dev_is_divided_and_cuts_stay_with_their_recording(release, tmp_path, caplog):
    keys = {"key": release / "metadata/lre22_dev_metadata.tsv", "test_key": release / "keys/eval.tsv"}
    with caplog.at_level(logging.INFO):
        rows = read_rows(prepare("nist", release, tmp_path / "data", **keys))
    assert "18 of 42 cut segments are part of a longer one and get its group" in caplog.text
    for split in ("train", "dev"):
        assert values(rows[split], "class") == set(LANGUAGES)
        assert {row["group"] for row in rows[split]} == {row["id"].replace("part", "whole") for row in rows[split]}
    assert len(rows["train"]) + len(rows["dev"]) == 36
    assert {row["id"]: (row["seconds"], row["source"]) for row in rows["test"]} == {
        f"test/lre22_eval_{language}_{source}": ("3.0", source.lower())
        for language, source in itertools.product(LANGUAGES, ("CTS", "BNBS"))
    }
    assert read_labels(tmp_path / "data/labels.yaml").clusters == {"ara": LANGUAGES[:2], "zul": LANGUAGES[2:]}


def test_the_splits_of_the_keys(release, tmp_path):
    """Keys with commas, names with extensions, and audio beside the release."""
    for split in ("train", "dev"):
        lines = [("segmentid", "language")]
        for language, side in itertools.product(LANGUAGES, "ab"):
            lines.append((f"call_{split}_{language}-{side}.wav", language))
            write_tone(tmp_path / "audio" / split / lines[-1][0], 0.5)
        write_lines(release / f"{split}.csv", lines, between=",")
    keys = {"key": release / "train.csv", "dev_key": release / "dev.csv", "test_key": release / "keys/eval.tsv"}
    rows = read_rows(prepare("nist", tmp_path, tmp_path / "data", no_cut_search=True, **keys))
    assert {split: len(members) for split, members in rows.items()} == {"train": 6, "dev": 6, "test": 6}
    assert values(rows["train"], "group") == {f"call_train_{language}" for language in LANGUAGES}
    assert values(rows["dev"], "group") == values(rows["dev"], "id")
    assert values(rows["dev"], "seconds") == {"0.5"}
    with pytest.raises(UserError, match=r"call_train_[\w-]+-a.wav: expected one row in all keys, found 2"):
        prepare("nist", tmp_path, tmp_path / "twice", no_cut_search=True, **{**keys, "dev_key": keys["key"]})


@pytest.mark.parametrize("between", [" ", ","])
def test_keys_without_a_header(tmp_path, between):
    """2005 has blanks and dialects, 2009 commas; fields that --columns does not name are ignored."""
    lines = [("# segment", "language", "dialect", "conversation")]
    for dialect, number in itertools.product(("AMERICAN", "INDIAN", "NA"), range(4)):
        name = f"lid{number}{dialect}"
        language = "TAMIL" if dialect == "NA" else "ENGLISH"
        lines.append((name, language, "x", dialect, *(["more"] * (number % 2))))
        write_tone(tmp_path / "lre/test/30" / f"{name}.wav", 0.5 + number / 10)
    key = write_lines(tmp_path / "key.txt", lines, between=between)
    flags = {"key": key, "no_cut_search": True}
    columns = ["segmentid", "language_code", "-", "dialect"]
    rows = read_rows(prepare("nist", tmp_path / "lre", tmp_path / "data", columns=columns, **flags))
    assert all(values(rows[split], "class") == {"ENGLISH-AMERICAN", "ENGLISH-INDIAN", "TAMIL"} for split in rows)
    rows = read_rows(prepare("nist", tmp_path / "lre", tmp_path / "two", columns=columns[:2], **flags))
    assert values(rows["train"], "class") == {"ENGLISH", "TAMIL"}


def test_other_keys_say_what_was_found(release, tmp_path, capsys):
    key = release / "metadata/lre22_dev_metadata.tsv"

    def refused(message: str, folder: Path = release, key: Path = key, **others) -> None:
        with pytest.raises(UserError, match=message) as raised:
            prepare("nist", folder, tmp_path / "data", key=key, **others)
        assert "\n" not in str(raised.value)

    refused("no such folder", tmp_path / "nowhere")
    refused("gone.tsv: no such table", key=tmp_path / "gone.tsv")
    refused(
        "lre22_dev_metadata.tsv: expected the fields segmentid, segmentid and language_code among",
        columns=["segmentid"],
    )
    columns = ["segmentid", "-", "-", "language_code"]
    refused("expected the fields segmentid, -, -, language_code, .*, found file_name language_code", columns=columns)
    other = write_lines(tmp_path / "other.tsv", [("segment", "class"), ("a", "b")])
    refused("other.tsv: expected the column segmentid, language_code, found segment, class", key=other)
    other = write_lines(tmp_path / "other.tsv", [("segmentid", "language", "speech_duration"), ("a", "b", "long")])
    refused("expected numbers in speech_duration", key=other)
    # Audio is searched by name, below the folder only.
    write_tone(tmp_path / "outside.wav")
    other = write_lines(tmp_path / "other.tsv", [("segmentid", "language"), ("../outside.wav", "b")])
    refused(r"expected the listed audio, found .*LRE22/outside.wav missing \(1 such\)", key=other)
    write_sph(release / "copy/lre22_dev_zul-zul_0_whole.sph", np.zeros(RATE))
    refused("expected one file for lre22_dev_zul-zul_0_whole, found .*copy/lre22.* and .*data/dev/lre22.*")
    assert not (tmp_path / "data").exists()
    with pytest.raises(SystemExit):
        cli.main(
            ["prepare", "nist", str(release), "--out", str(tmp_path / "data"), "--key", str(key), "--columns", "id"]
        )
    assert "invalid choice: 'id'" in capsys.readouterr().err
