import csv

import numpy as np
import pytest
from lid_mapmix.mapmix.datamap import measures
from lid_mapmix.mapmix.label_noise import LabelNoise
from lid_mapmix.mapmix.suspects import find_suspects, write_suspects

CLASSES = ("eng-gbr", "eng-usg", "spa-eur")
GOLD = np.array([0, 0, 0, 1, 1])
PREDICTIONS = np.array([[0, 1, 2, 1, 1], [0, 0, 1, 2, 1], [0, 0, 2, 0, 1]], np.uint8)
PROBABILITIES = np.array(
    [[0.5, 0.3, 0.1, 0.4, 0.6], [0.7, 0.5, 0.01, 0.2, 0.7], [0.9, 0.6, 0.001, 0.1, 0.8]], np.float32
)
NOISE = LabelNoise(
    right=np.array([0.9, 0.8, 0.1, 0.4, np.nan]), preferred=np.array([1, 1, 2, 0, 0]), true_classes=np.eye(3)
)


def test_the_least_probable_label_comes_first():
    found = find_suspects(NOISE, PREDICTIONS, 3)
    assert found.utterances.tolist() == [2, 3, 1]
    assert found.right.tolist() == [0.1, 0.4, 0.8]
    assert found.preferred.tolist() == [2, 0, 1]
    assert found.fractions.tolist() == pytest.approx([2 / 3, 1 / 3, 1 / 3])


def test_without_a_count_the_probably_wrong_are_found():
    assert find_suspects(NOISE, PREDICTIONS).utterances.tolist() == [2, 3]


def test_a_large_count_has_everyone_that_was_read():
    assert find_suspects(NOISE, PREDICTIONS, 99).utterances.tolist() == [2, 3, 1, 0]


def test_equals_keep_their_order():
    noise = LabelNoise(right=np.full(5, 0.3), preferred=NOISE.preferred, true_classes=np.eye(3))
    assert find_suspects(noise, PREDICTIONS, 4).utterances.tolist() == [0, 1, 2, 3]


def test_the_file_has_a_row_per_suspect(tmp_path):
    columns = {
        "id": np.array(["a", "b", "c", "d,1", "e"]),
        "audiopath": np.array(["a.wav", "b.wav", "c.wav", "d.wav", "e.wav"]),
        "class": np.array(CLASSES)[GOLD],
    }
    measured = measures(PROBABILITIES, PREDICTIONS == GOLD)
    regions = np.array(["easy", "ambiguous", "hard", "ambiguous", "easy"])
    found = find_suspects(NOISE, PREDICTIONS, 4)
    keywords = {"manifest_columns": columns, "classes": CLASSES, "measures": measured}
    write_suspects(tmp_path / "suspects.csv", found, **keywords, regions=regions)
    with (tmp_path / "suspects.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {
        **{"rank": "1", "id": "c", "audiopath": "c.wav", "class": "eng-gbr", "right": "0.100000"},
        **{"preferred": "spa-eur", "preferred_fraction": "0.666667", "confidence": "0.037000"},
        **{"variability": "0.044699", "correctness": "0.000000", "region": "hard"},
    }
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4"]
    with pytest.raises(IndexError):
        write_suspects(tmp_path / "broken.csv", found, **keywords, regions=regions[:2])
    assert [path.name for path in tmp_path.iterdir()] == ["suspects.csv"]
