from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lid_mapmix.scoring.choices import Values
from lid_mapmix.scoring.files.formats import recognise
from lid_mapmix.scoring.files.system_output import SystemOutput
from lid_mapmix.scoring.files.toolkits import (
    KaldiLines,
    LidTrn,
    NistTable,
    write_s3prl_predictions,
)
from lid_mapmix.utils.errors import UserError

NIST, KALDI, TRN = NistTable(), KaldiLines(), LidTrn()
CLASSES = ("ara-acm", "qsl-rus", "por-brz")


def made(ids, classes, values, **changes):
    """Return an output whose ratios, and log-likelihoods, are the values: what a file of either holds."""
    values, ids = np.array(values, dtype=np.float64), np.array(ids)
    predictions = np.array(classes)[values.argmax(axis=1)]
    nothing = np.full(len(ids), np.nan)
    output = SystemOutput(Path("made"), NIST, tuple(classes), ids, predictions, nothing, None, values, values)
    return replace(output, **changes)


TABLE = made(["u1", "u2"], CLASSES, [[1.5, -np.inf, 0.25], [-2, 1e-9, np.inf]])
ANSWERS = made(["a b", "c"], ("x", "y"), np.zeros((2, 2)), truth=np.array(["x", "y"]), predictions=np.array(["x", "x"]))


@pytest.mark.parametrize(("form", "name"), [(NIST, "s.tsv"), (KALDI, "s.txt")])
def test_score_tables_are_read_as_written(form, name, tmp_path):
    form.write(tmp_path / name, TABLE)
    found = form.read(tmp_path / name, Values.RATIOS)
    assert (found.classes, found.ids.tolist()) == (CLASSES, ["u1", "u2"])
    np.testing.assert_array_equal(found.ratios, TABLE.ratios)
    assert recognise(tmp_path / name).key is form.key


POSSIBLE = st.lists(st.floats(allow_nan=False, width=32), min_size=2, max_size=2).filter(lambda row: max(row) > -np.inf)


@settings(max_examples=20, deadline=None)
@given(st.lists(POSSIBLE, min_size=1, max_size=5))
def test_nine_digits_hold_any_float32(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("t") / "s.tsv"
    table = made([f"u{number}" for number in range(len(rows))], ("a", "b"), rows)
    for form in (NIST, KALDI):
        form.write(path, table)
        found = form.read(path, Values.RATIOS).ratios
        np.testing.assert_array_equal(found.astype(np.float32), np.array(rows, dtype=np.float32))


def test_files_as_documented(tmp_path):
    NIST.write(tmp_path / "s.tsv", TABLE)
    assert (tmp_path / "s.tsv").read_text().splitlines()[:2] == [
        "segmentid\tara-acm\tqsl-rus\tpor-brz",
        "u1\t1.5\t-inf\t0.25",
    ]
    KALDI.write(tmp_path / "s.txt", TABLE)
    assert (tmp_path / "s.txt").read_text().splitlines()[:2] == ["u1 ara-acm 1.5", "u1 qsl-rus -inf"]
    TRN.write(tmp_path / "lid.trn", ANSWERS)
    assert (tmp_path / "lid.trn").read_text() == "x\tx\ta b\ny\tx\tc\n"


def test_answers_are_read_as_written(tmp_path):
    TRN.write(tmp_path / "lid.trn", ANSWERS)
    found = TRN.read(tmp_path / "lid.trn", Values.LIKELIHOODS)
    for name in ("ids", "truth", "predictions"):
        assert getattr(found, name).tolist() == getattr(ANSWERS, name).tolist()
    assert recognise(tmp_path / "lid.trn").key is TRN.key


def test_utterances_named_by_numbers(tmp_path):
    (tmp_path / "lid.trn").write_text("x\ty\t123\n")
    (tmp_path / "scores.txt").write_text("u\tx\t123\n")
    assert recognise(tmp_path / "lid.trn").key is TRN.key
    assert recognise(tmp_path / "scores.txt").key is KALDI.key


@pytest.mark.parametrize(
    ("form", "content", "message"),
    [
        (NIST, "", "empty file"),
        (NIST, "segmentid ara qsl\n", "header of segmentid"),
        (NIST, "segmentid\ta\ta\n", "header of segmentid"),
        (NIST, "segmentid\ta\tb\n", "no utterance"),
        (NIST, "segmentid\ta\tb\nu\t1\n", "3 fields in row 2, found 2"),
        (NIST, "segmentid\ta\tb\nu\t1\tx\n", "a number in row 2, found 'x'"),
        (NIST, "segmentid\ta\tb\nu\t1\tnan\n", "a number in row 2"),
        (NIST, "segmentid\ta\tb\nu\t1\t2\nu\t1\t2\n", "u twice"),
        (KALDI, "u a 1\nu b\n", "in line 2"),
        (KALDI, "u a one\n", "a number in row 1"),
        (KALDI, "u a 1\nu a 2\n", "found two"),
        (KALDI, "u a 1\nv b 2\n", "found none of u for b"),
        (TRN, "a\tb\n", "line 1"),
        (TRN, "a\tb\tu\na\tb\tu\n", "u twice"),
    ],
)
def test_damaged_files_are_one_line(form, content, message, tmp_path):
    path = tmp_path / "file"
    path.write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        form.read(path, Values.LIKELIHOODS)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize("form", [NIST, KALDI, TRN])
def test_files_that_are_none(form, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        form.read(tmp_path / "none", Values.LIKELIHOODS)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(UserError, match="UTF-8"):
        form.read(tmp_path / "binary", Values.LIKELIHOODS)


def test_s3prl_files_have_an_id_and_a_label_a_line(tmp_path):
    write_s3prl_predictions(tmp_path, "dev", ["a", "b"], ["x", "y"], np.array(["x", "x"]))
    assert (tmp_path / "dev_predict.txt").read_text() == "a x\nb y\n"
    assert (tmp_path / "dev_truth.txt").read_text() == "a x\nb x\n"
    with pytest.raises(ValueError, match="zip"):
        write_s3prl_predictions(tmp_path, "test", ["a", "b"], ["x"], ["x", "x"])
    assert not list(tmp_path.glob("*test*"))


def test_a_class_name_with_blanks_is_one_word_in_s3prl_files(tmp_path):
    write_s3prl_predictions(tmp_path, "dev", ["a b", "c"], ["High German", "High_German"], ["x y", "High German"])
    assert (tmp_path / "dev_predict.txt").read_text() == "a b High_German_\nc High_German\n"
    assert (tmp_path / "dev_truth.txt").read_text() == "a b x_y\nc High_German_\n"


def test_names_that_a_format_cannot_hold(tmp_path):
    spaced = made(["u"], ("a b", "c"), [[0, 0]])
    with pytest.raises(UserError, match="Use another format"):
        KALDI.write(tmp_path / "s.txt", spaced)
    NIST.write(tmp_path / "s.tsv", spaced)
    assert NIST.read(tmp_path / "s.tsv", Values.LIKELIHOODS).classes == ("a b", "c")
    with pytest.raises(UserError, match="Use another format"):
        TRN.write(tmp_path / "lid.trn", made(["a\tb"], ("x", "y"), [[1, 0]], truth=np.array(["y"])))
    with pytest.raises(ValueError, match="NaN"):
        NIST.write(tmp_path / "s.tsv", made(["u"], ("a", "b"), [[np.nan, 0]]))
