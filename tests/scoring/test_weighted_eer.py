import numpy as np
import pytest
from helpers.scored import scored
from hypothesis import given, settings
from hypothesis import strategies as st
from lid_mapmix.scoring.detection import equal_error_rate, log_likelihood_ratios
from lid_mapmix.scoring.weighted import WeightedEqualErrorRate


def drawn_again(seed, truth):
    """Return whole weights (3, N), each of which leaves something of every class."""
    weights = np.random.default_rng(seed).integers(0, 4, size=(3, len(truth)))
    weights[:, np.unique(truth, return_index=True)[1]] += 1
    return weights.astype(np.float32)


def recomputed(ratios, truth, weights):
    repeated = [np.repeat(np.arange(len(truth)), row.astype(int)) for row in weights]
    return [equal_error_rate(ratios[rows], truth[rows]) for rows in repeated]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([(), (1,)]))
def test_with_few_distinct_scores_it_is_the_eer_of_repeated_utterances(seed, absent):
    values, truth = scored(seed, absent=absent)
    ratios = np.clip(np.round(log_likelihood_ratios(values)), -5, 5)  # at most 11 thresholds
    ratios[:2, 0] = -np.inf, np.inf
    weights = drawn_again(seed, truth)
    found = WeightedEqualErrorRate(ratios, truth)(weights)
    assert found == pytest.approx(recomputed(ratios, truth, weights), abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_otherwise_its_error_is_small_beside_what_weights_do(seed):
    values, truth = scored(seed, count=2000)
    ratios = log_likelihood_ratios(values)
    weights = np.random.default_rng(seed).poisson(size=(20, 2000)).astype(np.float32)
    expected = np.array(recomputed(ratios, truth, weights))
    errors = WeightedEqualErrorRate(ratios, truth)(weights) - expected
    assert np.std(errors) < 0.2 * np.std(expected)


def test_equal_weights_give_the_eer_itself():
    values, truth = scored(3, count=500)
    ratios = log_likelihood_ratios(values)
    found = WeightedEqualErrorRate(ratios, truth)(np.ones((1, 500), np.float32))
    assert found == pytest.approx(equal_error_rate(ratios, truth), abs=1e-6)


def test_a_class_without_weight_is_left_out_and_one_alone_has_none():
    values, truth = scored(5)
    ratios = log_likelihood_ratios(values)
    weights = np.stack([truth != 2, truth == 2]).astype(np.float32)
    found = WeightedEqualErrorRate(ratios, truth)(weights)
    kept = truth != 2
    assert found[0] == pytest.approx(equal_error_rate(ratios[kept], truth[kept]), abs=0.02)
    assert np.isnan(found[1])
