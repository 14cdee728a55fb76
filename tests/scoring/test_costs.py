import numpy as np
import pytest
from helpers.scored import scored
from hypothesis import given, settings
from hypothesis import strategies as st
from lid_mapmix.scoring import costs
from lid_mapmix.scoring.detection import log_likelihood_ratios
from reference import detection as reference


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([(), (1,), (0, 3)]), st.booleans())
def test_costs_agree_with_a_literal_transcription(seed, absent, ties):
    values, truth = scored(seed, count=24, absent=absent, ties=ties)
    ratios, gold = log_likelihood_ratios(values), truth.tolist()
    rows = ratios.tolist()
    if len(set(gold)) > 1:
        for beta in (1, 9):
            actual = costs.actual_cost(ratios, truth, beta)
            assert actual == pytest.approx(reference.cavg(rows, gold, beta, np.log(beta)))
            least = costs.minimum_cost(ratios, truth, beta)
            assert least.cost == pytest.approx(reference.minimum_cavg(rows, gold, beta), abs=1e-12)
            assert least.cost == pytest.approx(reference.cavg(rows, gold, beta, least.threshold), abs=1e-12)
            assert least.cost <= min(actual, 1) + 1e-12


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([(), (1,), (1, 2, 3)]), st.booleans())
def test_the_costs_at_many_thresholds_are_those_at_each(seed, absent, ties):
    values, truth = scored(seed, count=24, absent=absent, ties=ties)
    ratios = log_likelihood_ratios(values)
    # Some are ratios themselves, which are not above themselves.
    thresholds = np.sort([-np.inf, -1.0, 0.0, 2.5, np.inf, *ratios[:3, 0]])
    found = costs.utterance_costs_at(thresholds, ratios, truth, 9)
    for column, threshold in zip(found.T, thresholds, strict=True):
        np.testing.assert_allclose(column, costs.utterance_costs(ratios > threshold, truth, 9))


def test_rejecting_everything_costs_1_on_this_scale():
    truth = np.array([0, 1, 2, 2])
    nothing = np.zeros((4, 3), bool)
    assert costs.average_cost(nothing, truth, 1) == costs.average_cost(nothing, truth, 9) == 1
    assert costs.average_cost(~nothing, truth, 1) == 1
    assert costs.average_cost(~nothing, truth, 9) == 9


@pytest.mark.parametrize("names", [["a"] * 4, ["a", "a", "b", ""], ["a", "b", "c", "a"], ["a", "a", "a", "b"]])
def test_sources_that_are_not_two_count_as_one(names):
    assert costs.source_parts(np.array(names), np.array([0, 1, 0, 1])) is None


def test_the_reference_codes_decisions():
    truth = np.array([0, 0, 1, 1])
    values = np.log([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]])
    # P_miss is 1/2 and 0, P_fa of class 0 is 0 and of class 1 is 1/2: (1/2 + β/2) / 2 for β 1 and 9.
    assert costs.argmax_cost(values, truth) == pytest.approx((0.5 + 2.5) / 2)


def test_an_absent_class_is_no_target():
    values, truth = scored(5, absent=(2,))
    accepted = log_likelihood_ratios(values) > 0
    more = accepted.copy()
    more[:, 2] = True
    assert costs.average_cost(more, truth, 9) == costs.average_cost(accepted, truth, 9)


def test_one_class_only_has_no_costs():
    values, _ = scored(0)
    one = np.ones(40, int)
    assert np.isnan(costs.actual_cost(values, one, 1))
    assert np.isnan(costs.argmax_cost(values, one))
    least = costs.minimum_cost(values, one, 1)
    assert np.isnan(least.cost) and np.isnan(least.threshold)


def test_a_part_of_one_class_has_no_costs():
    values, truth = scored(1)
    parts = (truth == 0).astype(int)
    assert np.isnan(costs.minimum_cost(log_likelihood_ratios(values), truth, 1, parts).cost)
    assert np.isnan(costs.actual_cost(log_likelihood_ratios(values), truth, 1, parts))


def test_ratios_without_bounds_are_decided_like_others():
    ratios, truth = np.array([[np.inf, -np.inf], [-np.inf, np.inf], [np.inf, -np.inf]]), np.array([0, 1, 1])
    # One of class 1 is missed and accepted as class 0.
    assert costs.actual_cost(ratios, truth, 9) == pytest.approx((0 + 0.5 + 9 * 0.5) / 2)
    assert costs.minimum_cost(ratios, truth, 9) == costs.Thresholded(1.0, np.inf)


def test_nan_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        costs.minimum_cost(np.full((2, 2), np.nan), np.array([0, 1]), 1)
