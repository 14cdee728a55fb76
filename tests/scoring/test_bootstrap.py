import numpy as np
import pytest
from helpers.scored import scored_of_three
from lid_mapmix.scoring import bootstrap as bs
from lid_mapmix.scoring import metrics
from lid_mapmix.scoring.weighted import WeightedScores
from scipy.special import log_softmax
from scipy.stats import bootstrap as scipy_bootstrap

CLUSTERS = np.array([0, 0, 1])


def test_one_class_and_probabilities_of_0_and_1():
    with np.errstate(divide="ignore"):
        certain = np.log(np.eye(3)[[0, 1, 2, 2]])
    found = bs.bootstrap(WeightedScores(certain, np.array([0, 1, 2, 1]), CLUSTERS), samples=50)
    assert found["acc"].value == 0.75
    assert all(np.isfinite([one.value, one.low, one.high]).all() for one in found.values())
    one_class = bs.bootstrap(WeightedScores(certain, np.zeros(4, int), CLUSTERS), samples=20)
    assert "eer" not in one_class and "cllr" in one_class
    with pytest.raises(ValueError, match="NaN"):
        bs.bootstrap(WeightedScores(np.full((4, 3), np.nan), np.zeros(4, int), CLUSTERS))


def test_the_interval_agrees_with_scipys_bootstrap():
    values, truth = scored_of_three(2, count=300)
    right = (values.argmax(axis=1) == truth).astype(float)
    interval = bs.bootstrap(WeightedScores(values, truth, CLUSTERS), samples=2000)["acc"]
    other = scipy_bootstrap((right,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(0))
    assert interval.value == pytest.approx(right.mean())
    assert (interval.low, interval.high) == pytest.approx(tuple(other.confidence_interval), abs=0.012)


def test_groups_are_drawn_whole():
    group = np.array(["a", "b", "a", "", "", "b"])
    weights = np.concatenate(list(bs.resampling_weights(6, group=group, samples=200)))
    assert (weights[:, 0] == weights[:, 2]).all() and (weights[:, 1] == weights[:, 5]).all()
    assert (weights[:, 3] != weights[:, 4]).any()
    assert (weights[:, [0, 1, 3, 4]].sum(axis=1) == 4).all()


def test_repeating_each_utterance_in_a_group_changes_no_interval():
    values, truth = scored_of_three(3, count=40)
    group = np.repeat([f"{number:02}" for number in range(40)], 3)
    once = bs.bootstrap(WeightedScores(values, truth, CLUSTERS), group=group[::3], samples=100)
    thrice = bs.bootstrap(
        WeightedScores(np.repeat(values, 3, axis=0), np.repeat(truth, 3), CLUSTERS), group=group, samples=100
    )
    for name in ("acc", "ece", "c_primary", "cllr"):
        assert thrice[name].low == pytest.approx(once[name].low, abs=1e-5)
        assert thrice[name].high == pytest.approx(once[name].high, abs=1e-5)


def calibrated(seed, count, sureness):
    """Return probabilities to some power, and truths drawn from the probabilities: calibrated at a sureness of 1."""
    generator = np.random.default_rng(seed)
    right = generator.dirichlet(np.ones(3), count)
    truth = (right.cumsum(axis=1) < generator.random(count)[:, None]).sum(axis=1).clip(max=2)
    return log_softmax(np.log(right) * sureness, axis=1), truth


@pytest.mark.parametrize(("sureness", "least"), [(1.0, 0.6), (2.0, 0.8)])
def test_the_interval_of_the_calibration_error_holds_the_true_one(sureness, least):
    values, truth = calibrated(0, 200_000, sureness)
    right = metrics.expected_calibration_error(np.exp(values), truth)
    assert (right < 0.005) == (sureness == 1.0)
    found = [
        bs.bootstrap(WeightedScores(*calibrated(seed, 200, sureness), CLUSTERS), samples=100)["ece"]
        for seed in range(1, 61)
    ]
    # Plain percentiles hold it never where the system is calibrated.
    assert np.mean([one.low <= right <= one.high for one in found]) >= least
    assert all(0 <= one.low <= one.value <= one.high for one in found)


def test_the_interval_of_the_calibration_error_is_the_percentiles_reflected():
    values, truth = calibrated(1, 300, 2.0)
    system = WeightedScores(values, truth, CLUSTERS)
    weights = np.concatenate(list(bs.resampling_weights(300, samples=80)))
    low, high = np.quantile(system(weights)["ece"], [0.025, 0.975])
    found = bs.bootstrap(WeightedScores(values, truth, CLUSTERS), samples=80)["ece"]
    assert found.value == pytest.approx(metrics.expected_calibration_error(np.exp(values), truth), abs=1e-6)
    assert (found.low, found.high) == pytest.approx((2 * found.value - high, 2 * found.value - low))


def test_the_same_seed_gives_the_same_resamples_however_many_at_a_time(monkeypatch):
    values, truth = scored_of_three(4)
    first = bs.bootstrap(WeightedScores(values, truth, CLUSTERS), samples=30)
    monkeypatch.setattr(bs, "_WEIGHTS_AT_ONCE", 60 * 7)
    again = bs.bootstrap(WeightedScores(values, truth, CLUSTERS), samples=30)
    for name, interval in first.items():
        assert (again[name].low, again[name].high) == pytest.approx((interval.low, interval.high))
    assert bs.bootstrap(WeightedScores(values, truth, CLUSTERS), samples=30, seed=1)["cllr"] != first["cllr"]


def test_a_minimum_cost_is_never_above_that_of_rejecting_everything():
    generator = np.random.default_rng(3)
    with np.errstate(divide="ignore"):
        certain = np.log(np.eye(3)[generator.integers(3, size=20)])  # and mostly wrong
    found = bs.bootstrap(WeightedScores(certain, generator.integers(3, size=20), CLUSTERS), samples=50)["c_primary_min"]
    assert found.value < 1 and found.high == 1


def test_a_difference_of_two_systems():
    good, truth = scored_of_three(5, count=200, signal=4.0)
    bad, _ = scored_of_three(5, count=200, signal=1.0)
    found = bs.paired_bootstrap(
        WeightedScores(bad, truth, CLUSTERS), WeightedScores(good, truth, CLUSTERS), samples=200
    )
    assert found["acc"].value > 0 and found["acc"].low > 0 and found["acc"].p == pytest.approx(2 / 201)
    assert found["cllr"].high < 0
    same = bs.paired_bootstrap(WeightedScores(good, truth, CLUSTERS), WeightedScores(good, truth, CLUSTERS), samples=50)
    assert all(one.value == one.low == one.high == 0 and one.p == 1 for one in same.values())
    with pytest.raises(ValueError, match="same utterances"):
        bs.paired_bootstrap(WeightedScores(good, truth, CLUSTERS), WeightedScores(good[:5], truth[:5], CLUSTERS))


def test_mcnemar_worked_by_hand():
    first, second = np.array([True] * 5 + [False] * 5), np.array([True] * 4 + [False] * 6)
    assert bs.mcnemar(first, second) == 1.0  # one utterance speaks for the first: p = 2 · 1/2
    second[:4] = False
    assert bs.mcnemar(first, second) == pytest.approx(2 * 0.5**5)
    assert bs.mcnemar(first, first) == 1.0
