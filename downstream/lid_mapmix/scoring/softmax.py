"""Logarithms of a softmax, without SciPy, whose import takes longer than most of what is computed with them."""

import numpy as np


def log_softmax(values: np.ndarray) -> np.ndarray:
    """Return each row (N, C) minus the logarithm of the sum of its exponentials; minus infinity is allowed."""
    top = values.max(axis=1, keepdims=True)
    shifted = values - np.where(np.isfinite(top), top, 0)
    with np.errstate(divide="ignore"):
        return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
