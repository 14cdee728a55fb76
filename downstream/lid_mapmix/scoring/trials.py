"""What detection scores have in common: the form of what they take, and means over classes.

Detection scores look at trials: is this utterance of that class or of another?
"""

import numpy as np

_TWO = 2


def checked_log_likelihoods(log_likelihoods: np.ndarray) -> np.ndarray:
    """Return log-likelihoods (N, C) as float64.

    Raises
    ------
    ValueError : another shape, no class, NaN, plus infinity, a row of nothing but minus infinity.
    """
    values = np.asarray(log_likelihoods, dtype=np.float64)
    if values.ndim != _TWO or values.shape[1] == 0:
        raise ValueError(f"expected log-likelihoods (utterances, classes), found shape {values.shape}")
    if len(values) and not np.isfinite(values.max(axis=1)).all():  # NaN, too, is what max returns where there is one
        raise ValueError(
            "expected log-likelihoods below infinity, one at least finite in each row; found others or NaN"
        )
    return values


def present_classes(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Check values against the truth and return the classes in the truth, ascending.

    Parameters
    ----------
    values : (N, C) float or bool. truth : (N,) int, class number of each utterance.

    Raises
    ------
    ValueError : another shape, no utterance, NaN, a class that there is not.
    """
    shape = np.shape(values)
    if len(shape) != _TWO or np.shape(truth) != shape[:1]:
        raise ValueError(
            f"expected values (utterances, classes) and truth (utterances,), found {shape}, {np.shape(truth)}"
        )
    if shape[0] == 0:
        raise ValueError("expected at least one utterance to score, found none")
    if np.isnan(values).any():
        raise ValueError("expected ratios, found NaN")
    present = np.unique(truth)
    if present[0] < 0 or present[-1] >= shape[1]:
        raise ValueError(f"expected classes from 0 to {shape[1] - 1}, found {present[0]} to {present[-1]}")
    return present


def class_mean(values: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean over the classes present of the mean over a class's utterances, of (N,) values."""
    counts = np.bincount(truth)
    sums = np.bincount(truth, weights=values)
    return float((sums[counts > 0] / counts[counts > 0]).mean())
