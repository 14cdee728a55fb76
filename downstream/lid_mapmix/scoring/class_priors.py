"""Class priors: reading those that probabilities contain, and dividing them out."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .softmax import log_softmax


def read_priors(path: Path | str) -> dict[str, float] | None:
    """Return class → prior of a JSON file: such a mapping, or SPLIT_metrics.json or calibration.json of a run.

    None if a run has recorded none. Raises OSError: the file cannot be read; ValueError: no such content.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if "prior" in content and "classes" in content:
            content = dict(zip(content["classes"], content["prior"], strict=True))
        elif "overall" in content:
            content = content.get("class_prior")
        return None if content is None else {str(name): float(value) for name, value in content.items()}
    except (TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"no number per class ({error})") from None


def ordered_priors(priors: Mapping[str, float], classes: Sequence[str]) -> list[float]:
    """Return the priors in the order of the classes, with sum 1. Raises ValueError: other classes, or none above 0."""
    if differing := sorted(set(classes) ^ set(priors)):
        raise ValueError(f"classes in one only: {', '.join(differing)}"[:200])
    values = np.array([priors[name] for name in classes], dtype=np.float64)
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise ValueError(f"a prior of {values.min()}; a rare class has a small one above 0")
    return (values / values.sum()).tolist()


def divide_out(log_probabilities: np.ndarray, class_prior: Sequence[float] | None) -> np.ndarray:
    """Return log-likelihoods, (N, C) float64: log-probabilities under equal class priors.

    `class_prior`: (C,) float, the priors in the log-probabilities (N, C); None: equal, and nothing is changed.
    """
    if class_prior is None:
        return log_probabilities
    return log_softmax(np.asarray(log_probabilities, dtype=np.float64) - np.log(class_prior))
