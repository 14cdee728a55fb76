"""Common Voice, on a small copy of a release."""

import itertools
import logging
from pathlib import Path

import pytest
from helpers.layouts import contents, prepare, read_rows, values, write_lines, write_tone
from lid_mapmix.apps import cli
from lid_mapmix.data.labels import read_labels
from lid_mapmix.data.prepare import commonvoice
from lid_mapmix.utils.errors import UserError

HEADER = ("client_id", "path", "sentence", "up_votes", "accents", "variant", "locale", "segment")
ACCENTS = ("England English", "India and South Asia (India, Pakistan)", "", "Scottish English|Glasgow")
SPEAKERS = {"train": 6, "dev": 4, "test": 4}


@pytest.fixture
def release(tmp_path) -> Path:
    root = tmp_path / "cv-corpus-17.0"
    audio = write_tone(tmp_path / "clip.mp3", 0.5, 48_000).read_bytes()
    for language in ("en", "zh-TW", "zh-HK"):
        folder, validated, durations = root / language, [HEADER], [("clip", "duration[ms]")]
        (folder / "clips").mkdir(parents=True)
        for split, count in SPEAKERS.items():
            lines = [HEADER]
            for speaker, take in itertools.product(range(count), range(2)):
                clip = f"common_voice_{language}_{split}{speaker}{take}.mp3"
                (folder / "clips" / clip).write_bytes(audio)
                accent = ACCENTS[speaker % 4] if language == "en" else ""
                # A quotation mark that nothing closes, as transcripts have it.
                sentence = f'"sentence {take}'
                lines.append((f"{split}{speaker}of{language}", clip, sentence, 2, accent, "", language, ""))
                durations.append((clip, 500 + take))
            write_lines(folder / f"{split}.tsv", lines)
            validated += lines[1:]
        write_lines(folder / "validated.tsv", validated)
        write_lines(folder / "clip_durations.tsv", durations)
    return root


def test_languages_with_the_publishers_splits(release, tmp_path):
    rows = read_rows(prepare("commonvoice", release, tmp_path / "data"))
    for split, count in SPEAKERS.items():
        assert len(rows[split]) == 3 * 2 * count
        assert values(rows[split], "class") == {"en", "zh-TW", "zh-HK"}
        assert all(speaker.startswith(split) for speaker in values(rows[split], "speaker"))
        assert values(rows[split], "seconds") == {"0.5", "0.501"}
    assert read_labels(tmp_path / "data/labels.yaml").clusters == {"en": ("en",), "zh": ("zh-HK", "zh-TW")}
    assert rows["dev"][0]["id"] == "en/common_voice_en_dev00"
    assert not list((tmp_path / "data").rglob("*.mp3"))


def test_a_speaker_of_two_languages_is_in_one_split(release, tmp_path, caplog):
    table = release / "zh-TW/train.tsv"
    table.write_text(table.read_text().replace("train0ofzh-TW", "test1ofen"))
    with caplog.at_level(logging.INFO):
        rows = read_rows(prepare("commonvoice", release, tmp_path / "data"))
    assert "dropped 2 of 84 utterances whose speaker or recording is also in another split" in caplog.text
    assert len(rows["train"]) == 3 * 2 * 6 - 2


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_carriage_return_in_a_sentence_ends_no_line(release, tmp_path, end):
    """Once a line with too few fields."""
    for table in release.glob("*/*.tsv"):
        table.write_bytes(table.read_bytes().replace(b'"sentence', b"a\rsentence").replace(b"\n", end.encode()))
    rows = read_rows(prepare("commonvoice", release, tmp_path / "data"))
    assert len(rows["train"]) == 3 * 2 * SPEAKERS["train"]


@pytest.mark.parametrize("several", ["Scottish English|Glasgow", "Scottish English,Glasgow"])
def test_accents_of_one_language(release, tmp_path, caplog, several):
    for table in (release / "en").glob("*.tsv"):
        table.write_text(table.read_text().replace(ACCENTS[3], several))
    with caplog.at_level(logging.INFO):
        rows = read_rows(prepare("commonvoice", release / "en", tmp_path / "data", class_="accent"))
    assert "en: dropped 12 clips whose speakers name no accent, or several" in caplog.text
    expected = {"en-England English", "en-India and South Asia (India, Pakistan)"}
    assert all(values(rows[split], "class") == expected for split in rows)
    assert set(read_labels(tmp_path / "data/labels.yaml").clusters) == {"en"}


def write_accents(release: Path, accents: tuple[str, ...], variants: tuple[str, ...] = ("",)) -> None:
    """Give the speakers of English these accents and variants in turn."""
    for table in (release / "en").glob("*.tsv"):
        if table.name == "clip_durations.tsv":
            continue
        header, *rows = (line.split("\t") for line in table.read_text().splitlines())
        for number, row in enumerate(rows):
            row[4], row[5] = accents[number // 2 % len(accents)], variants[number // 2 % len(variants)]
        write_lines(table, [header, *rows])


def test_the_shipped_map_of_accents(release, tmp_path, caplog):
    """Names of newer releases, tokens of older ones; several accents only if they are of one dialect."""
    write_accents(
        release, ("England English", "us", "United States English|us", "England English|Liverpool", "us|wales")
    )
    with caplog.at_level(logging.INFO):
        rows = read_rows(prepare("commonvoice", release, tmp_path / "data", accents="default"))
    dropped = "clips whose speakers name no accent, or several, or one that is not in the map; the most frequent: "
    assert f"en: dropped 8 {dropped}England English|Liverpool, us|wales" in caplog.text
    assert f"zh-TW: dropped 28 {dropped}nothing" in caplog.text
    assert all(values(members, "class") == {"en-england", "en-us"} for members in rows.values())
    assert read_labels(tmp_path / "data/labels.yaml").clusters == {"en": ("en-england", "en-us")}


def test_a_map_of_ones_own(release, tmp_path):
    """The variant stands for an accent that is not named."""
    write_accents(release, ("here", "", "there", ""), ("", "over there", "over there", ""))
    table = tmp_path / "map.yaml"
    table.write_text("en: {near: [here], far: [there, over there]}\n")
    rows = read_rows(prepare("commonvoice", release / "en", tmp_path / "data", accents=table))
    assert len(rows["dev"]) == 2 * 3
    assert all(values(members, "class") == {"en-near", "en-far"} for members in rows.values())


def test_the_shipped_map_is_complete():
    dialects = commonvoice._read_map("default")
    assert set(dialects) == {"de", "en", "es", "fr", "pt", "zh-CN", "zh-TW"}
    assert {"france", "Français du sud de la France", "fr-metro"} <= dialects["fr"].keys()
    assert dialects["en"]["India and South Asia (India, Pakistan, Sri Lanka)"] == "southasia"
    assert dialects["zh-CN"]["440000"] == dialects["zh-CN"]["出生地：44 广东省"] == "guangdong"
    # No name is taken for several accents.
    assert all(not commonvoice.SEVERAL_ACCENTS.search(accent) for one in dialects.values() for accent in one)


def test_other_maps_say_what_was_found(release, tmp_path):
    table = tmp_path / "map.yaml"

    def refused(message: str) -> None:
        with pytest.raises(UserError, match=message) as raised:
            prepare("commonvoice", release / "en", tmp_path / "data", accents=table)
        assert "\n" not in str(raised.value)

    refused("map.yaml: no such file. Write one that maps each language to dialects")
    table.write_text("en: [")
    refused("map.yaml: is not valid YAML")
    table.write_text("- en")
    refused("map.yaml: expected a file that maps each language to dialects, .* found another structure")
    table.write_text("en: {near: here}")
    refused(r"map.yaml: en: expected 'cluster: \[class, class\]'")
    table.write_text("en: {near: [here], far: [here]}")
    refused("map.yaml: en: class here occurs twice")
    table.write_text("en: {near: [here]}")
    refused("expected at least two classes, found nothing")


def test_validated_clips_are_divided_by_speakers(release, tmp_path, caplog):
    table = release / "en/validated.tsv"
    table.write_text(table.read_text().replace("test0ofen", "one").replace("England English", "one of a kind", 2))
    arguments = ["prepare", "commonvoice", str(release), "--out", str(tmp_path / "data"), "--languages", "en"]
    with caplog.at_level(logging.INFO):
        assert cli.main([*arguments, "--class", "accent", "--validated", "--min-hours-per-class", "0.0004"]) == 0
    assert "dropped 1 classes of less than 0.0004 h: en-one of a kind" in caplog.text
    rows = read_rows(tmp_path / "data")
    assert len(list(itertools.chain(*rows.values()))) == 2 * 8 - 2
    assert all(len(values(rows[split], "class")) == 2 for split in rows)


def test_accents_of_too_few_speakers_are_left_out(release, tmp_path, caplog):
    table = release / "en/validated.tsv"
    table.write_text(table.read_text().replace("England English", "of two speakers", 4))
    with caplog.at_level(logging.INFO), pytest.raises(UserError, match="expected at least two classes, found en-India"):
        prepare("commonvoice", release / "en", tmp_path / "data", class_="accent", validated=True)
    assert "dropped 2 classes of fewer than 3 speakers: en-England English, en-of two speakers" in caplog.text


def test_hours_a_class_and_copies(release, tmp_path):
    def drawn(name: str, seed: int) -> dict[str, bytes]:
        flags = {"max_hours_per_class": 2.1 / 3600, "copy_audio": True, "seed": seed}
        return contents(prepare("commonvoice", release, tmp_path / name, **flags))

    assert drawn("one", 0) == drawn("two", 0) != drawn("three", 1)
    rows = read_rows(tmp_path / "one")
    assert (len(rows["train"]), len(rows["dev"])) == (3 * 4, 24)
    assert rows["train"][0]["audiopath"].startswith("audio/en/clips/common_voice_en_train")
    assert len(list((tmp_path / "one/audio").rglob("*.mp3"))) == 12 + 2 * 24


def test_without_durations_headers_are_read(release, tmp_path):
    for path in release.glob("*/clip_durations.tsv"):
        path.unlink()
    rows = read_rows(prepare("commonvoice", release, tmp_path / "data"))
    assert float(rows["train"][0]["seconds"]) == pytest.approx(0.5, abs=0.06)
    with pytest.raises(UserError, match="--min-hours-per-class needs"):
        prepare("commonvoice", release, tmp_path / "other", min_hours_per_class=1)


def test_other_layouts_say_what_was_found(release, tmp_path):
    def refused(message: str, folder: Path = release, **others) -> None:
        with pytest.raises(UserError, match=message) as raised:
            prepare("commonvoice", folder, tmp_path / "data", **others)
        assert "\n" not in str(raised.value)

    refused("expected folders of languages with clips/, such as en/, found clip.mp3, cv-corpus-17.0/", tmp_path)
    refused("--languages pt: expected one of en, zh-HK, zh-TW, found another", languages=["pt"])
    refused("expected at least two classes, found en", languages=["en"])
    (release / "en/clips/common_voice_en_dev00.mp3").unlink()
    refused(r"expected the listed audio, found .*common_voice_en_dev00.mp3 missing \(1 such\)")
    table = release / "en/dev.tsv"
    kept = table.read_text()
    table.write_text(kept + kept.splitlines()[1] + "\n")
    refused("expected unique ids, found en/common_voice_en_dev00 2 times")
    table.write_text(kept.replace("client_id", "speaker"))
    refused("dev.tsv: expected the column client_id, found speaker, path, sentence")
    table.write_text(kept.replace("accents", "region"))
    refused("expected a column accents or accent, found none. Omit --class or --accents", class_="accent")
    write_lines(release / "en/clip_durations.tsv", [("clip", "duration[ms]"), ("a.mp3", "long")])
    refused(r"clip_durations.tsv: expected numbers in duration\[ms\]")
    table.unlink()
    (release / "en/clip_durations.tsv").unlink()
    refused("dev.tsv: no such table; .*en has clips/, test.tsv, train.tsv, validated.tsv")
    assert not (tmp_path / "data").exists()
