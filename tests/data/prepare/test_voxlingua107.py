"""VoxLingua107, on a small copy of what its zips unpack to."""

import itertools
import logging
import shutil
from pathlib import Path

import pytest
from helpers.layouts import contents, prepare, read_rows, values, write_tone
from lid_mapmix.apps import cli
from lid_mapmix.utils.errors import UserError

SHARES = {"dev_fraction": 0.2, "test_fraction": 0.2}


def name_of(video: str, voice: int, start: float, seconds: float = 0.3) -> str:
    return f"{video}__U__S{voice}---{start:08.3f}-{start + seconds:08.3f}.wav"


@pytest.fixture
def unpacked(tmp_path) -> Path:
    root = tmp_path / "voxlingua107"
    for code, video, voice in itertools.product(("en", "iw", "jw"), range(10), (1, 2)):
        # Videos begin with dashes and underscores too.
        write_tone(root / code / name_of(f"-_{code}{video}---x", voice, 12.99 + voice))
    for code, number in itertools.product(("en", "iw"), range(4)):
        write_tone(root / "dev" / code / name_of(f"dev{code}{number}", 1, 3))
    # A video of dev that is in train as well.
    write_tone(root / "en" / name_of("deven0", 2, 40))
    (root / "en" / "._x.wav").write_bytes(b"what macOS leaves behind")
    return root


def test_videos_stay_together_and_old_codes_are_renamed(unpacked, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        rows = read_rows(prepare("voxlingua107", unpacked, tmp_path / "data", **SHARES))
    assert "dropped 1 of 69 utterances whose speaker or recording is also in another split" in caplog.text
    assert "dev has no utterance of 1 classes: jv" in caplog.text
    assert values(rows["train"], "class") == values(rows["test"], "class") == {"en", "he", "jv"}
    assert values(rows["dev"], "group") == {f"dev{code}{number}" for code in ("en", "iw") for number in range(4)}
    assert len(rows["dev"]) == 8
    assert len(rows["train"]) + len(rows["test"]) == 60
    for row in itertools.chain(*rows.values()):
        assert row["speaker"].startswith(row["group"] + "__U__S")
        assert row["seconds"] == "0.3"
        assert row["source"] == "voxlingua107"
    assert len(values(rows["test"], "group")) == 3 * 2


def test_without_dev_both_are_drawn(unpacked, tmp_path, caplog):
    shutil.rmtree(unpacked / "dev")
    with caplog.at_level(logging.INFO):
        rows = read_rows(prepare("voxlingua107", unpacked, tmp_path / "data", **SHARES))
    assert "no folder dev, so dev.csv is drawn from the training data" in caplog.text
    assert values(rows["dev"], "class") == values(rows["test"], "class") == {"en", "he", "jv"}


def test_names_without_times_are_read_from_headers(unpacked, tmp_path, caplog):
    write_tone(unpacked / "en" / "another name.wav", 0.45)
    with caplog.at_level(logging.INFO):
        rows = read_rows(prepare("voxlingua107", unpacked, tmp_path / "data", **SHARES))
    assert "1 file names have no video and times" in caplog.text
    [row] = [row for row in itertools.chain(*rows.values()) if row["id"] == "en/another name"]
    assert (row["seconds"], row["group"], row["speaker"]) == ("0.45", "en/another name", "")


def test_some_languages_and_hours_from_the_command_line(unpacked, tmp_path):
    def drawn(name: str, *others: str) -> dict[str, bytes]:
        arguments = ["prepare", "voxlingua107", str(unpacked), "--out", str(tmp_path / name), "--test-fraction", "0.2"]
        assert cli.main([*arguments, "--languages", "he", "en", "--max-hours-per-class", "0.0005", *others]) == 0
        return contents(tmp_path / name)

    one = drawn("one")
    rows = read_rows(tmp_path / "one")
    assert values(rows["train"], "class") == {"en", "he"}
    # 0.0005 h are 1.8 s, six utterances.
    assert sum(row["class"] == "en" for row in rows["train"]) == 6
    assert one == drawn("two")
    assert one["train.csv"] != drawn("three", "--seed", "1")["train.csv"]


def test_other_layouts_say_what_was_found(unpacked, tmp_path):
    def refused(folder: Path, message: str, **others) -> None:
        with pytest.raises(UserError, match=message) as raised:
            prepare("voxlingua107", folder, tmp_path / "data", **others)
        assert "\n" not in str(raised.value)

    refused(unpacked / "nowhere", "no such folder")
    refused(unpacked / "en", r"expected folders of languages with .wav files, such as en/, found -_en0")
    refused(unpacked, "--languages sv: expected one of en, he, jv, found another", languages=["en", "sv"])
    (unpacked / "en" / "broken.wav").write_bytes(b"no audio")
    refused(unpacked, r"broken\.wav")
    assert not (tmp_path / "data").exists()
