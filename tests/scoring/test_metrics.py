import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lid_mapmix.scoring import metrics
from lid_mapmix.scoring.choices import Average
from lid_mapmix.scoring.metrics import average_windows
from reference import calibration, classification
from scipy.stats import gmean
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

CLUSTERS = np.array([0, 0, 1, 1, 2])


def scored(seed, count=40, classes=5, absent=()):
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(count, classes)) * generator.choice([0.3, 2, 20])
    truth = generator.choice(np.setdiff1d(np.arange(classes), absent), count)
    return torch.from_numpy(logits).softmax(-1).numpy(), truth


def answers_with(*tops):
    """Rows of three classes whose most probable class, the first, has the given probability."""
    return np.array([[top, (1 - top) / 2, (1 - top) / 2] for top in tops])


def test_scores_worked_by_hand():
    probabilities = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.3, 0.6, 0.1], [0.1, 0.2, 0.7]])
    truth, clusters = np.array([0, 0, 1, 0]), np.array([0, 0, 1])
    result = metrics.summarize(probabilities, truth, clusters)
    assert list(result)[:5] == list(metrics.SUMMARY)
    assert result["acc"] == 0.5  # answers 0, 1, 1, 2
    # class 0: precision 1, recall 1/3, F1 1/2; class 1: precision 1/2, recall 1, F1 2/3; class 2 is not in the truth
    assert result["wf1"] == pytest.approx((3 * 1 / 2 + 2 / 3) / 4)
    assert result["macro_f1"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert result["c_acc"] == 0.75
    # bins (.8, .9]: .9 right; (.7, .8]: .8 wrong; (.5, .6]: .6 right; (.6, .7]: .7 wrong
    assert result["ece"] == pytest.approx((0.1 + 0.8 + 0.4 + 0.7) / 4)
    assert result["log_loss"] == pytest.approx(-np.log([0.9, 0.2, 0.6, 0.1]).mean())
    squares = [0.1**2 + 0.1**2, 0.8**2 + 0.8**2, 0.3**2 + 0.4**2 + 0.1**2, 0.9**2 + 0.2**2 + 0.7**2]
    assert result["brier"] == pytest.approx(np.mean(squares))
    # known cluster: answers 0, 1, 1, and 1 for the last
    assert metrics.within_cluster_accuracy(probabilities, truth, clusters) == 0.5


def test_calibration_bins_are_closed_above():
    # .5 and .45 share the bin (.4, .5]; .5 and .55 do not. All answers right: gaps .5, .55, .45.
    truth = np.array([0, 1])
    shared = metrics.expected_calibration_error(answers_with(0.5, 0.45), truth)
    assert shared == pytest.approx(abs((0.5 + 0.45) - 1) / 2)
    apart = metrics.expected_calibration_error(answers_with(0.5, 0.55), truth)
    assert apart == pytest.approx((abs(0.5 - 1) + abs(0.55 - 0)) / 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_edge_belongs_to_the_bin_below(dtype):
    for edge in range(4, 10):
        top = edge / 10
        pair = answers_with(top, top - 0.05).astype(dtype)
        # One right, one wrong: in one bin the gaps offset each other, in two they add up.
        assert metrics.expected_calibration_error(pair, np.array([0, 1])) == pytest.approx(abs(2 * top - 1.05) / 2)


def test_certainty_belongs_to_the_last_bin():
    assert metrics.expected_calibration_error(answers_with(1.0, 1.0), np.array([0, 0])) == 0
    assert metrics.expected_calibration_error(answers_with(1.0, 1.0), np.array([1, 1])) == 1
    assert metrics.expected_calibration_error(answers_with(1.0, 0.95), np.array([1, 0])) == pytest.approx(0.95 / 2)


def test_a_top_probability_of_zero_counts_in_the_first_bin():
    assert metrics.expected_calibration_error(np.zeros((2, 3)), np.array([0, 1])) == 0.5


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([(), (1,), (0, 4)]))
def test_scores_agree_with_independent_computations(seed, absent):
    probabilities, truth = scored(seed, absent=absent)
    answers = [max(range(5), key=row.__getitem__) for row in probabilities.tolist()]
    target_classes = truth.tolist()
    result = metrics.summarize(probabilities, truth, CLUSTERS)
    assert result["acc"] == pytest.approx(accuracy_score(target_classes, answers))
    assert result["wf1"] == pytest.approx(classification.weighted_f1(answers, target_classes))
    assert result["macro_f1"] == pytest.approx(classification.macro_f1(answers, target_classes))
    assert result["wf1"] == pytest.approx(f1_score(target_classes, answers, average="weighted", zero_division=0))
    assert result["c_acc"] == np.mean(
        [CLUSTERS[a] == CLUSTERS[t] for a, t in zip(answers, target_classes, strict=True)]
    )
    assert result["ece"] == pytest.approx(
        calibration.expected_calibration_error(probabilities, target_classes), abs=1e-12
    )
    assert all(0 <= result[name] <= 1 for name in metrics.SUMMARY)
    some = np.maximum(probabilities, 1e-9)  # scikit-learn's minimum is another
    found = metrics.summarize(some, truth, CLUSTERS)["log_loss"]
    assert found == pytest.approx(log_loss(target_classes, some, labels=range(5)), rel=1e-6)
    assert result["c_acc"] >= result["acc"]
    assert metrics.within_cluster_accuracy(probabilities, truth, CLUSTERS) >= result["acc"]


def test_the_noise_of_the_calibration_error_is_that_of_truths_drawn_from_the_probabilities():
    generator = np.random.default_rng(0)
    top = generator.uniform(0.35, 1.0, size=814)
    probabilities = answers_with(*top)
    drawn = [
        metrics.expected_calibration_error(probabilities, np.where(generator.random(814) < top, 0, 1))
        for _ in range(1000)
    ]
    mean, deviation = metrics.calibration_noise(probabilities)
    assert mean == pytest.approx(np.mean(drawn), rel=0.04)
    assert deviation == pytest.approx(np.std(drawn), rel=0.1)
    assert metrics.calibration_noise(np.eye(3)) == (0, 0)


def torchmetrics_ece(probabilities, truth):
    return multiclass_calibration_error(
        torch.from_numpy(probabilities), torch.from_numpy(truth), probabilities.shape[1], n_bins=10, norm="l1"
    ).item()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([2, 5]))
def test_the_calibration_error_agrees_with_torchmetrics(seed, classes):
    probabilities, truth = scored(seed, count=200, classes=classes)
    top = probabilities.max(axis=1)
    # It computes in float32. Where the scores are large, many a top probability is 1, which is an edge.
    off_edges = np.abs(top * 10 - np.round(top * 10)) > 1e-5
    probabilities, truth = probabilities[off_edges], truth[off_edges]
    found = metrics.expected_calibration_error(probabilities, truth)
    assert found == pytest.approx(torchmetrics_ece(probabilities, truth), abs=1e-5)


@pytest.mark.parametrize(
    ("top", "ours", "theirs"),
    [
        (0.45, abs(0.5 + 0.45 - 1) / 2, (0.5 + 0.55) / 2),  # .5 shares the bin here, not there
        (0.55, (0.5 + 0.45) / 2, abs(0.5 + 0.55 - 1) / 2),  # the other way round
    ],
)
def test_bins_are_closed_above_here_and_below_in_torchmetrics(top, ours, theirs):
    # .5 exactly, wrong, and another, right: in one bin the gaps offset each other, in two they add up.
    probabilities, truth = answers_with(0.5, top), np.array([1, 0])
    assert metrics.expected_calibration_error(probabilities, truth) == pytest.approx(ours)
    assert torchmetrics_ece(probabilities, truth) == pytest.approx(theirs)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_order_of_utterances_and_classes_does_not_matter(seed):
    probabilities, truth = scored(seed)
    generator = np.random.default_rng(seed)
    rows, columns = generator.permutation(len(truth)), generator.permutation(5)
    number_of = np.argsort(columns)
    shuffled = metrics.summarize(probabilities[rows][:, columns], number_of[truth[rows]], CLUSTERS[columns])
    assert shuffled == pytest.approx(metrics.summarize(probabilities, truth, CLUSTERS))


def test_macro_f1_is_balanced_where_nothing_is_confused():
    probabilities = np.eye(3)[[0, 1, 2, 2]]
    truth = np.array([0, 1, 2, 2])
    assert metrics.summarize(probabilities, truth, np.arange(3))["macro_f1"] == 1
    assert balanced_accuracy_score([0, 1, 2, 2], [0, 1, 2, 2]) == 1


def test_of_equal_probabilities_the_first_is_the_answer():
    tied = np.array([[0.4, 0.4, 0.2], [0.2, 0.4, 0.4], [1 / 3, 1 / 3, 1 / 3]])
    for truth, accuracy in (([0, 1, 0], 1), ([1, 2, 2], 0)):
        assert metrics.summarize(tied, np.array(truth), np.arange(3))["acc"] == accuracy
    assert metrics.within_cluster_accuracy(tied, np.array([0, 1, 1]), np.array([0, 1, 1])) == 1


def test_one_class_only():
    probabilities, truth = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]]), np.zeros(4, int)
    result = metrics.summarize(probabilities, truth, np.array([0, 1]))
    # Precision 1, since the other class has no utterance, and recall 1/2.
    assert (result["acc"], result["c_acc"]) == (0.5, 0.5)
    assert result["wf1"] == result["macro_f1"] == pytest.approx(2 / 3)
    assert set(metrics.summarize(np.ones((3, 1)), np.zeros(3, int), np.zeros(1, int)).values()) == {0.0, 1.0}


def test_probabilities_of_exactly_0_and_1():
    result = metrics.summarize(np.eye(3)[[0, 1, 2, 0]], np.array([0, 1, 2, 1]), np.array([0, 0, 1]))
    assert (result["acc"], result["c_acc"], result["ece"]) == (0.75, 1.0, 0.25)


@pytest.mark.parametrize(
    ("probabilities", "truth", "message"),
    [
        (np.ones((0, 3)), np.zeros(0, int), "at least one utterance"),
        (np.full((2, 3), np.nan), np.zeros(2, int), "finite"),
        (np.ones((2, 3)), np.zeros(3, int), "expected probabilities"),
        (np.ones(3), np.zeros(3, int), "expected probabilities"),
        (np.ones((2, 3)), np.array([0, 3]), "classes from 0 to 2"),
        (np.ones((2, 3)), np.array([-1, 0]), "classes from 0 to 2"),
    ],
)
def test_faults_of_the_caller(probabilities, truth, message):
    clusters = np.zeros(3, int)
    for score in (
        metrics.expected_calibration_error,
        metrics.reliability_curve,
        lambda p, t: metrics.summarize(p, t, clusters),
    ):
        with pytest.raises(ValueError, match=message):
            score(probabilities, truth)


def test_both_averages_by_hand():
    utterances = np.array([7, 3, 7])
    windows = np.array([[0.8, 0.2], [0.1, 0.9], [0.5, 0.5]])
    numbers, means = average_windows(utterances, windows)
    assert numbers.tolist() == [3, 7]
    np.testing.assert_allclose(means, [[0.1, 0.9], [0.65, 0.35]])
    # √(.8 · .5) : √(.2 · .5) = 2 : 1
    numbers, means = average_windows(utterances, windows, Average.LOG_LIKELIHOODS)
    assert numbers.tolist() == [3, 7]
    np.testing.assert_allclose(means, [[0.1, 0.9], [2 / 3, 1 / 3]])


@given(utterances=st.lists(st.integers(0, 5), min_size=1, max_size=30), seed=st.integers(0, 99))
def test_log_likelihoods_average_to_the_geometric_mean(utterances, seed):
    windows = np.random.default_rng(seed).dirichlet(np.full(4, 0.3), size=len(utterances)) + 1e-9
    windows /= windows.sum(axis=1, keepdims=True)
    numbers, means = average_windows(np.array(utterances), windows, Average.LOG_LIKELIHOODS)
    for number, mean in zip(numbers, means, strict=True):
        expected = gmean(windows[np.array(utterances) == number], axis=0)
        np.testing.assert_allclose(mean, expected / expected.sum(), rtol=1e-9)


def test_windows_that_rule_out_every_class_between_them_cancel():
    windows = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    _, means = average_windows(np.zeros(2, dtype=int), windows, Average.LOG_LIKELIHOODS)
    np.testing.assert_allclose(means, [[0.5, 0.5, 0]], atol=1e-100)
