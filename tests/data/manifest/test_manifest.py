import gc

import numpy as np
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lid_mapmix.data.corpus import Corpus
from lid_mapmix.data.labels import Labels, labels_from_manifest, labels_from_mapping, read_labels, write_labels
from lid_mapmix.data.manifest import csv_format as manifest_csv
from lid_mapmix.data.manifest import manifest as manifest_module
from lid_mapmix.data.manifest import parquet_format as manifest_parquet
from lid_mapmix.data.manifest.manifest import read_manifest, write_manifest
from lid_mapmix.utils.errors import UserError
from pyarrow import parquet

HEADER = "audiopath,class,seconds"
TEXT = st.text(st.characters(exclude_categories=("C",)), min_size=1, max_size=12)
ANYTHING = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)


def write(folder, text, encoding="utf-8"):
    path = folder / "train.csv"
    path.write_bytes(text.encode(encoding))
    return path


def refused(path, says):
    """Read a manifest that has a fault, and check that it is told in one line that names the file."""
    with pytest.raises(UserError, match=says) as caught:
        read_manifest(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_columns_come_as_arrays(tmp_path):
    manifest = read_manifest(
        write(tmp_path, f"{HEADER},end,speaker\na/b.wav,eng-gbr,3,,x\n/c.wav,spa-eur,10.5,2.5,y\n")
    )
    assert len(manifest) == 2
    assert manifest.columns["seconds"].tolist() == [3.0, 10.5]
    assert np.isnan(manifest.columns["end"][0])
    assert manifest.columns["end"][1] == 2.5
    assert manifest.columns["id"].tolist() == ["a/b.wav", "/c.wav"]
    assert manifest.text_column("speaker").tolist() == ["x", "y"]
    assert manifest.text_column("source").tolist() == ["", ""]
    assert manifest.audio_path(0) == tmp_path / "a/b.wav"
    assert str(manifest.audio_path(1)) == "/c.wav"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_byte_order_mark_and_windows_lines_are_read(tmp_path, encoding, end):
    text = end.join([HEADER, "á.wav,a,3", "", '"b,c.wav",b,4', ""])
    manifest = read_manifest(write(tmp_path, text, encoding))
    assert list(manifest.columns) == ["audiopath", "class", "seconds", "id"]
    assert manifest.columns["audiopath"].tolist() == ["á.wav", "b,c.wav"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "found no audiopath, class, seconds \\(an empty file\\)"),
        ("audiopath,seconds\na.wav,3\n", "found no class \\(audiopath, seconds\\)"),
        (f"{HEADER}\n", "expected utterances, found only a header"),
        (f"{HEADER}\n\n\n", "expected utterances, found only a header"),
        (f"{HEADER}\na.wav,a,3\nb.wav,b\n", "expected 3 fields in row 3, as in the header, found 2"),
        (f"{HEADER}\na,b.wav,a,3\n", "expected 3 fields in row 2, as in the header, found 4"),
        (f"{HEADER}\na.wav,a,long\n", "expected numbers of seconds in column seconds, found other text: .*long"),
        (f"{HEADER},start\na.wav,a,3,one\n", "expected numbers of seconds in column start"),
        (f"{HEADER}\na.wav,a,3\na.wav,b,3\n", "expected unique ids, found a.wav in 2 rows"),
        (f"{HEADER},id\na.wav,a,3,x\nb.wav,b,3,x\n", "expected unique ids, found x in 2 rows"),
        (f"{HEADER}\na.wav,,3\n", "utterance a.wav has no class"),
        (f"{HEADER},id\na.wav,a,3,\n", "utterance 1 has no id"),
        (f"{HEADER}\n,a,3\n", "utterance 1 has no id"),
        (f"{HEADER},id\n,a,3,x\n", "utterance x has no audiopath"),
        (f"{HEADER},class\na.wav,a,3,b\n", "header has class more than once"),
    ],
)
def test_a_fault_is_one_line(tmp_path, text, says):
    refused(write(tmp_path, text), says)


@pytest.mark.parametrize(
    ("columns", "values", "says"),
    [
        ("seconds", "", "needs seconds above 0"),
        ("seconds", "0", "needs seconds above 0"),
        ("seconds", "-3", "needs seconds above 0"),
        ("seconds", "nan", "needs seconds above 0"),
        ("seconds", "inf", "needs seconds above 0"),
        ("seconds,start", "3,-1", "needs a start of 0 or above"),
        ("seconds,start", "3,inf", "needs a start of 0 or above"),
        ("seconds,end", "3,-1", "needs an end after its start"),
        ("seconds,end", "3,0", "needs an end after its start"),
        ("seconds,end", "3,inf", "needs an end after its start"),
        ("seconds,start,end", "3,2,2", "needs an end after its start"),
        ("seconds,start,end", "3,2,1.5", "needs an end after its start"),
    ],
)
def test_times_that_cannot_be_are_refused(tmp_path, columns, values, says):
    fine = ",".join(["3", "1", "2"][: columns.count(",") + 1])
    text = f"audiopath,class,{columns}\nfine.wav,a,{fine}\nodd.wav,a,{values}\n"
    refused(write(tmp_path, text), rf"utterance odd\.wav {says} \(1 such\)")


def test_a_missing_manifest_is_one_line(tmp_path):
    refused(tmp_path / "train.csv", "no such manifest")


def test_another_encoding_is_one_line(tmp_path):
    refused(write(tmp_path, f"{HEADER}\ná.wav,a,3\n", "latin-1"), "expected CSV in UTF-8, found other content")


def test_a_field_without_end_is_one_line(tmp_path):
    refused(
        write(tmp_path, f'{HEADER}\n"a.wav,a,3\n' + "b.wav,a,3\n" * 20_000),
        "expected CSV in UTF-8, found other content",
    )


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(
        st.tuples(TEXT, TEXT, st.floats(1e-3, 1e6), st.floats(0, 1e3), TEXT | st.just("")),
        min_size=1,
        unique_by=lambda row: row[0],
    )
)
def test_what_is_written_is_read(tmp_path_factory, rows):
    names = ("audiopath", "class", "seconds", "start", "speaker")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    path = tmp_path_factory.mktemp("round") / "train.csv"
    write_manifest(path, columns)
    read = read_manifest(path)
    assert {name: read.columns[name].tolist() for name in names} == {name: list(columns[name]) for name in names}


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = write(tmp_path, "before")
    with pytest.raises(ValueError, match="expected the columns audiopath, class, seconds, found no seconds"):
        write_manifest(path, {"audiopath": ["a"], "class": ["b"]})
    with pytest.raises(ValueError, match="zip"):
        write_manifest(path, {"audiopath": ["a"], "class": ["b", "c"], "seconds": [1.0]})
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_classes_are_numbered_in_the_order_of_the_labels(tmp_path):
    labels = Labels({"b": ("b-two", "b-one"), "a": ("a-one",)})
    assert labels.classes == ("b-two", "b-one", "a-one")
    assert labels.cluster_indices.tolist() == [0, 0, 1]
    manifest = read_manifest(write(tmp_path, f"{HEADER}\n1,a-one,3\n2,b-one,3\n3,b-two,3\n4,a-one,3\n"))
    assert labels.class_indices(manifest).tolist() == [2, 1, 0, 2]
    assert labels.class_indices(manifest).dtype == np.int64


def test_an_unknown_class_is_one_line(tmp_path):
    manifest = read_manifest(write(tmp_path, f"{HEADER}\n1,a,3\n2,c,3\n3,d,3\n"))
    with pytest.raises(UserError, match=r"train\.csv: expected the classes a, b, found c, d\.") as caught:
        Labels({"x": ("a", "b")}).class_indices(manifest)
    assert "\n" not in str(caught.value)


def test_labels_are_derived_from_the_names_of_the_classes(tmp_path):
    manifest = read_manifest(
        write(tmp_path, f"{HEADER}\n1,spa-eur,3\n2,eng-usg,3\n3,eng-gbr-x,3\n4,fra,3\n5,eng-usg,3\n")
    )
    assert labels_from_manifest(manifest).clusters == {
        "eng": ("eng-gbr-x", "eng-usg"),
        "fra": ("fra",),
        "spa": ("spa-eur",),
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected 'cluster:"),
        ("{}", "expected 'cluster:"),
        ("[a, b]", "expected 'cluster:"),
        ("a: b", "expected 'cluster:"),
        ("a: []", "expected 'cluster:"),
        ("a:", "expected 'cluster:"),
        ("a: [b, c]\nd: [c]", "class c occurs twice"),
        ("a: [b, b]", "class b occurs twice"),
        ("a: [b\nc", "is not valid YAML"),
        ("a: [b]\n\tc: [d]", "is not valid YAML"),
        ("nordic: [no, da]", "expected text, found False"),
        ("no: [nb]", "expected text, found False"),
        ("a: [[b]]", "expected text, found "),
    ],
)
def test_malformed_labels_are_one_line(tmp_path, text, says):
    path = tmp_path / "labels.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=says) as caught:
        read_labels(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_labels_are_one_line(tmp_path):
    with pytest.raises(UserError, match=r"labels\.yaml: no such file"):
        read_labels(tmp_path / "labels.yaml")


@settings(max_examples=50, deadline=None)
@given(clusters=st.dictionaries(TEXT, st.lists(TEXT, min_size=1), min_size=1))
def test_labels_written_are_read_in_order(tmp_path_factory, clusters):
    # The same name may not stand in two clusters.
    labels = Labels({key: tuple(f"{key}{name}{n}" for n, name in enumerate(names)) for key, names in clusters.items()})
    if len(set(labels.classes)) < len(labels.classes):
        return
    path = tmp_path_factory.mktemp("labels") / "labels.yaml"
    write_labels(path, labels)
    read = read_labels(path)
    assert list(read.clusters.items()) == list(labels.clusters.items())


def test_names_that_yaml_takes_for_something_else_are_written_in_quotes(tmp_path):
    labels = labels_from_mapping({"no": ["no", "010", "null", "1e3"]}, "here")
    write_labels(tmp_path / "labels.yaml", labels)
    assert read_labels(tmp_path / "labels.yaml") == labels


def test_parquet_holds_what_csv_holds(tmp_path):
    columns = {
        "audiopath": ["á/b.wav", "c,d.wav", "e.wav"],
        "class": ["x", "y", "x"],
        "seconds": [1.5, 2.0, 3.25],
        "end": [np.nan, 1.0, np.nan],
        "speaker": ["s", "", "t"],
    }
    for name in ("train.csv", "train.parquet"):
        write_manifest(tmp_path / name, columns)
    text, table = (read_manifest(tmp_path / name).columns for name in ("train.csv", "train.parquet"))
    assert list(text) == list(table)
    for name in text:
        np.testing.assert_array_equal(text[name], table[name])
        assert text[name].dtype == table[name].dtype


def test_parquet_of_others_is_read(tmp_path):
    path = tmp_path / "train.parquet"
    names = pyarrow.array(["a", None, "a"]).dictionary_encode()
    parquet.write_table(
        pyarrow.table(
            {
                "audiopath": pyarrow.array(["1", "2", "3"], pyarrow.large_string()),
                "class": pyarrow.array(["a", "b", "a"]).dictionary_encode(),
                "seconds": pyarrow.array([1, 2, 3], pyarrow.int16()),
                "speaker": names,
                "source": pyarrow.array([None, "web", None]),
                "start": pyarrow.array([None, 0.5, 1.0], pyarrow.float32()),
            }
        ),
        path,
    )
    columns = read_manifest(path).columns
    assert columns["speaker"].tolist() == ["a", "", "a"]
    assert columns["source"].tolist() == ["", "web", ""]
    assert columns["seconds"].tolist() == [1.0, 2.0, 3.0]
    np.testing.assert_array_equal(columns["start"], [np.nan, 0.5, 1.0])


def test_a_fault_of_parquet_is_one_line(tmp_path):
    path = tmp_path / "train.parquet"
    path.write_bytes(b"PAR1 no more")
    refused(path, "expected a Parquet file, found other content")
    parquet.write_table(pyarrow.table({"audiopath": ["a"], "class": ["b"]}), path)
    refused(path, "found no seconds \\(audiopath, class\\)")
    parquet.write_table(pyarrow.table({"audiopath": ["a"], "class": ["b"], "seconds": ["long"]}), path)
    refused(path, "expected numbers of seconds in column seconds")
    parquet.write_table(pyarrow.table({"audiopath": ["a", "a"], "class": ["b", "b"], "seconds": [1, 2]}), path)
    refused(path, "expected unique ids, found a in 2 rows")
    parquet.write_table(pyarrow.table({"audiopath": ["a"], "class": [None], "seconds": [1]}), path)
    refused(path, "utterance a has no class")


def test_two_manifests_of_a_split_are_refused(tmp_path):
    columns = {"audiopath": ["a"], "class": ["b"], "seconds": [1.0]}
    write_manifest(tmp_path / "train.parquet", columns)
    assert Corpus(str(tmp_path), None).labels.classes == ("b",)
    write_manifest(tmp_path / "train.csv", columns)
    with pytest.raises(UserError, match=r"found train\.parquet and train\.csv\. Delete one"):
        Corpus(str(tmp_path), None)


def test_rows_beyond_one_batch_are_joined_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest_csv, "_ROWS_AT_ONCE", 2)
    rows = [f"{number}.wav,a,{number}" for number in range(1, 6)]
    manifest = read_manifest(write(tmp_path, "\n".join([HEADER, *rows[:3], "", *rows[3:]])))
    assert manifest.columns["audiopath"].tolist() == ["1.wav", "2.wav", "3.wav", "4.wav", "5.wav"]
    assert manifest.columns["seconds"].tolist() == [1, 2, 3, 4, 5]
    refused(
        write(tmp_path, "\n".join([HEADER, *rows[:4], "5.wav,a"])),
        "expected 3 fields in row 6, as in the header, found 2",
    )


def test_ids_of_one_hash_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest_module, "hash", len, raising=False)
    manifest = read_manifest(write(tmp_path, f"{HEADER}\na,x,1\nb,x,1\nccc,x,1\n"))
    assert manifest.columns["id"].tolist() == ["a", "b", "ccc"]
    refused(write(tmp_path, f"{HEADER}\na,x,1\nb,x,1\nb,x,1\n"), "expected unique ids, found b in 2 rows")


@given(
    st.lists(st.tuples(ANYTHING, ANYTHING), min_size=1, max_size=30, unique_by=lambda row: row[0]), st.integers(1, 9)
)
@settings(max_examples=60)
def test_any_text_of_a_parquet_is_read_whatever_is_read_at_once(tmp_path_factory, rows, group):
    path = tmp_path_factory.getbasetemp() / "any.parquet"
    names, classes = map(list, zip(*rows, strict=True))
    # Zeros at the end, characters of several bytes, and one text far longer than the others.
    names[0] += "\0"
    names[-1] += "x" * 3_000
    table = pyarrow.table({"audiopath": names, "class": classes, "seconds": [1.0] * len(rows)})
    parquet.write_table(table, path, row_group_size=group)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_parquet, "ROWS_AT_ONCE", 4)
        manifest = read_manifest(path)
    assert manifest.columns["audiopath"].tolist() == names
    assert manifest.columns["class"].tolist() == classes
    assert manifest.classes.names[manifest.classes.codes].tolist() == classes
    assert sorted(manifest.classes.names.tolist()) == sorted(set(classes))


def test_categories_that_no_row_has_are_no_classes(tmp_path):
    path = tmp_path / "train.parquet"
    classes = pyarrow.DictionaryArray.from_arrays(pyarrow.array([2, 0], pyarrow.int8()), ["a", "none", "b"])
    parquet.write_table(pyarrow.table({"audiopath": ["1", "2"], "class": classes, "seconds": [1, 2]}), path)
    assert labels_from_manifest(read_manifest(path)).classes == ("a", "b")


def test_the_collection_of_garbage_goes_on_after_a_manifest(tmp_path):
    read_manifest(write(tmp_path, f"{HEADER}\na,x,1\n"))
    assert gc.isenabled()
    refused(write(tmp_path, f"{HEADER}\na,x\n"), "expected 3 fields in row 2, as in the header, found 2")
    assert gc.isenabled()


def test_only_some_classes_with_the_numbers_of_the_others(tmp_path):
    manifest = read_manifest(write(tmp_path, f"{HEADER}\n1.wav,b,1\n2.wav,a,2\n3.wav,c,3\n4.wav,a,4\n5.wav,c,5\n"))
    found, others = manifest.only(("a", "z"))
    assert others == {"b": 1, "c": 2}
    assert found.columns["audiopath"].tolist() == ["2.wav", "4.wav"]
    assert found.classes.names.tolist() == ["a"] and found.columns["seconds"].tolist() == [2, 4]
    assert len(manifest) == 5
    with pytest.raises(UserError, match=r"train\.csv: expected utterances of known classes, found only others"):
        manifest.only(["z"])
