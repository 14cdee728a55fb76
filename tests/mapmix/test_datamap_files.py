import csv

import numpy as np
import pytest
from lid_mapmix.mapmix import datamap, datamap_files
from lid_mapmix.mapmix.datamap_files import (
    read_class_similarity,
    read_datamap,
    write_class_similarity,
    write_datamap,
)
from lid_mapmix.utils.errors import UserError

IDS = np.array(["a", "b,1", "c"])
CLASSES = np.array(["eng-gbr", "eng-usg", "spa-eur"])
REGIONS = np.array(["easy", "ambiguous", "hard"])
COLUMNS = {
    "audiopath": np.array(["a.wav", "b,1.wav", "č.wav"]),
    "class": CLASSES,
    "seconds": np.array([3.0, 10.25, 30.0]),
    "end": np.array([np.nan, 1.5, np.nan]),
    "id": IDS,
}
MEASURES = datamap.measures(
    np.array([[0.9, 0.5, 0.1], [0.8, 0.25, 0.2], [0.7, 1 / 3, 0.0]], np.float32),
    np.array([[1, 1, 0], [1, 0, 0], [1, 1, 0]], bool),
)


@pytest.fixture
def path(tmp_path):
    write_datamap(tmp_path / "datamap.csv", COLUMNS, MEASURES, REGIONS)
    return tmp_path / "datamap.csv"


def edited(path, old, new):
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    return path


def test_file_has_the_manifests_columns_then_the_measures(path):
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [*COLUMNS, *datamap_files._MAP_COLUMNS]
    assert rows[1] == {
        "audiopath": "b,1.wav",
        "class": "eng-usg",
        "seconds": "10.25",
        "end": "1.5",
        "id": "b,1",
        "confidence": "0.361111",
        "variability": "0.103935",
        "correctness": "0.666667",
        "threshold_closeness": "0.230710",
        "forgetfulness": "1",
        "epochs": "3",
        "region": "ambiguous",
    }
    assert (rows[0]["end"], rows[2]["forgetfulness"], rows[2]["audiopath"]) == ("", "", "č.wav")


def test_what_goes_in_comes_out(path):
    read = read_datamap(path)
    assert read.path == path
    assert read.ids.tolist() == IDS.tolist()
    assert read.classes.tolist() == CLASSES.tolist()
    assert read.regions.tolist() == REGIONS.tolist()
    for name, values in vars(MEASURES).items():
        np.testing.assert_allclose(getattr(read, name), values, atol=5e-7, err_msg=name)


def test_a_map_may_serve_as_manifest_of_the_next(path, tmp_path):
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    columns = {name: np.array(values) for name, values in zip(header, zip(*rows, strict=True), strict=True)}
    write_datamap(tmp_path / "again.csv", columns, MEASURES, REGIONS)
    assert (tmp_path / "again.csv").read_text().splitlines()[0] == path.read_text().splitlines()[0]


def test_regions_come_in_the_manifests_order(path):
    order = [2, 0, 1]
    assert read_datamap(path).regions_for(IDS[order], CLASSES[order]).tolist() == REGIONS[order].tolist()


@pytest.mark.parametrize(
    ("ids", "classes", "message"),
    [
        (np.array(["a", "b,1", "d"]), CLASSES, r"1 utterances are not in the map \(for example d\).*example c"),
        (IDS[:2], CLASSES[:2], r"1 utterances of the map are not in the manifest \(for example c\)"),
        (np.append(IDS, "zz"), np.append(CLASSES, "eng-gbr"), r"are not in the map \(for example zz\)"),
        (IDS, CLASSES[[1, 0, 2]], r"2 utterances have another class \(for example a\)"),
    ],
)
def test_map_of_another_manifest_is_refused(path, ids, classes, message):
    with pytest.raises(UserError, match=message) as caught:
        read_datamap(path).regions_for(ids, classes)
    assert "\n" not in str(caught.value)
    assert "Train the variant datamap" in str(caught.value)


def test_the_region_of_unread_utterances_had_another_name_in_version_0_1_0(path):
    assert read_datamap(edited(path, ",hard", ",unheard")).regions.tolist() == ["easy", "ambiguous", "unread"]
    assert read_datamap(edited(path, ",unheard", ",unread")).regions.tolist() == ["easy", "ambiguous", "unread"]


def test_broken_maps_are_refused(path, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_datamap(tmp_path / "absent.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(UserError, match=r"empty.csv: expected the data map, found an empty file"):
        read_datamap(tmp_path / "empty.csv")
    (tmp_path / "header.csv").write_text(path.read_text().splitlines()[0])
    with pytest.raises(UserError, match="no utterance"):
        read_datamap(tmp_path / "header.csv")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("variability", "variance", "without variability"),
        (",hard", ",difficult", "expected the regions easy, ambiguous, hard, found 'difficult'"),
        ("0.361111", "much", "numbers for confidence"),
        ("0.361111", "nan", "expected numbers for confidence, found 'nan'"),
        ("0.361111", "0.36,1111", "fields in row 3"),
        ('"b,1",', "a,", "each id once, found a 2 times"),
    ],
)
def test_edited_maps_are_refused(path, old, new, message):
    with pytest.raises(UserError, match=message):
        read_datamap(edited(path, old, new))


@pytest.mark.parametrize("epochs", ["nan", "2.5", "0", "inf"])
def test_epochs_that_are_no_count_are_refused(epochs, path):
    row = path.read_text().splitlines()[1]
    head, _, region = row.rsplit(",", 2)
    with pytest.raises(UserError, match=f"expected whole numbers for epochs, found '{epochs}'"):
        read_datamap(edited(path, row, f"{head},{epochs},{region}"))


@pytest.mark.parametrize("content", [b"PK\x03\x04\xff\xfe\x80", b'id,class\n"' + b"a" * 200_000])
def test_what_is_no_text_or_no_csv_is_named(content, tmp_path):
    path = tmp_path / "binary.csv"
    path.write_bytes(content)
    for read, subject in (
        (read_datamap, "data map"),
        (lambda each: read_class_similarity(each, ["a"]), "class similarity"),
    ):
        with pytest.raises(
            UserError, match=f"binary.csv: expected the {subject}.* as CSV in UTF-8, found something"
        ) as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_a_failed_write_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="zip"):
        write_datamap(tmp_path / "datamap.csv", COLUMNS, MEASURES, REGIONS[:2])
    assert not list(tmp_path.iterdir())


def test_chunks_leave_no_seam(path, tmp_path, monkeypatch):
    monkeypatch.setattr(datamap_files, "_CHUNK_ROWS", 2)
    write_datamap(tmp_path / "again.csv", COLUMNS, MEASURES, REGIONS)
    assert (tmp_path / "again.csv").read_bytes() == path.read_bytes()
    for length in (1, 2, 4):
        with pytest.raises(ValueError, match="zip"):
            write_datamap(tmp_path / "datamap.csv", COLUMNS | {"id": np.full(length, "a")}, MEASURES, REGIONS)


def test_whatever_a_field_holds_is_read_again(tmp_path):
    ids = np.array(['say "a"', "two\nlines", "100%s %"])
    write_datamap(tmp_path / "datamap.csv", COLUMNS | {"id": ids}, MEASURES, REGIONS)
    assert read_datamap(tmp_path / "datamap.csv").ids.tolist() == ids.tolist()


def test_class_similarity_is_the_mean_softmax_row(tmp_path):
    path, names = tmp_path / "class_similarity.csv", ["a", "b", "class"]
    sums = np.array([[3, 1, 0], [0, 0, 0], [2 / 3, 1 / 3, 2]])
    write_class_similarity(path, names, sums, np.array([4, 0, 3]))
    assert path.read_text().splitlines()[:3] == ["class,a,b,class", "a,0.75,0.25,0", "b,0,0,0"]
    expected = np.array([[0.75, 0.25, 0], [0, 0, 0], [2 / 9, 1 / 9, 2 / 3]])
    np.testing.assert_allclose(read_class_similarity(path, names), expected, rtol=1e-8)
    order = [2, 0, 1]
    reordered = read_class_similarity(path, [names[number] for number in order])
    np.testing.assert_allclose(reordered, expected[np.ix_(order, order)], rtol=1e-8)


def test_class_similarity_of_other_classes_is_refused(tmp_path):
    path = tmp_path / "class_similarity.csv"
    write_class_similarity(path, ["a", "b"], np.eye(2), np.ones(2, int))
    with pytest.raises(UserError, match="columns for exactly the classes a, c; b, c"):
        read_class_similarity(path, ["a", "c"])
    with pytest.raises(UserError, match="numbers of at least 0"):
        read_class_similarity(edited(path, "a,1", "a,-1"), ["a", "b"])
    with pytest.raises(UserError, match="numbers for a"):
        read_class_similarity(edited(path, "a,-1", "a,one"), ["a", "b"])
    with pytest.raises(UserError, match="rows for exactly the classes a, b; b"):
        read_class_similarity(edited(path, "\nb,0,1", ""), ["a", "b"])
    with pytest.raises(UserError, match="no such file"):
        read_class_similarity(tmp_path / "absent.csv", ["a"])
