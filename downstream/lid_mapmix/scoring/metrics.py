"""Scores of a dialect classifier: accuracy, F1, cluster accuracy, calibration error.

The scores are those of Map-Mix (arXiv 2302.08229, section 3), the macro F1, and two proper scores. `average_windows`
averages the probabilities of an utterance's windows; all other functions take

probabilities : (N, C) float, finite, N at least 1. The prediction is the most probable class; ties go to the first.
truth : (N,) int, class number of each utterance.
cluster_indices : (C,) int, the cluster number of each class.

Probabilities of exactly 0 and 1 are allowed. NaN, infinity, no utterance and a class number of C or more raise a
ValueError. A class absent from the truth has no F1 of its own, but predicting it lowers the recall of the true class;
with one class present both F1 scores are the F1 of that class.
"""

import numpy as np

from .choices import Average
from .proper import log_loss, utterance_brier
from .softmax import log_softmax

# Equal bins on (0, 1].
ECE_BINS = 10
# The printed scores; a metrics file has more.
SUMMARY = ("acc", "wf1", "macro_f1", "c_acc", "ece")
# Replaces a probability of 0, whose logarithm would decide alone.
_MIN_PROBABILITY = np.nextafter(0.0, 1.0)


def average_windows(
    utterances: np.ndarray, probabilities: np.ndarray, average: Average = Average.PROBABILITIES
) -> tuple[np.ndarray, np.ndarray]:
    """Average the windows of each utterance.

    Returns the utterances, (evaluated,) int, ascending, and probabilities (evaluated, C) float64.

    `utterances`: (windows,) int, the utterance of each window. `probabilities`: (windows, C) float64. `average`: what
    is averaged. Where logarithms are averaged, a probability of 0 counts as 5e-324, the minimum.
    """
    numbers, place = np.unique(utterances, return_inverse=True)
    is_log = average is Average.LOG_LIKELIHOODS
    values = np.log(np.maximum(probabilities, _MIN_PROBABILITY)) if is_log else probabilities
    sums = np.zeros((len(numbers), probabilities.shape[1]))
    np.add.at(sums, place, values)
    means = sums / np.bincount(place)[:, None]
    return numbers, np.exp(log_softmax(means)) if is_log else means


def logarithms(probabilities: np.ndarray) -> np.ndarray:
    """Return natural logarithms, float64; minus infinity for a probability of 0."""
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(probabilities, dtype=np.float64))


def within_cluster_accuracy(probabilities: np.ndarray, truth: np.ndarray, cluster_indices: np.ndarray) -> float:
    """Return the accuracy given the cluster: the prediction is the most probable class of the true cluster."""
    eligible = cluster_indices[truth][:, None] == cluster_indices[None, :]
    return float((np.where(eligible, probabilities, -1.0).argmax(axis=1) == truth).mean())


def expected_calibration_error(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean of |top probability − accuracy| over bins of equal width, weighted by the bins' counts.

    Bins are open below and closed above, so 1.0 belongs to the last bin. A top probability of exactly 0, which no
    softmax returns, counts in the first. The edges k/bins are compared in the dtype of `probabilities`.
    """
    right = _answers(probabilities, truth) == truth
    top = np.asarray(probabilities).max(axis=1)
    bins = confidence_bins(top)
    # |mean top - mean right| · size / N is |sum top - sum right| / N: empty bins need no special case.
    surplus = np.bincount(bins, weights=top.astype(np.float64) - right, minlength=ECE_BINS)
    return float(np.abs(surplus).sum() / len(top))


def calibration_noise(probabilities: np.ndarray) -> tuple[float, float]:
    """Return mean and standard deviation of the calibration error of a calibrated system with these probabilities.

    It is above 0, because the accuracy of a bin differs from its expectation by chance. Each bin's number of right
    predictions is taken as normal.
    """
    top = np.asarray(probabilities, dtype=np.float64).max(axis=1)
    variance = np.bincount(confidence_bins(top), weights=top * (1 - top)).clip(min=0)
    mean = np.sqrt(2 / np.pi * variance).sum() / len(top)
    return float(mean), float(np.sqrt((1 - 2 / np.pi) * variance.sum()) / len(top))


def confidence_bins(top: np.ndarray) -> np.ndarray:
    """Return the bin number, from 0, of each top probability, (N,) int64; see `expected_calibration_error`."""
    edges = (np.arange(1, ECE_BINS) / ECE_BINS).astype(top.dtype)
    return np.searchsorted(edges, top, side="left")


def reliability_curve(probabilities: np.ndarray, truth: np.ndarray) -> list[dict[str, float | int]]:
    """Return the points of a reliability diagram, one per non-empty bin, ascending.

    Each is ``{"low", "high": edges of the bin, "confidence": mean top probability, "accuracy", "count"}``; the
    calibration error is the mean of |confidence − accuracy| weighted by the counts.
    """
    right = _answers(probabilities, truth) == truth
    top = np.asarray(probabilities).max(axis=1)
    bins = confidence_bins(top)
    return [
        {
            "low": number / ECE_BINS,
            "high": (number + 1) / ECE_BINS,
            "confidence": float(top[bins == number].mean(dtype=np.float64)),
            "accuracy": float(right[bins == number].mean()),
            "count": int((bins == number).sum()),
        }
        for number in np.unique(bins).tolist()
    ]


def summarize(probabilities: np.ndarray, truth: np.ndarray, cluster_indices: np.ndarray) -> dict[str, float]:
    """Return the scores of `SUMMARY`, and the other `calibration_scores`.

    ``acc`` is the fraction of right predictions, ``c_acc`` that of predictions in the true class's cluster. ``wf1`` and
    ``macro_f1`` are the means of F1 over the classes present in the truth, weighted by their utterances and unweighted.
    """
    answers = _answers(probabilities, truth)
    f1, counts = _f1_per_class(answers, truth)
    return {
        "acc": float((answers == truth).mean()),
        "wf1": float(np.average(f1, weights=counts)),
        "macro_f1": float(f1.mean()),
        "c_acc": float((cluster_indices[answers] == cluster_indices[truth]).mean()),
        **calibration_scores(probabilities, truth),
    }


def calibration_scores(probabilities: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return ``ece``, ``ece_floor`` and ``ece_floor_sd`` (`calibration_noise`), ``log_loss`` and ``brier``."""
    error = expected_calibration_error(probabilities, truth)
    mean, deviation = calibration_noise(probabilities)
    proper = {"log_loss": log_loss(probabilities, truth), "brier": float(utterance_brier(probabilities, truth).mean())}
    return {"ece": error, "ece_floor": mean, "ece_floor_sd": deviation, **proper}


def _f1_per_class(answers: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return F1 and number of utterances of each class present in the truth, in the order of their numbers.

    scikit-learn gives the same, and importing it would take two seconds of each command.
    """
    classes, counts = np.unique(truth, return_counts=True)
    size = 1 + max(classes[-1], answers.max())
    correct = np.bincount(truth[answers == truth], minlength=size)[classes]
    return 2 * correct / (counts + np.bincount(answers, minlength=size)[classes]), counts


def _answers(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Check the arguments of a score and return the predicted classes, (N,) int64."""
    probabilities, truth = np.asarray(probabilities), np.asarray(truth)
    if probabilities.ndim != 2 or truth.shape != probabilities.shape[:1]:  # noqa: PLR2004
        raise ValueError(
            f"expected probabilities (utterances, classes) and truth (utterances,), "
            f"found {probabilities.shape} and {truth.shape}"
        )
    if len(truth) == 0:
        raise ValueError("expected at least one utterance to score, found none")
    if not np.isfinite(probabilities).all():
        raise ValueError("expected finite probabilities, found NaN or infinity")
    if truth.min() < 0 or truth.max() >= probabilities.shape[1]:
        raise ValueError(
            f"expected classes from 0 to {probabilities.shape[1] - 1}, found {truth.min()} to {truth.max()}"
        )
    return probabilities.argmax(axis=1)
