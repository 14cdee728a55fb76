import csv
import json

import numpy as np
import pytest
from lid_mapmix.scoring.choices import FileFormat
from lid_mapmix.scoring.files import own as files
from lid_mapmix.scoring.files.formats import recognise
from lid_mapmix.utils.errors import UserError

CLASSES = ["eng-gbr", "eng-usg", "group"]
ARGUMENTS = {
    "ids": np.array(["a b", "b,1", "c"]),
    "classes": CLASSES,
    "truth": np.array(["eng-usg", "eng-gbr", "group"]),
    "log_probabilities": np.log(np.array([[0.2, 0.7, 0.1], [1 / 3, 1 / 2, 1 / 6], [0.25, 0.25, 0.5]])).astype(
        np.float32
    ),
    "seconds": np.array([3.0, 10.25, np.nan]),
    "group": np.array(["g", "g", ""]),
    "source": np.array(["mls14", "vast", ""]),
    "speaker": np.array(["anna", "", "b"]),
}


@pytest.fixture
def path(tmp_path):
    files.write_scores(tmp_path / "test_scores.csv", **ARGUMENTS)
    return tmp_path / "test_scores.csv"


def test_file_as_documented(path):
    assert path.read_text().splitlines()[:3] == [
        "id,class,prediction,seconds,group,source,speaker,eng-gbr,eng-usg,group",
        "a b,eng-usg,eng-usg,3,g,mls14,anna,-1.60943794,-0.356674939,-2.30258512",
        '"b,1",eng-gbr,eng-usg,10.25,g,vast,,-1.09861231,-0.693147182,-1.79175949',
    ]


def test_what_goes_in_comes_out(path):
    read = files.read_scores(path)
    assert read.path == path
    assert read.classes == tuple(CLASSES)
    for name in ("ids", "truth", "group", "source", "speaker"):
        assert getattr(read, name).tolist() == ARGUMENTS[name].tolist()
    np.testing.assert_array_equal(read.seconds, ARGUMENTS["seconds"])
    assert read.predictions.tolist() == ["eng-usg", "eng-usg", "group"]
    # 9 digits hold a float32 exactly.
    assert (read.log_probabilities.astype(np.float32) == ARGUMENTS["log_probabilities"]).all()
    assert read.truth_indices.tolist() == [1, 0, 2]
    np.testing.assert_allclose(read.probabilities.sum(axis=1), 1, rtol=1e-6)


def test_a_file_without_speakers_is_read(path):
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([*row[:6], *row[7:]] for row in rows)
    read = files.read_scores(path)
    assert read.classes == tuple(CLASSES) and read.speaker.tolist() == ["", "", ""]
    assert recognise(path).key is FileFormat.SCORES


def test_the_file_is_recognised(path):
    assert recognise(path).key is FileFormat.SCORES


def test_an_impossible_class_is_minus_infinity(tmp_path):
    with np.errstate(divide="ignore"):
        log_probabilities = np.log(np.eye(3))
    files.write_scores(tmp_path / "s.csv", **{**ARGUMENTS, "log_probabilities": log_probabilities})
    assert (files.read_scores(tmp_path / "s.csv").probabilities == np.eye(3)).all()


@pytest.mark.parametrize(
    "change",
    [
        {"log_probabilities": np.full((3, 3), np.nan)},
        {"log_probabilities": np.zeros((3, 2))},
        {"truth": np.array(["eng-usg", "eng-gbr", "unknown"])},
        {"source": np.array(["one"])},
    ],
)
def test_faults_of_the_caller_leave_no_file(tmp_path, change):
    with pytest.raises(ValueError, match="expected"):
        files.write_scores(tmp_path / "s.csv", **{**ARGUMENTS, **change})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("id,class", "name,class", "expected the columns id,class"),
        (",eng-gbr,eng-usg,group\n", "\n", "then one per class"),
        ("speaker,eng-gbr", "speaker,eng-usg", "then one per class"),
        ("-1.60943794", "much", "expected numbers"),
        ("-1.60943794", "nan", "found NaN"),
        ("-1.60943794,-0.356674939,-2.30258512", "-inf,-inf,-inf", "a row without a possible class"),
        ("10.25", "long", "expected a number in row 3"),
        ("\nc,", "\na b,", "a b twice"),
        ("-1.60943794", "-1,60943794", "fields in row 2"),
        ("a b,eng-usg", "a b,deu", "found deu"),
    ],
)
def test_edited_files_are_refused(path, old, new, message):
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=message) as caught:
        files.read_scores(path)
    assert "\n" not in str(caught.value)


def test_absent_and_empty_files_are_refused(path, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        files.read_scores(tmp_path / "absent.csv")
    path.write_text(path.read_text().splitlines()[0])
    with pytest.raises(UserError, match="no utterance"):
        files.read_scores(path)
    path.write_text("")
    with pytest.raises(UserError, match="an empty file"):
        files.read_scores(path)


def test_metrics_are_json_and_never_nan(tmp_path):
    path = tmp_path / "test_metrics.json"
    content = {"overall": {"acc": 0.5, "count": 4}, "by_source": {"č": {"acc": 1.0, "count": 1}}}
    files.write_metrics(path, content)
    assert json.loads(path.read_text(encoding="utf-8")) == content
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_metrics(path, {"overall": {"acc": float("nan")}})
    assert path.read_bytes() == before
    assert [*tmp_path.iterdir()] == [path]
