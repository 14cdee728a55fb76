import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lid_mapmix.mapmix.cartography import write_td_metrics
from lid_mapmix.mapmix.datamap import measures
from reference.dynamics import measures_of

FIELDS = ["guid", "index", "threshold_closeness", "confidence", "variability", "correctness", "forgetfulness"]


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_case_by_hand(tmp_path):
    probabilities = np.array([[0.5, 0.25], [0.75, 0.25]], np.float32)
    measured = measures(probabilities, np.array([[True, False], [False, False]]))
    write_td_metrics(tmp_path / "td_metrics.jsonl", np.array(["a", "č\n"]), measured)
    assert (tmp_path / "td_metrics.jsonl").read_text().splitlines()[0] == (
        '{"guid":"a","index":0,"threshold_closeness":0.234375,"confidence":0.625,"variability":0.125,"correctness":1,'
        '"forgetfulness":1}'
    )
    never_right = lines(tmp_path / "td_metrics.jsonl")[1]
    assert never_right == dict(zip(FIELDS, ["č\n", 1, 0.1875, 0.25, 0.0, 0, 1000], strict=True))


@given(seed=st.integers(0, 2**32), epochs=st.integers(1, 12))
def test_correctness_is_a_count(tmp_path_factory, seed, epochs):
    generator = np.random.default_rng(seed)
    probabilities, correct = generator.random((epochs, 9)), generator.random((epochs, 9)) < 0.5
    path = tmp_path_factory.mktemp("cartography") / "td_metrics.jsonl"
    write_td_metrics(path, np.arange(9).astype(str), measures(probabilities, correct))
    for number, found in enumerate(lines(path)):
        assert list(found) == FIELDS
        expected = measures_of(probabilities[:, number], correct[:, number])
        assert (found["guid"], found["index"]) == (str(number), number)
        assert found["correctness"] == correct[:, number].sum()
        assert isinstance(found["correctness"], int)
        assert found["forgetfulness"] == (1000 if expected["forgetfulness"] is None else expected["forgetfulness"])
        for name in ("threshold_closeness", "confidence", "variability"):
            assert found[name] == pytest.approx(expected[name], abs=1e-9)


def test_a_failed_write_leaves_nothing(tmp_path):
    measured = measures(np.zeros((1, 3)), np.zeros((1, 3), bool))
    with pytest.raises(ValueError, match="zip"):
        write_td_metrics(tmp_path / "td_metrics.jsonl", np.array(["a"]), measured)
    assert not list(tmp_path.iterdir())
