"""Proper scores: log loss, Brier score, and the two parts of Cllr.

A proper score is lowest, on average, for the true probabilities, so it compares the calibration of systems; a
calibration error is not, and does not (Ferrer and Ramos, arXiv 2408.02841). Cllr (detection.py) has two parts, as
there: discrimination is Cllr after the best affine calibration of the evaluated utterances themselves, one scale and
an offset per class; calibration loss is the rest. With few utterances per class the best calibration fits noise too,
so the calibration loss is a little too large.

probabilities : (N, C) float. log_likelihoods : (N, C) float, see detection.py. truth : (N,) int, class numbers.
"""

import numpy as np
import scipy  # which imports its parts when they are used

from .detection import MAX_NATS, multiclass_cllr
from .softmax import log_softmax

_MAX_STEPS = 200


def log_loss(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean negative logarithm of the true class's probability, in nats, each at most `MAX_NATS`."""
    with np.errstate(divide="ignore"):
        return float(np.minimum(-np.log(probabilities[np.arange(len(truth)), truth]), MAX_NATS).mean())


def utterance_brier(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the squared distance of each utterance's probabilities from its class, 0 to 2, (N,) float64."""
    values = np.asarray(probabilities, dtype=np.float64)
    return (values**2).sum(axis=1) - 2 * values[np.arange(len(truth)), truth] + 1


def cllr_parts(log_likelihoods: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return ``cllr_min``, the discrimination, and ``cllr_cal``, the calibration loss, in bits; see the module."""
    least = multiclass_cllr(best_affine(log_likelihoods, truth), truth)
    return {"cllr_min": least, "cllr_cal": multiclass_cllr(log_likelihoods, truth) - least}


def best_affine(log_likelihoods: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the log-likelihoods (N, C) after the scale and the offsets that minimise their Cllr.

    This is the maximum likelihood with equal weights of the classes. Classes absent from the truth have no offset.
    """
    scores = np.asarray(log_likelihoods, dtype=np.float64)
    scores = np.maximum(scores - scores.max(axis=1, keepdims=True), -MAX_NATS)
    present, places, counts = np.unique(truth, return_inverse=True, return_counts=True)
    weight, rows = (1 / counts / len(present))[places], np.arange(len(truth))
    # Normalised, so that the search takes steps of one size for any scale of scores.
    size = max(float(np.sqrt(np.mean(scores**2))), 1e-12)

    def changed(numbers: np.ndarray) -> np.ndarray:
        offsets = np.zeros(scores.shape[1])
        offsets[present] = numbers[1:]
        return scores * (numbers[0] / size) + offsets

    def at(numbers: np.ndarray) -> tuple[float, np.ndarray]:
        logarithms = log_softmax(changed(numbers))
        slope = np.exp(logarithms)
        slope[rows, truth] -= 1
        by_offset = (weight @ slope)[present]
        by_scale = weight @ np.einsum("nc,nc->n", slope, scores) / size
        return float(-weight @ logarithms[rows, truth]), np.append(by_scale, by_offset)

    begin = np.append(size, np.zeros(len(present)))
    found = scipy.optimize.minimize(
        at, begin, jac=True, method="L-BFGS-B", options={"maxiter": _MAX_STEPS, "ftol": 1e-13, "gtol": 1e-8}
    )
    best = changed(found.x)
    # Rounding, and scores further apart than the maximum, must not make it worse than the scores as they are.
    return (
        best if multiclass_cllr(best, truth) <= multiclass_cllr(log_likelihoods, truth) else np.asarray(log_likelihoods)
    )
