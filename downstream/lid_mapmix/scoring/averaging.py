"""From the probabilities of an utterance's windows to those of the utterance."""

from enum import StrEnum

import numpy as np

# Stands for a probability of 0, whose logarithm would decide alone.
_LEAST = np.nextafter(0.0, 1.0)


class Average(StrEnum):
    """What of the windows is averaged.

    probabilities : their softmax, as in the Map-Mix paper; each window has its say.
    log_likelihoods : their log-softmax, whose exponentials are made to sum to 1 again: a geometric mean, by which a
        window that rules a class out is hard to overrule, as if windows were independent.
    """

    PROBABILITIES = "probabilities"
    LOG_LIKELIHOODS = "log_likelihoods"


def average_windows(
    utterances: np.ndarray, probabilities: np.ndarray, average: Average = Average.PROBABILITIES
) -> tuple[np.ndarray, np.ndarray]:
    """Average the windows of each utterance.

    Parameters
    ----------
    utterances : (windows,) int, the utterance of each window.
    probabilities : (windows, C) float64.
    average : of what. A probability of 0 counts as 5e-324, the least there is, where logarithms are averaged.

    Returns
    -------
    utterances (evaluated,) int, ascending, and probabilities (evaluated, C) float64.
    """
    numbers, place = np.unique(utterances, return_inverse=True)
    is_log = average is Average.LOG_LIKELIHOODS
    values = np.log(np.maximum(probabilities, _LEAST)) if is_log else probabilities
    sums = np.zeros((len(numbers), probabilities.shape[1]))
    np.add.at(sums, place, values)
    means = sums / np.bincount(place)[:, None]
    if not is_log:
        return numbers, means
    likelihoods = np.exp(means - means.max(axis=1, keepdims=True))
    return numbers, likelihoods / likelihoods.sum(axis=1, keepdims=True)
