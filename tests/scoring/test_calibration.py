import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lid_mapmix.scoring.calibration import apply_temperature, fit_temperature
from sklearn.linear_model import LogisticRegression


def overconfident(temperature, count=20_000, classes=4, seed=0):
    """Return log-probabilities that are `temperature` times too steep, and truths drawn from the right ones."""
    generator = np.random.default_rng(seed)
    right = np.log(generator.dirichlet(np.ones(classes), count))
    uniform = generator.random(count)
    truth = (np.exp(right).cumsum(axis=1) < uniform[:, None]).sum(axis=1).clip(max=classes - 1)
    return apply_temperature(right, 1 / temperature), truth


@pytest.mark.parametrize("temperature", [0.3, 0.7, 1.0, 2.0, 5.0])
def test_the_temperature_that_was_put_in_is_found(temperature):
    assert fit_temperature(*overconfident(temperature)) == pytest.approx(temperature, rel=0.03)


def test_two_classes_agree_with_logistic_regression_of_scikit_learn():
    scores, truth = overconfident(2.0, count=3000, classes=2)
    difference = (scores[:, 1] - scores[:, 0])[:, None]
    slope = LogisticRegression(C=1e9, fit_intercept=False, tol=1e-9).fit(difference, truth).coef_.item()
    assert fit_temperature(scores, truth) == pytest.approx(1 / slope, rel=1e-3)


@settings(deadline=None)
@given(seed=st.integers(0, 999), temperature=st.floats(0.02, 50))
def test_it_changes_no_answer_and_rows_sum_to_one(seed, temperature):
    scores, _ = overconfident(1.0, count=20, seed=seed)
    calibrated = apply_temperature(scores, temperature)
    assert (calibrated.argmax(axis=1) == scores.argmax(axis=1)).all()
    np.testing.assert_allclose(np.exp(calibrated).sum(axis=1), 1)


def test_a_probability_of_zero_is_no_reason_to_fail():
    scores = np.array([[0.0, -np.inf], [-np.inf, 0.0], [np.log(0.6), np.log(0.4)]])
    truth = np.array([0, 0, 1])
    assert np.isfinite(fit_temperature(scores, truth))
    assert np.isfinite(apply_temperature(scores, 3.0)).all()


def test_faults_of_the_caller():
    with pytest.raises(ValueError, match="at least 1, found 0"):
        fit_temperature(np.zeros((0, 2)), np.zeros(0, int))
    with pytest.raises(ValueError, match="NaN"):
        fit_temperature(np.full((2, 2), np.nan), np.zeros(2, int))
    with pytest.raises(ValueError, match="above 0"):
        apply_temperature(np.zeros((1, 2)), 0.0)
