"""Kaldi data directories and NeMo's manifests: written, and read again by ``lid-mapmix prepare``."""

import itertools
from pathlib import Path

import pytest
from helpers.layouts import prepare, read_rows, write_tone
from lid_mapmix.apps import cli
from lid_mapmix.data.export.manifests import export_manifests
from lid_mapmix.data.manifest.manifest import read_manifest, write_manifest
from lid_mapmix.utils.errors import UserError

CLASSES = ("ara-apc", "ara-arz")


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
        with pytest.raises(UserError, match=r"already exists.*--overwrite"):
            export_manifests(prepared, target, out)
        export_manifests(prepared, target, out, overwrite=True)
    with pytest.raises(UserError, match=r"expected one of train.csv, dev.csv, test.csv, found none"):
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
        ("audiopath", ["x.wav", "a\nb.wav"], "expected a path that Kaldi reads as a file, found "),
        ("audiopath", ["x.wav", "x.wav "], "expected a path that Kaldi reads as a file, found "),
        ("audiopath", ["x.wav", "x|"], "expected a path that Kaldi reads as a file, found "),
        ("audiopath", ["x.wav", "x.ark:12"], "expected a path that Kaldi reads as a file, found "),
    ],
)
def test_what_kaldi_could_not_tell_apart_or_read_is_refused(tmp_path, column, values, message):
    columns = {"audiopath": ["x.wav", "y.wav"], "class": ["a", "b"], "seconds": [1, 1], "id": ["1", "2"]}
    write_manifest(tmp_path / "data/train.csv", {**columns, "speaker": ["p", "q"], column: values})
    with pytest.raises(UserError, match=message) as raised:
        export_manifests(tmp_path / "data", "kaldi", tmp_path / "kaldi")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "kaldi").exists()
