import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from lid_mapmix.scoring.averaging import Average, average_windows
from scipy.stats import gmean


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
