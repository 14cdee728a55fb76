"""Manifests of Lhotse and Parquet: written, and read again by Lhotse, by ``prepare lhotse`` and by training."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.layouts import prepare, read_rows, write_tone
from helpers.synthetic import make_corpus
from lhotse import RecordingSet, SupervisionSet, validate
from lhotse.cut import CutSet
from lhotse.kaldi import export_to_kaldi
from lid_mapmix.apps import cli
from lid_mapmix.data.corpus import Corpus
from lid_mapmix.data.export.manifests import export_manifests
from lid_mapmix.data.export.packing import pack
from lid_mapmix.data.manifest import parquet_format as manifest_parquet
from lid_mapmix.data.manifest.manifest import read_manifest, write_manifest
from lid_mapmix.data.prepare import lhotse as prepare_lhotse
from lid_mapmix.utils.errors import UserError

CLASSES = ("ara-apc", "ara-arz")


@pytest.fixture
def prepared(tmp_path) -> Path:
    """A corpus whose recordings of 0.9 s have two utterances each; the second has no end. The rows alternate."""
    folder = tmp_path / "prepared"
    for split, shift in (("train", 0), ("dev", 10)):
        names = ("audiopath", "class", "seconds", "id", "start", "end", "speaker", "group", "source")
        columns = {name: [] for name in names}
        for take, (start, end) in enumerate(((0.1, 0.4), (0.4, ""))):
            for number, name in itertools.product(range(shift, shift + 3), CLASSES):
                write_tone(folder / "a b" / f"{name} {number}.wav", 0.9, 44_100 if number == 1 else 16_000)
                row = (f"a b/{name} {number}.wav", name, 0.3 + take / 5, f"{name}/{number} {take}", start, end)
                for column, value in zip(columns.values(), (*row, f"s{number}", f"g{number}", "here"), strict=True):
                    column.append(value)
        write_manifest(folder / f"{split}.csv", columns)
    return folder


def load(folder: Path, split: str = "train") -> tuple[RecordingSet, SupervisionSet]:
    return (
        RecordingSet.from_file(folder / f"recordings_{split}.jsonl.gz"),
        SupervisionSet.from_file(folder / f"supervisions_{split}.jsonl.gz"),
    )


def in_any_order(rows: dict) -> dict[str, list[dict[str, str]]]:
    return {split: sorted(some, key=str) for split, some in rows.items()}


def test_what_is_written_for_lhotse_is_read_again(prepared, tmp_path, capsys):
    assert cli.main(["export-manifest", str(prepared), "--to", "lhotse", "--out", str(tmp_path / "out")]) == 0
    names = [f"{kind}_{split}.jsonl.gz" for kind in ("recordings", "supervisions") for split in ("dev", "train")]
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "out" / name) for name in names]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    again = prepare("lhotse", tmp_path / "out", tmp_path / "again")
    (prepared / "labels.yaml").write_bytes((again / "labels.yaml").read_bytes())
    written, before = read_rows(again), read_rows(prepared)
    for row in itertools.chain(*before.values()):
        row["audiopath"] = str(prepared / row["audiopath"])
        row["end"] = "0.9" if row["end"] == "nan" else row["end"]
    assert in_any_order(written) == in_any_order(before)


def test_lhotse_finds_the_audio_and_makes_cuts_file_by_file(prepared, tmp_path):
    write_manifest(tmp_path / "data/test.csv", stereo_columns(tmp_path))
    export_manifests(tmp_path / "data", "lhotse", tmp_path / "stereo")
    export_manifests(prepared, "lhotse", tmp_path / "out")
    for recordings, supervisions in (load(tmp_path / "out"), load(tmp_path / "stereo", "test")):
        validate(recordings, read_data=True)
        validate(supervisions)
    one = next(iter(supervisions))
    assert (one.channel, one.start, one.duration) == ([0, 1], 0, 0.5)
    assert (one.speaker, one.custom) == (None, None)
    paths = [tmp_path / "out" / f"{kind}_train.jsonl.gz" for kind in ("recordings", "supervisions")]
    recordings, supervisions = RecordingSet.from_jsonl_lazy(paths[0]), SupervisionSet.from_jsonl_lazy(paths[1])
    cuts = CutSet.from_manifests(
        recordings=recordings, supervisions=supervisions, lazy=True, output_path=tmp_path / "cuts.jsonl"
    )
    assert [len(cut.supervisions) for cut in cuts] == [2] * 6


def stereo_columns(folder: Path) -> dict[str, list]:
    path = folder / "two.wav"
    soundfile.write(path, np.tile(0.1 * np.sin(np.arange(4000) / 9), (2, 1)).T, 8000)
    return {"audiopath": [str(path)], "class": ["a"], "seconds": [0.5], "id": ["x"]}


def test_lhotse_writes_a_data_directory_of_it_that_is_read_again(tmp_path):
    data = make_corpus(tmp_path / "data", classes=CLASSES, sizes={"train": 8})
    manifest = read_manifest(data / "train.csv")
    ids = [f"u{number}" for number in range(len(manifest))]
    write_manifest(data / "train.csv", {**manifest.columns, "id": ids, "speaker": ids})
    export_manifests(data, "lhotse", tmp_path / "out")
    export_to_kaldi(*load(tmp_path / "out"), tmp_path / "kaldi")
    names = ["reco2dur", "segments", "text", "utt2dur", "utt2lang", "utt2spk", "wav.scp"]
    assert sorted(path.name for path in (tmp_path / "kaldi").iterdir()) == names
    (tmp_path / "kaldi/labels.yaml").write_text("arabic:\n- ara-arz\n- ara-apc\n")
    again = prepare("kaldi", tmp_path / "kaldi", tmp_path / "again")
    assert (again / "labels.yaml").read_bytes() == (tmp_path / "kaldi/labels.yaml").read_bytes()
    rows = [row for some in read_rows(again).values() for row in some]
    assert {row["id"]: row["class"] for row in rows} == dict(zip(ids, manifest.columns["class"].tolist(), strict=True))
    # They are named as their utterances.
    assert {row.get("speaker", "") for row in rows} == {""}


@pytest.mark.parametrize("form", ["kaldi", "jsonl"])
def test_forms_of_earlier_versions_are_refused_with_the_way_by_lhotse(tmp_path, capsys, form):
    with pytest.raises(SystemExit):
        cli.main(["export-manifest", str(tmp_path), "--to", form, "--out", str(tmp_path / "out")])
    message = capsys.readouterr().err.splitlines()[-1]
    assert f"{form}: expected lhotse or parquet. Write lhotse; then 'lhotse kaldi export'" in message
    assert "'lhotse cut simple'" in message
    assert not (tmp_path / "out").exists()


def test_exports_replace_nothing_unasked(prepared, tmp_path):
    for target, name in (("lhotse", "recordings_train.jsonl.gz"), ("parquet", "train.parquet")):
        out = tmp_path / target
        export_manifests(prepared, target, out)
        (out / name).write_text("mine")
        with pytest.raises(UserError, match=r"already exists.*--overwrite"):
            export_manifests(prepared, target, out)
        assert (out / name).read_text() == "mine"
        export_manifests(prepared, target, out, overwrite=True)
        assert (out / name).read_bytes() != b"mine"
    with pytest.raises(UserError, match=r"expected one of train.csv, dev.csv, test.csv, found none"):
        export_manifests(tmp_path, "lhotse", tmp_path / "out")


def test_a_failed_export_leaves_nothing_half_written(prepared, tmp_path):
    out = tmp_path / "out"
    export_manifests(prepared, "lhotse", out)
    before = {path: path.read_bytes() for path in out.iterdir()}
    (prepared / f"a b/{CLASSES[0]} 10.wav").unlink()
    with pytest.raises(UserError, match=r"ara-apc 10\.wav: no such audio file"):
        export_manifests(prepared, "lhotse", out, overwrite=True)
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    with pytest.raises(UserError, match=r"ara-apc 10\.wav: no such audio file"):
        export_manifests(prepared, "lhotse", tmp_path / "other")
    assert not list((tmp_path / "other").iterdir())


def test_an_export_leaves_nothing_of_an_earlier_one(prepared, tmp_path):
    files = (("lhotse", "supervisions_dev.jsonl.gz"), ("parquet", "dev.parquet"))
    for target, stale in files:
        export_manifests(prepared, target, tmp_path / target)
        assert (tmp_path / target / stale).is_file()
    (prepared / "dev.csv").unlink()
    for target, stale in files:
        export_manifests(prepared, target, tmp_path / target, overwrite=True)
        assert not (tmp_path / target / stale).exists()


def test_clusters_survive_an_export(prepared, tmp_path):
    text = "arabic:\n- ara-arz\n- ara-apc\nnone:\n- nobody\n"
    (prepared / "labels.yaml").write_text(text)
    out = tmp_path / "out"
    assert out / "labels.yaml" in export_manifests(prepared, "lhotse", out)
    export_manifests(prepared, "lhotse", out, overwrite=True)
    again = prepare("lhotse", out, tmp_path / "again")
    assert (again / "labels.yaml").read_text() == text.partition("none")[0]
    # Where the manifests lie beside what they were made of, the labels beside them are no export.
    prepare("lhotse", out, out, overwrite=True)
    prepare("lhotse", out, out, overwrite=True)


def test_parquet_is_the_same_corpus(tmp_path):
    data, out = make_corpus(tmp_path / "data"), tmp_path / "out"
    written = export_manifests(data, "parquet", out)
    assert sorted(path.name for path in written) == sorted(path.name for path in out.iterdir())
    before, after = Corpus(str(data), None), Corpus(str(out), None)
    assert after.labels == before.labels
    for split in ("train", "dev", "test"):
        one, other = before.split(split), after.split(split)
        np.testing.assert_array_equal(one.target_classes, other.target_classes)
        np.testing.assert_array_equal(one.counts, other.counts)
        assert one.manifest.columns["id"].tolist() == other.manifest.columns["id"].tolist()
        np.testing.assert_array_equal(one.read(0, 100, 500), other.read(0, 100, 500))


def test_parquet_can_be_exported_itself(tmp_path):
    data, out = make_corpus(tmp_path / "data"), tmp_path / "out"
    export_manifests(data, "parquet", out)
    assert tmp_path / "lhotse/recordings_train.jsonl.gz" in export_manifests(out, "lhotse", tmp_path / "lhotse")


def test_parquet_does_not_spoil_the_folder_it_is_made_of(tmp_path):
    data = make_corpus(tmp_path / "data")
    with pytest.raises(UserError, match=r"train\.csv: already exists; a folder has one manifest per split"):
        export_manifests(data, "parquet", data, overwrite=True)
    assert not list(data.glob("*.parquet"))
    export_manifests(data, "lhotse", data)
    read_manifest(data / "train.csv")


def test_labels_of_another_corpus_are_not_replaced(tmp_path):
    data, out = make_corpus(tmp_path / "data"), tmp_path / "out"
    out.mkdir()
    (out / "labels.yaml").write_text("mine: [a, b]\n")
    for target, labels in itertools.product(("parquet", "lhotse"), (None, "own: [ara-apc, ara-arz]\n")):
        if labels:
            (data / "labels.yaml").write_text(labels)
        with pytest.raises(UserError, match="expected the labels of the exported corpus, found others"):
            export_manifests(data, target, out, overwrite=True)
    assert [path.name for path in out.iterdir()] == ["labels.yaml"]


def test_members_of_shards_are_refused_for_lhotse(tmp_path):
    data = make_corpus(tmp_path / "data")
    pack(data, tmp_path / "packed")
    export_manifests(tmp_path / "packed", "parquet", tmp_path / "out")
    with pytest.raises(UserError, match=r"train-000000\.tar#\d+\+\d+: expected an audio file, found a member"):
        export_manifests(tmp_path / "packed", "lhotse", tmp_path / "lhotse")
    assert not list((tmp_path / "lhotse").iterdir())


def test_without_lhotse_it_is_said_what_to_install(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare_lhotse, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"out: needs lhotse, which is not installed\. Run 'pip install") as raised:
        export_manifests(prepared, "lhotse", tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_without_pyarrow_it_is_said_what_to_install(tmp_path, monkeypatch):
    data, out = make_corpus(tmp_path / "data"), tmp_path / "out"
    export_manifests(data, "parquet", out)
    monkeypatch.setattr(manifest_parquet, "find_spec", lambda name: None)
    for attempt in (
        lambda: read_manifest(out / "train.parquet"),
        lambda: export_manifests(data, "parquet", tmp_path / "other"),
    ):
        with pytest.raises(UserError, match=r"needs pyarrow, which is not installed\. Run 'pip install"):
            attempt()
    assert not (tmp_path / "other/train.parquet").exists()
