"""NeMo's manifests."""

import csv
import itertools
import json
from pathlib import Path

import pytest
from helpers.layouts import prepare, read_rows, write_tone
from lid_mapmix.apps import cli
from lid_mapmix.utils.errors import UserError

CLASSES = ("ara-apc", "ara-arz")


@pytest.fixture
def manifest(tmp_path) -> Path:
    entries = []
    for name, number in itertools.product(CLASSES, range(4)):
        path = write_tone(tmp_path / "nemo/wav" / f"{name}{number}.wav", 0.8)
        entries += [
            {"audio_filepath": f"wav/{path.name}", "offset": 0.0, "duration": 0.3, "label": name},
            {
                "audio_filepath": f"wav/{path.name}",
                "offset": 0.3,
                "duration": None,
                "label": name,
                "speaker": path.stem,
            },
        ]
    path = tmp_path / "nemo/all.jsonl"
    path.write_text("\n".join(map(json.dumps, entries)) + "\n\n")
    return path


def test_a_nemo_manifest_is_divided(manifest, tmp_path):
    assert cli.main(["prepare", "jsonl", str(manifest), "--out", str(tmp_path / "data")]) == 0
    rows = read_rows(tmp_path / "data")
    found = {row["id"]: row for row in itertools.chain(*rows.values())}
    assert len(found) == 16
    first, second = found["wav/ara-apc2.wav"], found["wav/ara-apc2.wav@0.3"]
    assert (first["start"], first["end"], first["seconds"]) == ("0.0", "0.3", "0.3")
    assert (second["start"], second["end"], second["speaker"]) == ("0.3", "nan", "ara-apc2")
    assert float(second["seconds"]) == pytest.approx(0.5)


def test_ids_groups_sources_and_the_labels_beside_a_manifest_are_kept(manifest, tmp_path):
    entries = [json.loads(line) for line in manifest.read_text().splitlines() if line]
    for number, entry in enumerate(entries):
        entry |= {"id": f"u{number}", "group": entry["audio_filepath"], "source": "here"}
    manifest.write_text("\n".join(map(json.dumps, entries)))
    manifest.rename(manifest.with_name("train.jsonl"))
    (manifest.parent / "labels.yaml").write_text("arabic:\n- ara-arz\n- ara-apc\n")
    data = prepare("jsonl", manifest.parent, tmp_path / "data")
    assert (data / "labels.yaml").read_text() == "arabic:\n- ara-arz\n- ara-apc\n"
    found = {row["id"]: (row["group"], row["source"]) for row in itertools.chain(*read_rows(data).values())}
    assert found == {entry["id"]: (str(Path(entry["group"])), "here") for entry in entries}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "all.jsonl: expected a JSON object in line 18"),
        ("[1]", "expected audio_filepath and label in line 18, found list"),
        (
            '{"audio_filepath": "a.wav", "lang": "x"}',
            "expected label in line 18, found audio_filepath, lang. .*--label-key",
        ),
        (
            '{"audio_filepath": "a.wav", "label": "x", "offset": "soon"}',
            "expected numbers as offset and duration in line 18",
        ),
        (
            '{"audio_filepath": "a.wav", "label": "x", "duration": 1}',
            "expected the listed audio, found .*nemo/a.wav missing",
        ),
        (
            '{"audio_filepath": "wav/ara-apc0.wav", "label": "x", "offset": 0, "duration": 0.3}',
            "expected unique ids, found wav/ara-apc0.wav@0.0-0.3 2 times",
        ),
    ],
)
def test_faults_of_a_nemo_manifest_are_named(manifest, tmp_path, line, message):
    with manifest.open("a") as file:
        file.write(line)
    with pytest.raises(UserError, match=message) as raised:
        prepare("jsonl", manifest, tmp_path / "data")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "data").exists()


def test_texts_in_another_encoding_and_odd_line_ends(manifest, tmp_path):
    text = manifest.read_text().replace('"label": "ara-apc"', '"text": "a\u2028b", "label": "ara-apc"')
    manifest.write_text(text, encoding="utf-8-sig")
    assert len(list(itertools.chain(*read_rows(prepare("jsonl", manifest, tmp_path / "data")).values()))) == 16
    manifest.write_text(text, encoding="utf-16")
    with pytest.raises(UserError, match=r"all.jsonl: expected text in UTF-8"):
        prepare("jsonl", manifest, tmp_path / "other")


def test_folders_without_a_nemo_manifest(manifest, tmp_path):
    with pytest.raises(UserError, match=r"expected train.jsonl, found all.jsonl, wav/"):
        prepare("jsonl", manifest.parent, tmp_path / "data")


def test_parts_late_in_a_recording_and_names_that_are_numbers(tmp_path):
    lines = []
    for take in range(6):
        # A low rate, for a small file.
        name = write_tone(tmp_path / f"{take}.wav", 10_001, 400).name
        times = {"duration": 0.05, "offset": 10_000 + take / 10}
        lines.append(json.dumps({"audio_filepath": name, "label": 0, "speaker": take, **times}))
    (tmp_path / "all.jsonl").write_text("\n".join(lines))
    folder = prepare("jsonl", tmp_path / "all.jsonl", tmp_path / "data")
    rows = [row for split in ("train", "dev", "test") for row in csv.DictReader((folder / f"{split}.csv").open())]
    assert {row["id"] for row in rows} == {f"{take}.wav@{10_000 + take / 10}" for take in range(6)}
    assert {row["speaker"] for row in rows} == set("012345")
    assert {row["class"] for row in rows} == {"0"}


def written(tmp_path, *times):
    """Prepare three files of 0.8 s, each with these parts, and return the first one's rows by id."""
    lines = [
        json.dumps({"audio_filepath": write_tone(tmp_path / f"{name}.wav", 0.8).name, "label": "x", **keys})
        for name in "abc"
        for keys in times
    ]
    (tmp_path / "all.jsonl").write_text("\n".join(lines))
    rows = itertools.chain(*read_rows(prepare("jsonl", tmp_path / "all.jsonl", tmp_path / "data")).values())
    return {row["id"]: row for row in rows if "a.wav" in row["id"]}


def test_parts_that_start_together_and_the_whole_are_no_repetition(tmp_path):
    """Once "expected unique ids"; they stay in one split."""
    rows = written(
        tmp_path, {}, {"offset": 0, "duration": 0.2}, {"offset": 0.3, "duration": 0.2}, {"offset": 0.3, "duration": 0.4}
    )
    assert set(rows) == {"a.wav", "a.wav@0.0-0.2", "a.wav@0.3-0.5", "a.wav@0.3-0.7"}
    assert len({row["group"] for row in rows.values()}) == 1
    with pytest.raises(UserError, match=r"expected unique ids, found a.wav@0.3-0.5 2 times"):
        written(tmp_path, *[{"offset": 0.3, "duration": 0.2}] * 2)


def test_parts_that_end_just_after_their_file_are_shortened(tmp_path):
    rows = written(tmp_path, {"offset": 0.5, "duration": 0.7})
    assert {(row["end"], row["seconds"]) for row in rows.values()} == {("0.8", "0.3")}
