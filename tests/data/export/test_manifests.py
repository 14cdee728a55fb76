import itertools

import numpy as np
import pytest
from helpers.synthetic import make_corpus
from lid_mapmix.data.corpus import Corpus
from lid_mapmix.data.export.manifests import export_manifests
from lid_mapmix.data.export.packing import pack
from lid_mapmix.data.manifest import parquet_format as manifest_parquet
from lid_mapmix.data.manifest.manifest import read_manifest
from lid_mapmix.utils.errors import UserError


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


def test_parquet_replaces_nothing_unasked_and_can_be_exported_itself(tmp_path):
    data, out = make_corpus(tmp_path / "data"), tmp_path / "out"
    export_manifests(data, "parquet", out)
    with pytest.raises(UserError, match=r"train\.parquet: already exists"):
        export_manifests(data, "parquet", out)
    export_manifests(data, "parquet", out, overwrite=True)
    assert (tmp_path / "nemo/train.jsonl") in export_manifests(out, "jsonl", tmp_path / "nemo")


def test_parquet_does_not_spoil_the_folder_it_is_made_of(tmp_path):
    data = make_corpus(tmp_path / "data")
    with pytest.raises(UserError, match=r"train\.csv: already exists; a folder has one manifest per split"):
        export_manifests(data, "parquet", data, overwrite=True)
    assert not list(data.glob("*.parquet"))
    export_manifests(data, "jsonl", data)
    read_manifest(data / "train.csv")


def test_labels_of_another_corpus_are_not_replaced(tmp_path):
    data, out = make_corpus(tmp_path / "data"), tmp_path / "out"
    out.mkdir()
    (out / "labels.yaml").write_text("mine: [a, b]\n")
    for target, labels in itertools.product(("parquet", "jsonl", "kaldi"), (None, "own: [ara-apc, ara-arz]\n")):
        if labels:
            (data / "labels.yaml").write_text(labels)
        with pytest.raises(UserError, match="expected the labels of the exported corpus, found others"):
            export_manifests(data, target, out, overwrite=True)
    assert [path.name for path in out.iterdir()] == ["labels.yaml"]


def test_members_of_shards_are_refused_for_others(tmp_path):
    data = make_corpus(tmp_path / "data")
    pack(data, tmp_path / "packed")
    export_manifests(tmp_path / "packed", "parquet", tmp_path / "out")
    with pytest.raises(UserError, match=r"train-000000\.tar#\d+\+\d+: expected audio files"):
        export_manifests(tmp_path / "packed", "kaldi", tmp_path / "kaldi")
    assert not (tmp_path / "kaldi").exists()


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
