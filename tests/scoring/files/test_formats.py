import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lid_mapmix.scoring.choices import FileFormat
from lid_mapmix.scoring.files.formats import FORMATS, format_of, read_output, recognise, write_output
from lid_mapmix.scoring.files.own import ScoresCsv
from lid_mapmix.scoring.files.system_output import SystemOutput
from lid_mapmix.utils.errors import UserError
from scipy.special import log_softmax

NAMES = {
    FileFormat.TRN: "lid.trn",
    FileFormat.NIST: "s.tsv",
    FileFormat.KALDI: "s.txt",
}
# What is in names now and then, and what formats trip over.
SIGNS = st.sampled_from([*"abé,;\"'# \t\n\r-_/.0\\", "\ufeff", "\x85", "\u2028", "\xa0"])
TEXTS = st.text(SIGNS, min_size=1, max_size=4)
FINITE = st.floats(-60, 60)


def made(ids, classes, values, truth=None):
    values = log_softmax(np.array(values, dtype=np.float64), axis=1)
    predictions = np.array(classes)[values.argmax(axis=1)]
    return SystemOutput(
        path=Path("made"),
        format=ScoresCsv(),
        classes=tuple(classes),
        ids=np.array(ids),
        predictions=predictions,
        truth=predictions[::-1] if truth is None else truth,
        log_likelihoods=values,
        seconds=np.array([3.0, np.nan, *range(len(ids))])[: len(ids)],
        columns={"group": np.array(["g"] * len(ids))},
    )


@st.composite
def outputs(draw, names=TEXTS):
    ids = draw(st.lists(names, min_size=1, max_size=5, unique=True))
    classes = draw(st.lists(names, min_size=2, max_size=4, unique=True))
    rows = st.lists(FINITE, min_size=len(classes), max_size=len(classes))
    return made(ids, classes, draw(st.lists(rows, min_size=len(ids), max_size=len(ids))))


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.key)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(outputs())
def test_any_name_is_kept_or_refused(form, output):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / NAMES.get(form.key, "s.csv")
        try:
            write_output(path, form, output)
        except UserError as error:
            assert "Use another format" in str(error)
            assert not list(Path(folder).iterdir())
            return
        assert [*Path(folder).iterdir()] == [path]
        check_same(output, read_output(path), form)


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.key)
@settings(max_examples=30, deadline=None)
@given(outputs(st.text(st.sampled_from("abé-_./"), min_size=1, max_size=4)))
def test_plain_names_are_never_refused(form, output):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / NAMES.get(form.key, "s.csv")
        write_output(path, form, output)
        check_same(output, read_output(path), form)


def check_same(output, found, form):
    assert found.ids.tolist() == output.ids.tolist()
    if form.key in (FileFormat.NIST, FileFormat.KALDI):
        assert found.truth is None and not form.has_truth
    else:
        assert found.truth.tolist() == output.truth.tolist()
    if form.key is FileFormat.TRN:
        assert found.log_likelihoods is None and not form.has_scores
        assert found.predictions.tolist() == output.predictions.tolist()
        return
    assert found.classes == output.classes
    np.testing.assert_allclose(np.exp(found.log_likelihoods), np.exp(output.log_likelihoods), rtol=1e-6, atol=1e-8)
    if form.key is FileFormat.SCORES:
        np.testing.assert_array_equal(found.seconds, output.seconds)


@pytest.mark.parametrize("form", [form for form in FORMATS if form.has_scores], ids=lambda form: form.key)
def test_certainty_survives(form, tmp_path):
    with np.errstate(divide="ignore"):
        output = made(["u", "v"], ["a", "b", "c"], np.log([[1, 0, 0], [0, 0.5, 0.5]]))
    write_output(tmp_path / "s", form, output)
    np.testing.assert_array_equal(
        np.exp(read_output(tmp_path / "s").log_likelihoods).round(8), [[1, 0, 0], [0, 0.5, 0.5]]
    )


def test_what_is_not_known_is_refused(tmp_path):
    output = made(["u"], ["a"], [[0.0]])
    with pytest.raises(UserError, match="at least 2 classes"):
        write_output(tmp_path / "s", format_of(FileFormat.NIST), output)
    with pytest.raises(UserError, match="found x of u"):
        write_output(tmp_path / "s", ScoresCsv(), made(["u"], ["a"], [[0.0]], truth=np.array(["x"])))
    assert not list(tmp_path.iterdir())


def test_each_format_has_one_class_and_a_name_of_its_own():
    assert {form.key for form in FORMATS} == set(FileFormat) and len(FORMATS) == len(FileFormat)
    assert len({form.name for form in FORMATS}) == len(FORMATS)


@pytest.mark.parametrize("content", [b"some text of no format\n", b"", b"\xff\xfe\x00\x80"])
def test_what_is_in_no_format_is_one_line(content, tmp_path):
    path = tmp_path / "file"
    with pytest.raises(UserError, match="no such file"):
        recognise(path)
    path.write_bytes(content)
    with pytest.raises(UserError, match="one of the formats") as caught:
        recognise(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
