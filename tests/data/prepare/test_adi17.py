"""ADI17, on a small copy of the layout that Hyperion's recipe reads."""

import itertools
import logging
from pathlib import Path

import pytest
from helpers.layouts import prepare, read_rows, values, write_lines, write_tone
from lid_mapmix.data.labels import read_labels
from lid_mapmix.utils.errors import UserError

COUNTRIES = ("ALG", "EGY", "UAE")


@pytest.fixture
def release(tmp_path) -> Path:
    root = tmp_path / "ADI17"
    for country, number in itertools.product(COUNTRIES, range(2)):
        write_tone(root / "train_segments" / country / f"{country}_x-{number}_000027-000077.wav", 0.5)
    for split, header, names in (("dev", [], COUNTRIES), ("test", [("id", "label")], ("DZA", "EGY", "ARE"))):
        lines = list(header)
        for country, number in itertools.product(names, range(2)):
            lines.append((f"{split}{country}_00{number}000-00{number}052", country))
            write_tone(root / f"{split}_segments" / f"{lines[-1][0]}.wav", 0.52)
        write_lines(root / f"adi17_official_{split}_label.txt", lines, between=" ")
    return root


def test_the_publishers_splits(release, tmp_path):
    rows = read_rows(prepare("adi17", release, tmp_path / "data"))
    for split, seconds in (("train", "0.5"), ("dev", "0.52"), ("test", "0.52")):
        assert len(rows[split]) == 6
        # Codes of the publisher, and those of ISO 3166 that some copies have.
        assert values(rows[split], "class") == {"ara-ARE", "ara-DZA", "ara-EGY"}
        assert values(rows[split], "seconds") == {seconds}
    assert values(rows["train"], "group") >= {"ALG_x-0", "UAE_x-1"}
    assert values(rows["dev"], "group") == {f"dev{country}" for country in COUNTRIES}
    assert rows["test"][0]["id"] == "test/testDZA_000000-000052"
    assert read_labels(tmp_path / "data/labels.yaml").clusters == {"ara": ("ara-ARE", "ara-DZA", "ara-EGY")}


def test_a_video_of_dev_is_not_in_train(release, tmp_path, caplog):
    write_tone(release / "train_segments/EGY/devEGY_000100-000150.wav", 0.5)
    with caplog.at_level(logging.INFO):
        rows = read_rows(prepare("adi17", release, tmp_path / "data"))
    assert "dropped 1 of 19 utterances whose speaker or recording is also in another split" in caplog.text
    assert len(rows["train"]) == 6


def test_a_name_without_times(release, tmp_path):
    write_tone(release / "train_segments/EGY/named.wav", 0.25)
    rows = read_rows(prepare("adi17", release, tmp_path / "data"))
    assert [(row["seconds"], row["group"]) for row in rows["train"] if "named" in row["id"]] == [("0.25", "named")]


def test_other_layouts_say_what_was_found(release, tmp_path):
    def refused(message: str, folder: Path = release) -> None:
        with pytest.raises(UserError, match=message) as raised:
            prepare("adi17", folder, tmp_path / "data")
        assert "\n" not in str(raised.value)

    refused("train_segments: no such folder", tmp_path)
    labels = release / "adi17_official_dev_label.txt"
    labels.write_text(labels.read_text() + "../../outside EGY\n")
    refused(r"expected the listed audio, found .*dev_segments/outside.wav missing \(1 such\)")
    labels.write_text("devEGY_000000-000052\n")
    refused("dev_label.txt: expected a value for devEGY_000000-000052 in line 1, found none")
    labels.unlink()
    refused("adi17_official_dev_label.txt: no such file; .*ADI17 has adi17_official_test_label.txt, dev_segments/")
    assert not (tmp_path / "data").exists()
