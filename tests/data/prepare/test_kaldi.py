"""Kaldi data directories and NeMo's manifests: read, and written back."""

import csv
import itertools
import json
import logging
from pathlib import Path

import pytest
from helpers.layouts import contents, prepare, read_rows, values, write_lines, write_tone
from lid_mapmix.apps import cli
from lid_mapmix.data.export.manifests import export_manifests
from lid_mapmix.data.manifest.manifest import read_manifest, write_manifest
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
    command = ["prepare", "kaldi", "data/all", str(tmp_path / "one"), "--dev-share", "0.3", "--test-share", "0.3"]
    assert cli.main(command) == 0
    rows = read_rows(tmp_path / "one")
    assert len(list(itertools.chain(*rows.values()))) == 24
    for some in rows.values():
        assert values(some, "class") == set(CLASSES)
    row = next(row for row in itertools.chain(*rows.values()) if row["id"] == "ara-apc-3-1")
    assert (row["start"], row["end"], row["speaker"], row["group"]) == ("0.4", "nan", "3", "ara-apc-3")
    # To the end of a recording of 0.8 s, from its header.
    assert float(row["seconds"]) == pytest.approx(0.4)
    command[3:4] = [str(tmp_path / "two"), "--root", "."]
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


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (
            "wav.scp",
            "wav/ara-apc-0.wav",
            "sph2pipe -f wav a.sph |",
            r"ara-apc-0 is a command \(sph2pipe -f wav a.sph \|\)",
        ),
        ("wav.scp", "wav/ara-apc-0.wav", "feats.ark:1234", "is a part of an archive"),
        ("wav.scp", "wav/ara-apc-0.wav", "-", "is standard input"),
        ("wav.scp", "wav/ara-apc-0.wav", "gone.wav", r"audio that is not there: .*gone.wav \(2 such\)"),
        ("wav.scp", "ara-apc-1 ", "ara-apc-0 ", "wav.scp: line 2 has ara-apc-0 a second time"),
        ("segments", "ara-apc-0 0.1 0.4", "ara-apc-0 0.1", "ara-apc-0-0 has 'ara-apc-0 0.1' where a recording"),
        ("segments", "ara-apc-0 0.1", "ara-apc-9 0.1", "ara-apc-0-0 is from ara-apc-9, which is not in wav.scp"),
        ("utt2lang", "ara-apc-0-0 ara-apc\n", "", r"utt2lang: ara-apc-0-0 has no language \(1 such\)"),
        ("utt2lang", "ara-apc-0-0 ara-apc\n", "ara-apc-0-0\n", "line 1 has ara-apc-0-0 and no value"),
        ("segments", "ara-apc-0-0 ara-apc-0 0.1 0.4\n", "", "utt2lang: ara-apc-0-0 has no audio"),
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
    with pytest.raises(UserError, match=r"no wav.scp in it or in its train/; found all/"):
        prepare("kaldi", directory.parent, tmp_path / "data")
    (directory / "utt2lang").unlink()
    with pytest.raises(UserError, match=r"utt2lang: no such file; .*all holds segments, utt2spk, wav.scp"):
        prepare("kaldi", directory, tmp_path / "data", root=tmp_path / "egs")


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
    assert cli.main(["prepare", "jsonl", str(manifest), str(tmp_path / "data")]) == 0
    rows = read_rows(tmp_path / "data")
    found = {row["id"]: row for row in itertools.chain(*rows.values())}
    assert len(found) == 16
    first, second = found["wav/ara-apc2.wav"], found["wav/ara-apc2.wav@0.3"]
    assert (first["start"], first["end"], first["seconds"]) == ("0.0", "0.3", "0.3")
    assert (second["start"], second["end"], second["speaker"]) == ("0.3", "nan", "ara-apc2")
    assert float(second["seconds"]) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "all.jsonl: line 18 is no JSON"),
        ("[1]", "line 18 has no audio_filepath and no label; found list"),
        ('{"audio_filepath": "a.wav", "lang": "x"}', "line 18 has no label; found audio_filepath, lang. .*--label-key"),
        ('{"audio_filepath": "a.wav", "label": "x", "offset": "soon"}', "line 18 has an offset or duration"),
        ('{"audio_filepath": "a.wav", "label": "x", "duration": 1}', "audio that is not there: .*nemo/a.wav"),
        ('{"audio_filepath": "wav/ara-apc0.wav", "label": "x"}', "lists wav/ara-apc0.wav 2 times"),
    ],
)
def test_faults_of_a_nemo_manifest_are_named(manifest, tmp_path, line, message):
    with manifest.open("a") as file:
        file.write(line)
    with pytest.raises(UserError, match=message) as raised:
        prepare("jsonl", manifest, tmp_path / "data")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "data").exists()


def test_texts_in_another_encoding_and_odd_line_ends(manifest, directory, tmp_path):
    text = manifest.read_text().replace('"label": "ara-apc"', '"text": "a\u2028b", "label": "ara-apc"')
    manifest.write_text(text, encoding="utf-8-sig")
    assert len(list(itertools.chain(*read_rows(prepare("jsonl", manifest, tmp_path / "data")).values()))) == 16
    manifest.write_text(text, encoding="utf-16")
    with pytest.raises(UserError, match=r"all.jsonl: is no text in UTF-8"):
        prepare("jsonl", manifest, tmp_path / "other")
    (directory / "utt2lang").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="utt2lang: is no text in UTF-8"):
        prepare("kaldi", directory, tmp_path / "other")


def test_folders_without_a_nemo_manifest(manifest, tmp_path):
    with pytest.raises(UserError, match=r"no train.jsonl; found all.jsonl, wav/"):
        prepare("jsonl", manifest.parent, tmp_path / "data")


@pytest.fixture
def prepared(tmp_path) -> Path:
    folder = tmp_path / "prepared"
    for split, shift in (("train", 0), ("dev", 10)):
        columns = {name: [] for name in ("audiopath", "class", "seconds", "id", "start", "end", "speaker", "source")}
        for number, name in itertools.product(range(shift, shift + 3), CLASSES):
            write_tone(folder / "a b" / f"{name} {number}.wav", 0.9)
            for take, (start, end) in enumerate(((0.0, 0.4), (0.4, ""))):
                row = (f"a b/{name} {number}.wav", name, 0.4 + take / 10, f"{name}/{number} {take}", start, end)
                for column, value in zip(columns.values(), (*row, f"s{number}", "here"), strict=True):
                    column.append(value)
        write_manifest(folder / f"{split}.csv", columns)
    return folder


def without(rows: dict, *names: str) -> dict[str, list[dict[str, str]]]:
    return {
        split: sorted(({key: row[key] for key in row if key not in names} for row in some), key=str)
        for split, some in rows.items()
    }


def test_what_is_written_for_nemo_is_read_again(prepared, tmp_path, capsys):
    assert cli.main(["export-manifest", str(prepared), "--to", "jsonl", "--out", str(tmp_path / "nemo")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(tmp_path / "nemo" / f"{name}.jsonl") for name in ("train", "dev")
    ]
    again = prepare("jsonl", tmp_path / "nemo", tmp_path / "again")
    (prepared / "labels.yaml").write_bytes((again / "labels.yaml").read_bytes())
    written, before = read_rows(again), read_rows(prepared)
    for row in itertools.chain(*before.values()):
        row["audiopath"] = str(prepared / row["audiopath"])
        # NeMo's duration says where a part ends.
        row["end"] = "0.9" if row["end"] == "nan" else row["end"]
    assert without(written) == without(before)


def test_what_is_written_for_kaldi_is_read_again(prepared, tmp_path):
    export_manifests(prepared, "kaldi", tmp_path / "kaldi")
    directory = tmp_path / "kaldi/train"
    assert (directory / "segments").read_text().splitlines()[:2] == [
        "s0-ara-apc_0_0 ara-apc_0.wav 0.000 0.400",
        "s0-ara-apc_0_1 ara-apc_0.wav 0.400 -1.000",
    ]
    assert (directory / "spk2utt").read_text().splitlines()[0] == (
        "s0 s0-ara-apc_0_0 s0-ara-apc_0_1 s0-ara-arz_0_0 s0-ara-arz_0_1"
    )
    for path in directory.iterdir():
        lines = path.read_text().splitlines()
        assert lines == sorted(lines, key=str.encode)
    again = prepare("kaldi", tmp_path / "kaldi", tmp_path / "again")
    (prepared / "labels.yaml").write_bytes((again / "labels.yaml").read_bytes())
    written, before = read_rows(again), read_rows(prepared)
    for row in itertools.chain(*before.values()):
        row["audiopath"] = str(prepared / row["audiopath"])
        row["id"] = f"{row['speaker']}-{row['id'].replace('/', '_').replace(' ', '_')}"
    assert without(written, "group") == without(before, "source")


def test_exports_replace_nothing_unasked(prepared, tmp_path):
    for target in ("kaldi", "jsonl"):
        out = tmp_path / target
        written = export_manifests(prepared, target, out)
        assert [path.exists() for path in written] == [True, True]
        with pytest.raises(UserError, match=r"is there already.*--overwrite"):
            export_manifests(prepared, target, out)
        export_manifests(prepared, target, out, overwrite=True)
    with pytest.raises(UserError, match=r"has none of train.csv, dev.csv, test.csv"):
        export_manifests(tmp_path, "kaldi", tmp_path / "out")


def test_whole_files_need_no_segments_and_ids_stay_apart(prepared, tmp_path):
    path = str(write_tone(tmp_path / "x.wav"))
    columns = {"audiopath": [path, path], "class": ["a", "b"], "seconds": [0.3, 0.3], "id": ["1", "2"]}
    write_manifest(tmp_path / "data/train.csv", columns)
    export_manifests(tmp_path / "data", "kaldi", tmp_path / "kaldi")
    assert not (tmp_path / "kaldi/train/segments").exists()
    assert (tmp_path / "kaldi/train/wav.scp").read_text() == f"1 {path}\n2 {path}\n"
    assert (tmp_path / "kaldi/train/utt2spk").read_text() == "1 1\n2 2\n"
    write_manifest(tmp_path / "data/train.csv", {**columns, "id": ["a b", "a/b"]})
    with pytest.raises(UserError, match="two ids become a_b"):
        export_manifests(tmp_path / "data", "kaldi", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_utterances_named_as_their_own_speakers_have_none(prepared, tmp_path):
    manifest = read_manifest(prepared / "train.csv")
    starts, named = (manifest.columns[name].tolist() for name in ("start", "speaker"))
    speakers = ["" if start == 0 else speaker for start, speaker in zip(starts, named, strict=True)]
    write_manifest(prepared / "train.csv", {**manifest.columns, "speaker": speakers})
    export_manifests(prepared, "kaldi", tmp_path / "kaldi")
    again = read_manifest(prepare("kaldi", tmp_path / "kaldi", tmp_path / "again") / "train.csv")
    assert sorted(again.columns["speaker"].tolist()) == sorted(speakers)


def test_clusters_survive_an_export(prepared, tmp_path):
    text = "arabic:\n- ara-arz\n- ara-apc\nnone:\n- nobody\n"
    (prepared / "labels.yaml").write_text(text)
    for target in ("kaldi", "jsonl"):
        assert tmp_path / target / "labels.yaml" in export_manifests(prepared, target, tmp_path / target)
        again = prepare(target, tmp_path / target, tmp_path / f"{target} again")
        assert (again / "labels.yaml").read_text() == text.partition("none")[0]
        # Where the manifests lie beside what they were made of, the labels beside them are no export.
        prepare(target, tmp_path / target, tmp_path / target, overwrite=True)
        prepare(target, tmp_path / target, tmp_path / target, overwrite=True)


def test_an_export_leaves_nothing_of_an_earlier_one(prepared, tmp_path):
    for target, stale in (("kaldi", "dev/wav.scp"), ("jsonl", "dev.jsonl"), ("parquet", "dev.parquet")):
        export_manifests(prepared, target, tmp_path / target)
        assert (tmp_path / target / stale).is_file()
    (prepared / "dev.csv").unlink()
    manifest = read_manifest(prepared / "train.csv")
    whole = {name: manifest.columns[name] for name in ("audiopath", "class", "seconds", "id")}
    write_manifest(prepared / "train.csv", whole)
    for target, stale in (("kaldi", "dev/wav.scp"), ("jsonl", "dev.jsonl"), ("parquet", "dev.parquet")):
        export_manifests(prepared, target, tmp_path / target, overwrite=True)
        assert not (tmp_path / target / stale).exists()
    assert not (tmp_path / "kaldi/train/segments").exists()


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("class", ["a b", "a_b"], "two classes become a_b"),
        ("speaker", ["p/q", "p q"], "two speakers become p_q"),
        ("audiopath", ["x.wav", "a\nb.wav"], "Kaldi would not take .* for a file"),
        ("audiopath", ["x.wav", "x.wav "], "Kaldi would not take .* for a file"),
        ("audiopath", ["x.wav", "x|"], "Kaldi would not take .* for a file"),
        ("audiopath", ["x.wav", "x.ark:12"], "Kaldi would not take .* for a file"),
    ],
)
def test_what_kaldi_could_not_tell_apart_or_read_is_refused(tmp_path, column, values, message):
    columns = {"audiopath": ["x.wav", "y.wav"], "class": ["a", "b"], "seconds": [1, 1], "id": ["1", "2"]}
    write_manifest(tmp_path / "data/train.csv", {**columns, "speaker": ["p", "q"], column: values})
    with pytest.raises(UserError, match=message) as raised:
        export_manifests(tmp_path / "data", "kaldi", tmp_path / "kaldi")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "kaldi").exists()


def test_parts_late_in_a_recording_and_names_that_are_numbers(tmp_path):
    write_tone(tmp_path / "x.wav")
    entry = {"audio_filepath": "x.wav", "duration": 0.05, "label": 0}
    lines = [json.dumps({**entry, "offset": 10_000 + take / 10, "speaker": take}) for take in range(6)]
    (tmp_path / "all.jsonl").write_text("\n".join(lines))
    folder = prepare("jsonl", tmp_path / "all.jsonl", tmp_path / "data")
    rows = [row for split in ("train", "dev", "test") for row in csv.DictReader((folder / f"{split}.csv").open())]
    assert {row["id"] for row in rows} == {f"x.wav@{10_000 + take / 10}" for take in range(6)}
    assert {row["speaker"] for row in rows} == set("012345")
    assert {row["class"] for row in rows} == {"0"}
