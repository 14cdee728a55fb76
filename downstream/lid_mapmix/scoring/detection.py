"""Detection scores: log-likelihood ratios, EER, Cllr, and all of them with the costs of costs.py.

Every class is a target of its own: is this utterance of that class or of another? Cllr is the multiclass one of Brümmer
and van Leeuwen ("On calibration of language recognition scores", Odyssey 2006).

Most functions take

log_likelihoods : (N, C) float, natural logarithms, a row may be off by a constant; minus infinity is a class that is
    impossible. NaN, plus infinity and a row of nothing but minus infinity are ValueErrors.
ratios : (N, C) float, what `log_likelihood_ratios` returns; infinities are allowed.
truth : (N,) int, class number of each utterance.

What is not defined is NaN: with a single class present in the truth there are no non-targets, so EER and costs are NaN.
Classes absent from the truth are no targets.
"""

import numpy as np
from scipy.special import log_softmax

from .costs import (
    BETAS,
    actual_cost,
    argmax_cost,
    checked_log_likelihoods,
    class_mean,
    minimum_cost,
    present_classes,
    source_parts,
)

# What a true class of probability 0 costs, in place of infinity: one such utterance must not leave no figure at all.
MOST_NATS = 100.0
_TWO = 2


def log_likelihood_ratios(log_likelihoods: np.ndarray) -> np.ndarray:
    """Return each class against the mean likelihood of the others, (N, C) float64; at least 2 classes.

    Infinite where either side is impossible.
    """
    values = checked_log_likelihoods(log_likelihoods)
    count, classes = values.shape
    if classes < _TWO:
        raise ValueError(f"expected at least 2 classes to tell apart, found {classes}")
    rows, top = np.arange(count), values.argmax(axis=1)
    values = values - values[rows, top][:, None]
    likelihoods = np.exp(values)
    # The sum without one class loses no digits as long as the likeliest stays in it. For that one itself, sum anew.
    others = likelihoods.sum(axis=1, keepdims=True) - likelihoods
    without = values.copy()
    without[rows, top] = -np.inf
    second = without.max(axis=1)
    shift = np.where(np.isfinite(second), second, 0.0)
    with np.errstate(divide="ignore"):
        log_others = np.log(others)
        log_others[rows, top] = np.log(np.exp(without - shift[:, None]).sum(axis=1)) + shift
    return values - log_others + np.log(classes - 1)


def log_likelihoods_from_ratios(ratios: np.ndarray) -> np.ndarray:
    """Return the log-likelihoods, normalised under equal priors, (N, C) float64, whose ratios these are.

    Ratios of another system that belong to no likelihoods at all are taken as if they did, row by row.
    """
    ratios = np.asarray(ratios, dtype=np.float64)
    if ratios.ndim != _TWO or ratios.shape[1] < _TWO or np.isnan(ratios).any():
        raise ValueError(f"expected ratios (utterances, classes) of at least 2 classes, found {ratios.shape}, or NaN")
    # P / (1 − P) · (C − 1) is the ratio; log P is then −log(1 + (C − 1) / ratio).
    return log_softmax(checked_log_likelihoods(-np.logaddexp(0.0, np.log(ratios.shape[1] - 1) - ratios)), axis=1)


def equal_error_rate(ratios: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean over the classes present of the one-vs-rest equal error rate; NaN with fewer than 2 present."""
    present = present_classes(ratios, truth)
    if len(present) < _TWO:
        return float("nan")
    return float(np.mean([class_equal_error_rate(ratios[:, target], truth == target) for target in present]))


def class_equal_error_rate(scores: np.ndarray, is_target: np.ndarray) -> float:
    """Return where misses and wrong acceptances are equally frequent, on straight lines between the ROC's points.

    Equal scores are accepted or rejected together: they are one straight line, as in scikit-learn's ROC.
    """
    _, misses, accepted = roc(scores, is_target)
    return float(crossing(misses, accepted))


def roc(scores: np.ndarray, is_target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (points,) thresholds, and rates of misses and of wrong acceptances of a detector that accepts above them.

    The first point accepts everything (its threshold is minus infinity); the others are the distinct scores, ascending.

    Parameters
    ----------
    scores : (N,) float. is_target : (N,) bool, with both values in it.
    """
    order = np.argsort(scores, kind="stable")
    ordered, targets = scores[order], is_target[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    rejected = np.cumsum(targets)[ends]
    count = int(targets.sum())
    misses = rejected / count
    accepted = 1 - (ends + 1 - rejected) / (len(targets) - count)
    return np.append(-np.inf, ordered[ends]), np.append(0.0, misses), np.append(1.0, accepted)


def crossing(misses: np.ndarray, accepted: np.ndarray) -> np.ndarray:
    """Return the rate at which ROCs have as many misses as wrong acceptances, (…) float64; NaN where a rate is.

    Parameters
    ----------
    misses, accepted : (…, points) float, rates at ascending thresholds, from 0 and 1 to 1 and 0.
    """
    difference = misses - accepted  # rises from −1 to 1
    after = np.argmax(difference >= 0, axis=-1, keepdims=True)
    before = np.maximum(after - 1, 0)  # 0 only where there is NaN
    ends = [np.take_along_axis(values, place, -1) for values in (difference, misses) for place in (before, after)]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = -ends[0] / (ends[1] - ends[0])
        return (ends[2] + share * (ends[3] - ends[2]))[..., 0]


def utterance_nats(log_likelihoods: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return minus the log posterior of the true class under equal priors, (N,) float64, at most `MOST_NATS`."""
    posteriors = log_softmax(checked_log_likelihoods(log_likelihoods), axis=1)
    return np.minimum(-posteriors[np.arange(len(truth)), truth], MOST_NATS)


def multiclass_cllr(log_likelihoods: np.ndarray, truth: np.ndarray) -> float:
    """Return the multiclass Cllr in bits, equal priors; knowing nothing costs log2 of the number of classes."""
    present_classes(log_likelihoods, truth)
    return class_mean(utterance_nats(log_likelihoods, truth), truth) / float(np.log(2))


def summarize_detection(
    log_likelihoods: np.ndarray,
    truth: np.ndarray,
    source: np.ndarray | None = None,
    ratios: np.ndarray | None = None,
) -> dict[str, float | int | None]:
    """Return every score of this module; None where it is not defined.

    Parameters
    ----------
    log_likelihoods, truth : see the module.
    source : (N,) str, the data source of each utterance, or None; see `source_parts`.
    ratios : (N, C) float, those that a system gives itself, for EER and costs; None: those of the log-likelihoods.

    Returns
    -------
    ``eer``, ``cavg_1``, ``cavg_9`` (act), ``c_primary`` (act), ``c_primary_min``, ``cavg_argmax``, ``cllr``, and two
    counts: ``targets``, the classes present, and ``sources``, the parts whose costs were averaged.
    """
    log_likelihoods, truth = checked_log_likelihoods(log_likelihoods), np.asarray(truth)
    present = present_classes(log_likelihoods, truth)
    parts = source_parts(source, truth)
    scores: dict[str, float] = {}
    if len(present) >= _TWO:
        ratios = log_likelihood_ratios(log_likelihoods) if ratios is None else ratios
        scores["eer"] = equal_error_rate(ratios, truth)
        actual = [actual_cost(ratios, truth, beta, parts) for beta in BETAS]
        scores |= {f"cavg_{beta:g}": cost for beta, cost in zip(BETAS, actual, strict=True)}
        scores["c_primary"] = float(np.mean(actual))
        scores["c_primary_min"] = float(np.mean([minimum_cost(ratios, truth, beta, parts).cost for beta in BETAS]))
        scores["cavg_argmax"] = argmax_cost(log_likelihoods, truth, parts)
    names = ("eer", *(f"cavg_{beta:g}" for beta in BETAS), "c_primary", "c_primary_min", "cavg_argmax")
    return {
        **{name: scores.get(name) for name in names},
        "cllr": multiclass_cllr(log_likelihoods, truth),
        "targets": len(present),
        "sources": 1 if parts is None else _TWO,
    }
