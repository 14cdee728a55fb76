"""ML-SUPERB, on a small copy of its layout as ESPnet's recipes read it."""

import logging
from pathlib import Path

import pytest
from helpers.layouts import prepare, read_rows, values, write_lines, write_tone
from lid_mapmix.apps import cli
from lid_mapmix.utils.errors import UserError


def write_language(folder: Path, prefix: str, *, counts: dict[str, int] | None = None, start: int = 0) -> Path:
    """Write CORPUS/LANGUAGE/ with its lists; `counts`: list → utterances."""
    counts = counts or {"10min_train": 2, "1h_train": 4, "10min_dev": 1, "10min_test": 1}
    number = start
    for name, count in counts.items():
        lines = []
        for _ in range(count):
            identifier = f"{prefix}_{number:06d}"
            write_tone(folder / "wav" / f"{identifier}.wav", 0.2)
            lines.append((identifier, f"clip{number}", "two words"))
            number += 1
        write_lines(folder / f"transcript_{name}.txt", lines, between=" ")
    return folder


@pytest.fixture
def corpus(tmp_path) -> Path:
    root = tmp_path / "eighth_version"
    write_language(root / "fleurs/lit", "fleurs_lit", start=95)
    write_language(root / "fleurs/deu", "fleurs_deu")
    write_language(root / "commonvoice/org_jpn", "cv_org_jpn")
    (root / "readme.txt").write_text("ML-SUPERB")
    return root


def test_the_hour_the_codes_and_the_corpora(corpus, tmp_path):
    assert cli.main(["prepare", "mlsuperb", str(corpus), "--out", str(tmp_path / "data")]) == 0
    rows = read_rows(tmp_path / "data")
    assert {split: len(some) for split, some in rows.items()} == {"train": 12, "dev": 3, "test": 3}
    for some in rows.values():
        assert values(some, "class") == {"deu", "jpn", "lit"}
        assert values(some, "source") == {"fleurs", "commonvoice"}
    assert "fleurs_deu_000002" in values(rows["train"], "id")
    assert values(rows["test"], "seconds") == {"0.2"}


def test_the_ten_minutes_of_chosen_languages_and_clusters(corpus, tmp_path):
    (corpus / "labels.yaml").write_text("baltic: [lit]\ngermanic: [deu]\njaponic: [jpn]\n")
    folder = prepare("mlsuperb", corpus, tmp_path / "data", set="10min", languages=["deu", "lit"])
    rows = read_rows(folder)
    assert {split: len(some) for split, some in rows.items()} == {"train": 4, "dev": 2, "test": 2}
    assert "fleurs_deu_000002" not in values(rows["train"], "id")
    assert (folder / "labels.yaml").read_text() == "baltic:\n- lit\ngermanic:\n- deu\n"


def test_the_language_varieties_are_the_test(corpus, tmp_path, caplog):
    varieties = tmp_path / "varieties"
    only = {"10min_dev": 2}
    write_language(varieties / "swiss/deu", "swiss_deu", counts=only)
    write_language(varieties / "kansai/org_jpn", "kansai_org_jpn", counts=only)
    write_language(varieties / "ms_speech/hin", "ms_speech_tam", counts=only)
    write_language(corpus / "fleurs/tam", "fleurs_tam")
    with caplog.at_level(logging.INFO):
        rows = read_rows(prepare("mlsuperb", corpus, tmp_path / "data", varieties=varieties))
    found = {(row["id"], row["class"], row["source"]) for row in rows["test"]}
    assert len(found) == 6
    assert {("swiss_deu_000001", "deu", "swiss"), ("kansai_org_jpn_000000", "jpn", "kansai")} < found
    assert ("ms_speech_tam_000000", "tam", "ms_speech") in found
    assert "test has no utterance of 1 classes: lit" in caplog.text


def test_the_rest_of_a_transcript_is_left_out(corpus, tmp_path, caplog):
    with (corpus / "fleurs/deu/transcript_1h_train.txt").open("a") as file:
        file.write("of it\n\n../../escape clip text\n")
    with caplog.at_level(logging.INFO):
        rows = read_rows(prepare("mlsuperb", corpus, tmp_path / "data"))
    assert len(rows["train"]) == 12
    assert "left out 2 lines that have no id or no transcript" in caplog.text


def test_other_layouts_say_what_was_found(corpus, tmp_path):
    def refused(message: str, folder: Path = corpus, **others) -> None:
        with pytest.raises(UserError, match=message) as raised:
            prepare("mlsuperb", folder, tmp_path / "data", **others)
        assert "\n" not in str(raised.value)

    refused("expected CORPUS/LANGUAGE/wav/, such as fleurs/dan/wav/, found deu/, lit/", corpus / "fleurs")
    refused("--languages dan: expected one of deu, jpn, lit, found another", languages=["dan"])
    refused("no such folder", varieties=tmp_path / "none")
    (corpus / "fleurs/deu/wav/fleurs_deu_000003.wav").unlink()
    refused("expected the listed audio, found .*fleurs_deu_000003.wav missing")
    (corpus / "fleurs/lit/transcript_1h_train.txt").unlink()
    refused("transcript_1h_train.txt: no such file; .*lit has transcript_10min_dev.txt")
    assert not (tmp_path / "data").exists()
