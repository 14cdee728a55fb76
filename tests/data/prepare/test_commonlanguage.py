"""CommonLanguage, on a small copy of what its archive unpacks to."""

import itertools
import logging
from pathlib import Path

import pytest
from helpers.layouts import contents, prepare, read_rows, values, write_lines, write_tone
from lid_mapmix.apps import cli
from lid_mapmix.utils.errors import UserError

LANGUAGES = ("Chinese_Taiwan", "Welsh")


@pytest.fixture
def unpacked(tmp_path) -> Path:
    root = tmp_path / "common_voice_kpd"
    for language, split, speaker, take in itertools.product(LANGUAGES, ("train", "dev", "test"), range(2), range(2)):
        name = f"{language[:3].lower()}_{split[:3]}_sp_{speaker}"
        write_tone(root / language / split / name / f"{name}_{take}.wav", 0.25 + take / 20, 48_000)
        write_lines(root / language / f"{split}.csv", [("", "client_id", "wav")], encoding="utf-16")
    return root


def test_the_publishers_splits_and_speakers(unpacked, tmp_path):
    assert cli.main(["prepare", "commonlanguage", str(unpacked), "--out", str(tmp_path / "data")]) == 0
    rows = read_rows(tmp_path / "data")
    for split, some in rows.items():
        assert len(some) == 8
        assert values(some, "class") == set(LANGUAGES)
        assert values(some, "seconds") == {"0.25", "0.3"}
        short = {f"{language}/{language[:3].lower()}_{split[:3]}_sp_" for language in LANGUAGES}
        assert {speaker[:-1] for speaker in values(some, "speaker")} == short
    assert rows["test"][0]["id"] == "Chinese_Taiwan/test/chi_tes_sp_0/chi_tes_sp_0_0"


def test_the_folder_around_it(unpacked, tmp_path):
    one = contents(prepare("commonlanguage", unpacked, tmp_path / "one", languages=["Welsh"]))
    assert one == contents(prepare("commonlanguage", unpacked.parent, tmp_path / "two", languages=["Welsh"]))


def test_a_speaker_of_two_splits_stays_in_the_later_one(unpacked, tmp_path, caplog):
    (unpacked / "Welsh/train/wel_tra_sp_0").rename(unpacked / "Welsh/train/wel_dev_sp_1")
    with caplog.at_level(logging.INFO):
        rows = read_rows(prepare("commonlanguage", unpacked, tmp_path / "data"))
    assert "dropped 2 of 24 utterances" in caplog.text
    assert len(rows["train"]) == 6


def test_other_layouts_say_what_was_found(unpacked, tmp_path):
    def refused(message: str, folder: Path = unpacked, **others) -> None:
        with pytest.raises(UserError, match=message) as raised:
            prepare("commonlanguage", folder, tmp_path / "data", **others)
        assert "\n" not in str(raised.value)

    refused(
        "expected folders of languages with train, dev, test, such as Welsh/, found dev.csv, dev/",
        unpacked / "Welsh",
    )
    refused("--languages Irish: expected one of Chinese_Taiwan, Welsh, found another", languages=["Irish"])
    (unpacked / "Welsh/dev/wel_dev_sp_0/empty.wav").write_bytes(b"")
    refused(r"empty\.wav: is empty")
    for path in unpacked.rglob("*.wav"):
        path.unlink()
    refused("expected .wav files in LANGUAGE/SPLIT/SPEAKER/, found none")
    assert not (tmp_path / "data").exists()
