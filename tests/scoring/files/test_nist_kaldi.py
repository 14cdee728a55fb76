import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lid_mapmix.scoring.files import hard_labels as answers
from lid_mapmix.scoring.files import mapmix_csv as reference_csv
from lid_mapmix.scoring.files import nist_kaldi as exchange
from lid_mapmix.scoring.files import own as files
from lid_mapmix.scoring.files.formats import Format, recognise
from lid_mapmix.utils.errors import UserError

CLASSES = ("ara-acm", "qsl-rus", "por-brz")
TABLE = exchange.ScoreTable(CLASSES, np.array(["u1", "u2"]), np.array([[1.5, -np.inf, 0.25], [-2, 1e-9, np.inf]]))
ANSWERS = answers.Answers(np.array(["a b", "c"]), np.array(["x", "y"]), np.array(["x", "x"]))
REFERENCE = reference_csv.ReferenceScores(
    classes=CLASSES,
    ids=np.array(["a,b.wav", "c.wav", "d.wav"]),
    truth=np.array(["ara-acm", "qsl-rus", "por-brz"]),
    predictions=np.array(["ara-acm", "qsl-rus", "ara-acm"]),
    seconds=np.array([3.0, 10, 30.5]),
    probabilities=np.array([[0.7, 0.1, 0.2], [1 / 3, 1 / 2, 1 / 6], [1.0, 0, 0]]),
)


def write_s3prl(folder, which=ANSWERS):
    files.write_s3prl_predictions(folder, "test", which.ids, which.predictions, which.truth)
    return folder / "test_predict.txt"


@pytest.mark.parametrize(
    ("write", "read", "name", "form"),
    [
        (exchange.write_nist, exchange.read_nist, "s.tsv", Format.NIST),
        (exchange.write_pairs, exchange.read_pairs, "s.txt", Format.PAIRS),
    ],
)
def test_score_tables_are_read_as_written(write, read, name, form, tmp_path):
    write(tmp_path / name, TABLE)
    found = read(tmp_path / name)
    assert (found.classes, found.ids.tolist()) == (CLASSES, ["u1", "u2"])
    np.testing.assert_array_equal(found.values, TABLE.values)
    assert recognise(tmp_path / name) is form


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.floats(allow_nan=False, width=32), min_size=2, max_size=2), min_size=1, max_size=5))
def test_nine_digits_hold_any_float32(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("t") / "s.tsv"
    ids = np.array([f"u{number}" for number in range(len(rows))])
    table = exchange.ScoreTable(("a", "b"), ids, np.array(rows, dtype=np.float64))
    for write, read in ((exchange.write_nist, exchange.read_nist), (exchange.write_pairs, exchange.read_pairs)):
        write(path, table)
        np.testing.assert_array_equal(read(path).values.astype(np.float32), np.array(rows, dtype=np.float32))


def test_files_as_documented(tmp_path):
    exchange.write_nist(tmp_path / "s.tsv", TABLE)
    assert (tmp_path / "s.tsv").read_text().splitlines()[:2] == [
        "segmentid\tara-acm\tqsl-rus\tpor-brz",
        "u1\t1.5\t-inf\t0.25",
    ]
    exchange.write_pairs(tmp_path / "s.txt", TABLE)
    assert (tmp_path / "s.txt").read_text().splitlines()[:2] == ["u1 ara-acm 1.5", "u1 qsl-rus -inf"]
    answers.write_trn(tmp_path / "lid.trn", ANSWERS)
    assert (tmp_path / "lid.trn").read_text() == "x\tx\ta b\ny\tx\tc\n"


def test_answers_are_read_as_written(tmp_path):
    answers.write_trn(tmp_path / "lid.trn", ANSWERS)
    predict = write_s3prl(tmp_path)
    truth = tmp_path / "test_truth.txt"
    for found in (answers.read_trn(tmp_path / "lid.trn"), answers.read_s3prl(predict), answers.read_s3prl(truth)):
        for name in ("ids", "truth", "predictions"):
            assert getattr(found, name).tolist() == getattr(ANSWERS, name).tolist()
    assert recognise(tmp_path / "lid.trn") is Format.TRN
    assert recognise(predict) is recognise(truth) is Format.S3PRL


@pytest.mark.parametrize("classes", [None, CLASSES])
def test_the_published_codes_csv(classes, tmp_path):
    path = tmp_path / "results.csv"
    reference_csv.write_reference_csv(path, REFERENCE)
    with path.open(newline="") as file:
        assert next(iter(csv.DictReader(file)))["probability"] == "[0.7, 0.1, 0.2]"
    found = reference_csv.read_reference_csv(path, classes)
    assert found.classes == CLASSES
    for name in ("ids", "truth", "predictions", "seconds", "probabilities"):
        np.testing.assert_array_equal(getattr(found, name), getattr(REFERENCE, name))
    assert recognise(path) is Format.REFERENCE


def test_our_own_format_is_recognised(tmp_path):
    files.write_scores(
        tmp_path / "test_scores.csv",
        ids=["a"],
        classes=["x", "y"],
        truth=["x"],
        log_probabilities=np.log([[0.5, 0.5]]),
        seconds=np.array([3.0]),
        group=[""],
        source=[""],
    )
    assert recognise(tmp_path / "test_scores.csv") is Format.SCORES


def test_utterances_named_by_numbers(tmp_path):
    (tmp_path / "lid.trn").write_text("x\ty\t123\n")
    (tmp_path / "scores.txt").write_text("u\tx\t123\n")
    assert recognise(tmp_path / "lid.trn") is Format.TRN
    assert recognise(tmp_path / "scores.txt") is Format.PAIRS


def test_nothing_in_a_probability_is_executed(tmp_path):
    path = tmp_path / "results.csv"
    evil = f"[__import__('pathlib').Path('{tmp_path / 'made'}').touch(), 1]"
    path.write_text(f'{",".join(reference_csv.REFERENCE_COLUMNS)}\na.wav,3,x,x,"{evil}"\n')
    with pytest.raises(UserError, match="list of probabilities"):
        reference_csv.read_reference_csv(path)
    assert not (tmp_path / "made").exists()


HEADER = ",".join(reference_csv.REFERENCE_COLUMNS)


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (exchange.read_nist, "", "empty file"),
        (exchange.read_nist, "segmentid ara qsl\n", "header of segmentid"),
        (exchange.read_nist, "segmentid\ta\ta\n", "header of segmentid"),
        (exchange.read_nist, "segmentid\ta\tb\n", "no utterance"),
        (exchange.read_nist, "segmentid\ta\tb\nu\t1\n", "3 fields in row 2, found 2"),
        (exchange.read_nist, "segmentid\ta\tb\nu\t1\tx\n", "a number in row 2, found 'x'"),
        (exchange.read_nist, "segmentid\ta\tb\nu\t1\tnan\n", "a number in row 2"),
        (exchange.read_nist, "segmentid\ta\tb\nu\t1\t2\nu\t1\t2\n", "u twice"),
        (exchange.read_pairs, "u a 1\nu b\n", "in line 2"),
        (exchange.read_pairs, "u a one\n", "a number in row 1"),
        (exchange.read_pairs, "u a 1\nu a 2\n", "found two"),
        (exchange.read_pairs, "u a 1\nv b 2\n", "found none of u for b"),
        (answers.read_trn, "a\tb\n", "line 1"),
        (answers.read_trn, "a\tb\tu\na\tb\tu\n", "u twice"),
        (reference_csv.read_reference_csv, "audiopath,class\n", "expected the columns"),
        (reference_csv.read_reference_csv, f"{HEADER}\n", "no utterance"),
        (reference_csv.read_reference_csv, f"{HEADER}\na,3,x\n", "5 fields in row 2, found 3"),
        (reference_csv.read_reference_csv, f'{HEADER}\na,3,x,x,"[1, nan]"\n', "list of probabilities in row 2"),
        (reference_csv.read_reference_csv, f"{HEADER}\na,3,x,x,1\n", "list of probabilities in row 2"),
        (reference_csv.read_reference_csv, f'{HEADER}\na,3,x,x,"[1]"\nb,3,x,x,"[1, 0]"\n', "as many probabilities"),
        (
            reference_csv.read_reference_csv,
            f'{HEADER}\na,3,x,x,"[1, 0]"\nb,3,x,y,"[1, 0]"\n',
            "the prediction x in row 3",
        ),
        (reference_csv.read_reference_csv, f'{HEADER}\na,3,x,x,"[1, 0, 0]"\n', "Give the labels"),
        (reference_csv.read_reference_csv, f'{HEADER}\na,long,x,x,"[1]"\n', "a number in row 2"),
        (recognise, "some text of no format\n", "one of the formats"),
        (recognise, "", "one of the formats"),
    ],
)
def test_damaged_files_are_one_line(read, content, message, tmp_path):
    path = tmp_path / "file"
    path.write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize(
    "read", [exchange.read_nist, exchange.read_pairs, reference_csv.read_reference_csv, answers.read_trn, recognise]
)
def test_files_that_are_none(read, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read(tmp_path / "none")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(UserError, match=r"UTF-8|formats"):
        read(tmp_path / "binary")


def test_the_labels_do_not_fit(tmp_path):
    path = tmp_path / "results.csv"
    reference_csv.write_reference_csv(path, REFERENCE)
    with pytest.raises(UserError, match="2 classes of the labels"):
        reference_csv.read_reference_csv(path, CLASSES[:2])
    with pytest.raises(UserError, match="found por-brz"):
        reference_csv.read_reference_csv(path, ("ara-acm", "qsl-rus", "x"))
    with pytest.raises(UserError, match="Check the order of the labels"):
        reference_csv.read_reference_csv(path, CLASSES[::-1])


def test_two_files_of_s3prl_that_do_not_fit(tmp_path):
    predict = write_s3prl(tmp_path)
    predict.write_text("a b x\n")
    with pytest.raises(UserError, match="found c in one"):
        answers.read_s3prl(predict)
    predict.write_text("alone\n")
    with pytest.raises(UserError, match="'id label' in line 1"):
        answers.read_s3prl(predict)
    (tmp_path / "test_truth.txt").unlink()
    with pytest.raises(UserError, match="ends in"):
        answers.read_s3prl(tmp_path / "answers.txt")


def test_names_that_a_format_cannot_hold(tmp_path):
    spaced = exchange.ScoreTable(("a b",), np.array(["u"]), np.zeros((1, 1)))
    with pytest.raises(UserError, match="Write another format"):
        exchange.write_pairs(tmp_path / "s.txt", spaced)
    exchange.write_nist(tmp_path / "s.tsv", spaced)
    assert exchange.read_nist(tmp_path / "s.tsv").classes == ("a b",)
    with pytest.raises(UserError, match="Write another format"):
        answers.write_trn(tmp_path / "lid.trn", answers.Answers(np.array(["a\tb"]), np.array(["x"]), np.array(["y"])))
    with pytest.raises(ValueError, match="NaN"):
        exchange.write_nist(tmp_path / "s.tsv", exchange.ScoreTable(("a",), np.array(["u"]), np.full((1, 1), np.nan)))
