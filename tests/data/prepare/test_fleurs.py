"""FLEURS, on a small copy of google/fleurs with its archives unpacked."""

import itertools
from pathlib import Path

import pytest
from helpers.layouts import contents, prepare, read_rows, values, write_lines, write_tone
from lid_mapmix.apps import cli
from lid_mapmix.utils.errors import UserError

COUNTS = {"train": 6, "dev": 2, "test": 3}


@pytest.fixture
def repository(tmp_path) -> Path:
    root = tmp_path / "fleurs"
    (root / "README.md").parent.mkdir(parents=True)
    (root / "README.md").write_text("FLEURS")
    for language in ("ur_pk", "hi_in"):
        for split, count in COUNTS.items():
            lines = []
            for number in range(count):
                # The same name in two languages, as numbers of twenty digits seldom have.
                name = f"1000{number}.wav"
                write_tone(root / "data" / language / "audio" / split / name, 0.32)
                lines.append((number // 2, name, 'A "quote', "a quote", "a | q |", 5120, "FEMALE"))
            write_lines(root / "data" / language / f"{split}.tsv", lines)
    return root


def test_the_publishers_splits(repository, tmp_path):
    assert cli.main(["prepare", "fleurs", str(repository), "--out", str(tmp_path / "data")]) == 0
    rows = read_rows(tmp_path / "data")
    for split, count in COUNTS.items():
        assert len(rows[split]) == 2 * count
        assert values(rows[split], "class") == {"hi_in", "ur_pk"}
        assert values(rows[split], "seconds") == {"0.32"}
    assert rows["dev"][0]["id"] == "hi_in/dev/10000"
    assert not {"speaker", "group", "start"} & set(rows["dev"][0])
    assert not list((tmp_path / "data").rglob("*.wav"))


def test_the_folder_of_languages_and_some_of_them(repository, tmp_path):
    one = contents(prepare("fleurs", repository / "data", tmp_path / "one", languages=["ur_pk"]))
    rows = read_rows(tmp_path / "one")
    assert values(itertools.chain(*rows.values()), "class") == {"ur_pk"}
    assert one == contents(prepare("fleurs", repository, tmp_path / "two", languages=["ur_pk"]))


def test_other_layouts_say_what_was_found(repository, tmp_path):
    def refused(message: str, folder: Path = repository, **others) -> None:
        with pytest.raises(UserError, match=message) as raised:
            prepare("fleurs", folder, tmp_path / "data", **others)
        assert "\n" not in str(raised.value)

    refused("expected folders of languages with train.tsv, such as en_us/, found fleurs/", tmp_path)
    refused("--languages en_us: expected one of hi_in, ur_pk, found another", languages=["en_us"])
    table = repository / "data/ur_pk/test.tsv"
    kept = table.read_text()
    table.write_text(kept + "one\ttwo\n")
    refused(r"test.tsv: expected 7 fields \(sentence, file, raw_transcription.* in line 4, found 2")
    table.write_text(kept.replace("5120", "long"))
    refused("test.tsv: expected numbers in samples")
    table.write_text(kept + kept.splitlines()[0] + "\n")
    refused("expected unique ids, found ur_pk/test/10000 2 times")
    table.write_text(kept)
    audio = repository / "data/ur_pk/audio/test"
    (audio / "10002.wav").unlink()
    refused(r"expected the listed audio, found .*test/10002.wav missing \(1 such\)")
    audio.rename(audio.with_name("elsewhere"))
    audio.with_name("test.tar.gz").write_bytes(b"")
    refused(r"audio/test: no such folder; .* has audio/, dev.tsv, .* Unpack it: tar -xzf .*test.tar.gz -C .*audio$")
    audio.with_name("test.tar.gz").unlink()
    refused("Download it")
    table.unlink()
    audio.mkdir()
    refused("test.tsv: no such table; .* has audio/, dev.tsv, train.tsv")
    assert not (tmp_path / "data").exists()
