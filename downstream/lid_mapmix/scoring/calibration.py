"""Calibration: one temperature, fitted on dev and applied to test.

"On Calibration of Modern Neural Networks" (arXiv 1706.04599), section 4.2. It changes no answer, only how sure each is,
so a calibration error after it tells whether a model's confidence ranks its own answers well.
"""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

# Wide enough for any classifier: flatter than 1/100 is chance, steeper than 100 is certainty.
_LOG_TEMPERATURES = (-np.log(100.0), np.log(100.0))
# A probability of 0 would stay 0 at any temperature, and an utterance of that class have no finite likelihood.
_LEAST_LOG_PROBABILITY = -100.0


def fit_temperature(log_probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Return the temperature that makes the truth most likely.

    Parameters
    ----------
    log_probabilities : (N, C) float, natural logarithms; a row may be off by a constant.
    truth : (N,) int, class number of each utterance.
    """
    scores, truth = _finite(log_probabilities), np.asarray(truth)
    if len(truth) == 0 or truth.shape != scores.shape[:1]:
        raise ValueError(f"expected a true class for each of {len(scores)} utterances, at least 1, found {len(truth)}")
    rows = np.arange(len(truth))

    def cross_entropy(log_temperature: float) -> float:
        return float(-log_softmax(scores / np.exp(log_temperature), axis=1)[rows, truth].mean())

    return float(np.exp(minimize_scalar(cross_entropy, bounds=_LOG_TEMPERATURES, method="bounded").x))


def apply_temperature(log_probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return log-probabilities at a temperature, (N, C) float64: above 1 less sure, below 1 surer."""
    if not temperature > 0:
        raise ValueError(f"expected a temperature above 0, found {temperature}")
    return log_softmax(_finite(log_probabilities) / temperature, axis=1)


def _finite(log_probabilities: np.ndarray) -> np.ndarray:
    scores = np.maximum(np.asarray(log_probabilities, dtype=np.float64), _LEAST_LOG_PROBABILITY)
    if scores.ndim != 2 or not np.isfinite(scores).all():  # noqa: PLR2004
        raise ValueError(f"expected log-probabilities (utterances, classes), found shape {scores.shape}, or NaN in it")
    return scores
