import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lid_mapmix.mapmix.datamap import measures
from lid_mapmix.mapmix.suspects import NO_CLASS, find_suspects, preferred_classes, surprise, write_suspects
from reference.suspects import preferred_of, surprise_of

CLASSES = ("eng-gbr", "eng-usg", "spa-eur")
# The third is labelled 0 and taken for 2; the last is always right.
GOLD = np.array([0, 0, 0, 1, 1])
PREDICTIONS = np.array([[0, 1, 2, 1, 1], [0, 0, 1, 2, 1], [0, 0, 2, 0, 1]], np.uint8)
PROBABILITIES = np.array(
    [[0.5, 0.3, 0.1, 0.4, 0.6], [0.7, 0.5, 0.01, 0.2, 0.7], [0.9, 0.6, 0.001, 0.1, 0.8]], np.float32
)


@given(st.integers(0, 2**32), st.integers(1, 7), st.integers(2, 5), st.integers(1, 30))
def test_as_counted_one_by_one(seed, epochs, classes, count):
    generator = np.random.default_rng(seed)
    target_classes = generator.integers(classes, size=count)
    predictions = generator.integers(classes, size=(epochs, count), dtype=np.uint8)
    probabilities = generator.random((epochs, count), dtype=np.float32) ** 8
    preferred, shares = preferred_classes(predictions, target_classes, classes)
    expected = [
        preferred_of(answers, label) for answers, label in zip(predictions.T.tolist(), target_classes, strict=True)
    ]
    assert preferred.tolist() == [NO_CLASS if name is None else name for name, _ in expected]
    assert shares.tolist() == pytest.approx([share for _, share in expected])
    doubt = surprise(probabilities, target_classes, classes)
    np.testing.assert_allclose(doubt, surprise_of(probabilities.T.tolist(), target_classes.tolist()), atol=1e-9)


def test_an_utterance_that_is_refused_comes_first():
    found = find_suspects(PROBABILITIES, PREDICTIONS, GOLD, 3, 2)
    assert found.utterances.tolist() == [2, 3]
    # Class 2 and class 0 were each preferred to class 1 once: the later holds.
    assert found.preferred.tolist() == [2, 0]
    assert found.fractions.tolist() == pytest.approx([2 / 3, 1 / 3])
    assert len(find_suspects(PROBABILITIES, PREDICTIONS, GOLD, 3, 99).utterances) == 5


def test_a_class_learnt_late_does_not_fill_the_list():
    # Nothing of class 1 is likely yet, and its own are all alike; one of class 0 stands out.
    probabilities = np.array([[0.9, 0.9, 0.9, 0.1, 0.01, 0.01, 0.01, 0.01]])
    target_classes = np.repeat([0, 1], 4)
    found = find_suspects(probabilities, target_classes[None], target_classes, 2, 1)
    assert found.utterances.tolist() == [3]
    assert found.preferred.tolist() == [NO_CLASS]


def test_a_probability_of_zero_is_finite_and_equals_keep_their_order():
    found = find_suspects(np.zeros((2, 4), np.float32), np.ones((2, 4), int), np.zeros(4, int), 2, 4)
    assert found.utterances.tolist() == [0, 1, 2, 3]
    assert np.isfinite(found.surprise).all()


def test_the_file_has_a_row_a_suspect(tmp_path):
    columns = {
        "id": np.array(["a", "b", "c", "d,1", "e"]),
        "audiopath": np.array(["a.wav", "b.wav", "c.wav", "d.wav", "e.wav"]),
        "class": np.array(CLASSES)[GOLD],
    }
    measured = measures(PROBABILITIES, PREDICTIONS == GOLD)
    regions = np.array(["easy", "ambiguous", "hard", "ambiguous", "easy"])
    found = find_suspects(PROBABILITIES, PREDICTIONS, GOLD, 3, 5)
    keywords = {"manifest_columns": columns, "classes": CLASSES, "measures": measured}
    write_suspects(tmp_path / "suspects.csv", found, **keywords, regions=regions)
    with (tmp_path / "suspects.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] | {"surprise": ""} == {
        **{"rank": "1", "id": "c", "audiopath": "c.wav", "class": "eng-gbr", "preferred": "spa-eur"},
        **{"preferred_fraction": "0.666667", "surprise": "", "confidence": "0.037000", "variability": "0.044699"},
        **{"correctness": "0.000000", "region": "hard"},
    }
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert {row["id"]: row["preferred"] for row in rows}["e"] == ""
    with pytest.raises(IndexError):
        write_suspects(tmp_path / "broken.csv", found, **keywords, regions=regions[:2])
    assert [path.name for path in tmp_path.iterdir()] == ["suspects.csv"]


def test_epochs_not_heard_count_for_nothing_and_the_never_heard_are_no_suspects():
    target_classes = np.array([0, 0, 0, 1])
    whole = np.array([[0.5, 0.25, 0.9, 0.5], [0.5, 0.25, 0.9, 0.5]], np.float32)
    gaps = whole.copy()
    gaps[1, 0] = np.nan
    np.testing.assert_allclose(surprise(gaps, target_classes, 2), surprise(whole, target_classes, 2), atol=1e-6)
    gaps[:, 2] = np.nan
    doubt = surprise(gaps, target_classes, 2)
    # ln 2 and ln 4 differ from their mean by half of ln 2.
    np.testing.assert_allclose(doubt[:2], [-np.log(2) / 2, np.log(2) / 2], atol=1e-6)
    assert np.isnan(doubt[2])
    found = find_suspects(gaps, np.zeros((2, 4), int), target_classes, 2, 4)
    assert found.utterances.tolist() == [1, 3, 0]
