import numpy as np
import pytest
from helpers.scored import scored, scored_of_three
from hypothesis import given, settings
from hypothesis import strategies as st
from lid_mapmix.scoring import detection, metrics, proper
from lid_mapmix.scoring.detection import equal_error_rate, log_likelihood_ratios
from lid_mapmix.scoring.weighted import WeightedEqualErrorRate, WeightedScores

CLUSTERS = np.array([0, 0, 1])
NOT_RESAMPLED = ("targets", "sources", "count", "ece", "ece_floor", "ece_floor_sd", "eer_pooled", "c_primary_min_class")


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


def directly(values, truth, source=None):
    scores = metrics.summarize(np.exp(values), truth, CLUSTERS) | detection.summarize_detection(values, truth, source)
    scores |= proper.cllr_parts(values, truth)
    return {name: value for name, value in scores.items() if name not in NOT_RESAMPLED and value is not None}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([(), (1,)]), st.booleans())
def test_equal_weights_give_the_scores_themselves(seed, absent, two_sources):
    values, truth = scored_of_three(seed, absent=absent)
    source = np.where(np.arange(60) % 2 == 0, "a", "b") if two_sources else None
    found = WeightedScores(values, truth, CLUSTERS, source)(np.ones((1, 60), np.float32))
    assert {name: score.item() for name, score in found.items()} == pytest.approx(
        directly(values, truth, source), abs=1e-5
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_whole_weights_are_repetitions(seed, few):
    values, truth = scored_of_three(seed, count=11 if few else 60)
    generator = np.random.default_rng(seed)
    weights = generator.integers(0, 4, size=len(truth))
    weights[:2] = 1
    system = WeightedScores(values, truth, CLUSTERS)
    found = {name: s.item() for name, s in system(weights[None, system.order].astype(np.float32)).items()}
    repeated = np.repeat(np.arange(len(truth)), weights)
    if set(truth[repeated]) != set(truth):
        return
    expected = directly(values[repeated], truth[repeated])
    assert found.pop("c_primary_min") >= expected.pop("c_primary_min") - 1e-6
    # The best calibration is that of equal weights.
    assert found.pop("cllr_min") >= expected.pop("cllr_min") - 1e-3
    assert found.pop("cllr_cal") <= expected.pop("cllr_cal") + 1e-3
    # Of 11 utterances every point of the ROC is looked at.
    assert found.pop("eer") == pytest.approx(expected.pop("eer"), abs=1e-5 if few else 0.03)
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_class_that_a_resample_loses_is_left_out():
    values, truth = scored_of_three(1)
    system = WeightedScores(values, truth, CLUSTERS)
    weights = np.where(truth[system.order] == 2, 0, 1).astype(np.float32)[None]
    kept = truth != 2
    found = {name: score.item() for name, score in system(weights).items()}
    alone = directly(values[kept], truth[kept])
    for name in ("acc", "wf1", "macro_f1", "c_acc", "log_loss", "brier", "cllr"):
        assert found[name] == pytest.approx(alone[name], abs=1e-5)
    assert np.isfinite(list(found.values())).all()
    nothing = system(np.where(truth[system.order] == 0, 1, 0).astype(np.float32)[None])
    assert np.isnan(nothing["eer"]).all()
