import tracemalloc

import numpy as np
import pytest
from helpers.scored import scored
from hypothesis import given, settings
from hypothesis import strategies as st
from lid_mapmix.scoring import detection
from reference import detection as reference
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from scipy.special import log_softmax
from sklearn.metrics import log_loss, roc_curve

NAN = float("nan")


def test_ratios_worked_by_hand():
    ratios = detection.log_likelihood_ratios(np.log([[0.5, 0.3, 0.2], [0.8, 0.1, 0.1]]))
    expected = np.log([[0.5 / 0.25, 0.3 / 0.35, 0.2 / 0.4], [0.8 / 0.1, 0.1 / 0.45, 0.1 / 0.45]])
    np.testing.assert_allclose(ratios, expected)


def test_probabilities_of_exactly_0_and_1_have_infinite_ratios():
    with np.errstate(divide="ignore"):
        values = np.log([[1.0, 0, 0], [0.5, 0.5, 0]])
    ratios = detection.log_likelihood_ratios(values)
    assert ratios[0].tolist() == [np.inf, -np.inf, -np.inf]
    np.testing.assert_allclose(ratios[1], [np.log(2), np.log(2), -np.inf])
    scores = detection.summarize_detection(values, np.array([0, 2]))
    assert all(np.isfinite(value) for value in scores.values())
    # One is certain and right, the other certain and wrong: 0 and 100 nats.
    assert scores["cllr"] == pytest.approx(50 / np.log(2))


def test_a_class_that_is_almost_certain_keeps_its_digits():
    ratios = detection.log_likelihood_ratios(np.array([[0.0, -60.0, -61.0]]))
    assert ratios[0, 0] == pytest.approx(60 - np.log((1 + np.exp(-1)) / 2), rel=1e-14)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([(), (1,), (0, 3)]), st.booleans())
def test_ratios_and_cllr_agree_with_a_literal_transcription(seed, absent, ties):
    values, truth = scored(seed, count=24, absent=absent, ties=ties)
    ratios, target_classes = detection.log_likelihood_ratios(values), truth.tolist()
    slow = [[reference.log_likelihood_ratio(row, target) for target in range(4)] for row in values.tolist()]
    np.testing.assert_allclose(ratios, slow, rtol=1e-9, atol=1e-9)
    assert detection.multiclass_cllr(values, truth) == pytest.approx(reference.cllr(values.tolist(), target_classes))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_eer_and_cllr_agree_with_scikit_learn(seed, ties):
    values, truth = scored(seed, ties=ties)
    values = log_softmax(values / 4, axis=1)  # scikit-learn's log_loss clips what is closer to 0 than 2e-16
    ratios = detection.log_likelihood_ratios(values)
    rates = []
    for target in np.unique(truth):
        wrong, hits, _ = roc_curve(truth == target, ratios[:, target], drop_intermediate=False)
        rates.append(brentq(lambda x, wrong=wrong, hits=hits: 1 - x - interp1d(wrong, hits)(x), 0, 1))
        # interp1d is vague where the curve is vertical; so compare what both directions give.
        rates[-1] = (rates[-1] + 1 - brentq(lambda y, w=wrong, h=hits: y - 1 + interp1d(h, w)(y), 0, 1)) / 2
    assert detection.equal_error_rate(ratios, truth) == pytest.approx(np.mean(rates), abs=1e-9)
    weights = 1 / np.bincount(truth, minlength=4)[truth]
    loss = log_loss(truth, np.exp(values), sample_weight=weights, labels=range(4))
    assert detection.multiclass_cllr(values, truth) == pytest.approx(loss / np.log(2))


def test_eer_worked_by_hand():
    is_target = np.array([True, True, True, True, False, False, False, False])
    apart = np.array([5.0, 6, 7, 8, 1, 2, 3, 4])
    assert detection.class_equal_error_rate(apart, is_target) == 0
    assert detection.class_equal_error_rate(-apart, is_target) == 1
    # The lowest target and the highest non-target are exchanged: one of four each is wrong.
    assert detection.class_equal_error_rate(np.array([4.0, 6, 7, 8, 1, 2, 3, 5]), is_target) == 0.25
    assert detection.class_equal_error_rate(np.zeros(8), is_target) == 0.5  # nothing but ties
    assert detection.class_equal_error_rate(np.where(is_target, np.inf, -np.inf), is_target) == 0


def test_two_sources_are_averaged_as_nist_does():
    values, truth = scored(3, count=60)
    source = np.where(np.arange(60) % 3 == 0, "vast", "mls14")
    ratios = detection.log_likelihood_ratios(values)
    scores = detection.summarize_detection(values, truth, source)
    assert scores["c_primary"] == pytest.approx(reference.c_primary(ratios.tolist(), truth.tolist(), source.tolist()))
    assert (scores["sources"], scores["targets"]) == (2, 4)
    assert scores["c_primary_min"] <= scores["c_primary"]
    assert scores["c_primary"] == pytest.approx((scores["cavg_1"] + scores["cavg_9"]) / 2)
    pooled = detection.summarize_detection(values, truth)
    assert pooled["sources"] == 1 and pooled["c_primary"] != scores["c_primary"]


def test_one_class_only():
    values, _ = scored(0)
    scores = detection.summarize_detection(values, np.ones(40, int))
    assert [name for name, value in scores.items() if value is None] == [
        "eer", "eer_pooled", "cavg_1", "cavg_9", "c_primary", "c_primary_min", "c_primary_min_class",
        "cavg_argmax",
    ]  # fmt: skip
    assert scores["targets"] == 1 and scores["cllr"] > 0
    alone = detection.summarize_detection(np.zeros((3, 1)), np.zeros(3, int))
    assert alone["cllr"] == 0 and alone["eer"] is None
    assert np.isnan(detection.equal_error_rate(values, np.ones(40, int)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.floats(-50, 50))
def test_a_constant_in_a_row_changes_nothing_and_ratios_lead_back(seed, constant):
    values, truth = scored(seed)
    first = detection.summarize_detection(values, truth)
    assert detection.summarize_detection(values + constant, truth) == pytest.approx(first, abs=0.02)
    back = detection.log_likelihoods_from_ratios(detection.log_likelihood_ratios(values))
    np.testing.assert_allclose(back, values, atol=1e-9)


@pytest.mark.parametrize(
    ("values", "truth", "message"),
    [
        (np.full((2, 3), NAN), [0, 1], "NaN"),
        (np.array([[NAN, 0.0], [0, 0]]), [0, 1], "NaN"),
        (np.full((2, 3), -np.inf), [0, 1], "finite"),
        (np.full((2, 3), np.inf), [0, 1], "finite"),
        (np.zeros((0, 3)), [], "at least one"),
        (np.zeros((2, 3)), [0], "expected values"),
        (np.zeros((2, 3)), [0, 3], "classes from 0 to 2"),
        (np.zeros(3), [0, 1, 2], "utterances, classes"),
    ],
)
def test_faults_of_the_caller(values, truth, message):
    with pytest.raises(ValueError, match=message):
        detection.summarize_detection(values, np.array(truth, int))
    with pytest.raises(ValueError, match="at least 2 classes"):
        detection.log_likelihood_ratios(np.zeros((2, 1)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([(), (1,), (0, 3)]), st.booleans())
def test_costs_agree_with_a_literal_transcription(seed, absent, ties):
    values, truth = scored(seed, count=24, absent=absent, ties=ties)
    ratios, target_classes = detection.log_likelihood_ratios(values), truth.tolist()
    rows = ratios.tolist()
    if len(set(target_classes)) > 1:
        for beta in (1, 9):
            actual = detection.actual_cost(ratios, truth, beta)
            assert actual == pytest.approx(reference.cavg(rows, target_classes, beta, np.log(beta)))
            least, threshold = detection.minimum_cost(ratios, truth, beta)
            assert least == pytest.approx(reference.minimum_cavg(rows, target_classes, beta), abs=1e-12)
            assert least == pytest.approx(reference.cavg(rows, target_classes, beta, threshold), abs=1e-12)
            assert least <= min(actual, 1) + 1e-12
            each = detection.class_minimum_cost(ratios, truth, beta)
            assert each == pytest.approx(reference.class_minimum_cavg(rows, target_classes, beta), abs=1e-12)
            assert each <= least + 1e-12
        present = sorted(set(target_classes))
        trials = [(row[name], name == own) for row, own in zip(rows, target_classes, strict=True) for name in present]
        pooled = detection.class_equal_error_rate(*map(np.array, zip(*trials, strict=True)))
        assert detection.pooled_equal_error_rate(ratios, truth) == pytest.approx(pooled)


def test_rejecting_everything_costs_1_on_this_scale():
    truth = np.array([0, 1, 2, 2])
    nothing = np.zeros((4, 3), bool)
    assert detection.average_cost(nothing, truth, 1) == detection.average_cost(nothing, truth, 9) == 1
    assert detection.average_cost(~nothing, truth, 1) == 1
    assert detection.average_cost(~nothing, truth, 9) == 9


@pytest.mark.parametrize("names", [["a"] * 4, ["a", "a", "b", ""], ["a", "b", "c", "a"], ["a", "a", "a", "b"]])
def test_sources_that_are_not_two_count_as_one(names):
    assert detection.source_parts(np.array(names), np.array([0, 1, 0, 1])) is None


def test_the_reference_codes_decisions():
    truth = np.array([0, 0, 1, 1])
    values = np.log([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]])
    # P_miss is 1/2 and 0, P_fa of class 0 is 0 and of class 1 is 1/2: (1/2 + β/2) / 2 for β 1 and 9.
    assert detection.argmax_cost(values, truth) == pytest.approx((0.5 + 2.5) / 2)


def test_an_absent_class_is_no_target():
    values, truth = scored(5, absent=(2,))
    accepted = detection.log_likelihood_ratios(values) > 0
    more = accepted.copy()
    more[:, 2] = True
    assert detection.average_cost(more, truth, 9) == detection.average_cost(accepted, truth, 9)


def test_one_class_only_has_no_costs():
    values, _ = scored(0)
    one = np.ones(40, int)
    assert np.isnan(detection.actual_cost(values, one, 1))
    assert np.isnan(detection.argmax_cost(values, one))
    assert np.isnan(detection.minimum_cost(values, one, 1)).all()


def test_a_part_of_one_class_has_no_costs():
    values, truth = scored(1)
    parts = (truth == 0).astype(int)
    assert np.isnan(detection.minimum_cost(detection.log_likelihood_ratios(values), truth, 1, parts)[0])
    assert np.isnan(detection.actual_cost(detection.log_likelihood_ratios(values), truth, 1, parts))


def test_ratios_without_bounds_are_decided_like_others():
    ratios, truth = np.array([[np.inf, -np.inf], [-np.inf, np.inf], [np.inf, -np.inf]]), np.array([0, 1, 1])
    # One of class 1 is missed and accepted as class 0.
    assert detection.actual_cost(ratios, truth, 9) == pytest.approx((0 + 0.5 + 9 * 0.5) / 2)
    assert detection.minimum_cost(ratios, truth, 9) == (1.0, np.inf)


def test_nan_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        detection.minimum_cost(np.full((2, 2), np.nan), np.array([0, 1]), 1)


def test_memory_grows_as_the_table_does():
    """A mask of all trials for each class took 20 GB for 10,000 utterances of 2,000 classes."""
    generator = np.random.default_rng(0)
    ratios, truth = generator.standard_normal((600, 300)), np.arange(600) % 300
    tracemalloc.start()
    cost = detection.class_minimum_cost(ratios, truth, 1.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0 < cost < 1
    assert peak < 15 * ratios.nbytes
