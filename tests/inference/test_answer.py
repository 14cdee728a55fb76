"""The threshold of "none of these": a share of dev's utterances, no more and no fewer, has less."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lid_mapmix.inference.answer import dev_confidence, rejection_threshold
from lid_mapmix.scoring.calibration import Calibration
from lid_mapmix.scoring.choices import Kind
from lid_mapmix.scoring.files.own import write_scores
from lid_mapmix.utils.errors import UserError


def written(folder, tops):
    probabilities = np.stack([tops, 1 - np.asarray(tops)], axis=1)
    count = len(tops)
    write_scores(
        folder / "dev_scores.csv",
        ids=[f"u{number}" for number in range(count)],
        classes=("a", "b"),
        truth=["a"] * count,
        log_probabilities=np.log(probabilities),
        seconds=np.ones(count),
        group=[""] * count,
        source=[""] * count,
    )
    return folder / "dev_scores.csv"


@pytest.fixture(scope="module")
def tops():
    return np.random.default_rng(0).uniform(0.5, 0.99, 200)


@pytest.fixture(scope="module")
def confidence(tops, tmp_path_factory):
    return dev_confidence(written(tmp_path_factory.mktemp("scores"), tops), None)


@given(share=st.floats(0, 0.999))
def test_the_share_of_dev_is_rejected(tops, confidence, share):
    rejected = (tops < rejection_threshold(confidence, share) - 1e-8).mean()
    assert abs(rejected - share) <= 1 / len(tops) + 1e-9


def test_dev_is_calibrated_first(tmp_path):
    path = written(tmp_path, [0.8, 0.8])
    half = Calibration(Kind.TEMPERATURE, ("a", "b"), ((0.5, 0.0), (0.0, 0.5)), (0.0, 0.0), (0.5, 0.5))
    expected = 0.8**0.5 / (0.8**0.5 + 0.2**0.5)
    assert rejection_threshold(dev_confidence(path, half), 0.5) == pytest.approx(expected)


def test_dev_scores_of_another_checkpoint_are_not_taken(tmp_path):
    path = written(tmp_path, [0.8, 0.8, 0.3])
    for errors, is_own in ((1, True), (2, False)):
        numbers = np.eye(2), np.zeros(2), np.full(2, 0.5)
        calibration = Calibration.of(Kind.TEMPERATURE, ("a", "b"), *numbers, utterances=3, errors=errors)
        assert (dev_confidence(path, calibration) is not None) == is_own


def test_nothing_is_rejected_unasked(confidence):
    assert rejection_threshold(confidence, None) == 0
    assert rejection_threshold(None, None) == 0


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_shares_that_make_no_sense(confidence, share):
    with pytest.raises(UserError, match="fraction from 0"):
        rejection_threshold(confidence, share)


def test_without_dev_scores(tmp_path):
    assert dev_confidence(tmp_path / "dev_scores.csv", None) is None
    with pytest.raises(UserError, match=r"dev_scores\.csv"):
        rejection_threshold(None, 0.1)
