"""Detection costs as NIST LRE17 counts them: Cavg(β), actual, minimum and by argmax.

They are those of the NIST 2017 Language Recognition Evaluation Plan, section 3.2, on the scale on which rejecting
everything costs 1 (other toolkits halve it); C_primary is their mean over β 1 and 9. Most functions take

ratios : (N, C) float, log-likelihood ratios as of detection.py; infinities are allowed, NaN is a ValueError.
truth : (N,) int, class number of each utterance.
beta : weight of the wrong acceptances.
parts : (N,) int, the data source of each utterance as `source_parts` numbers them, whose costs are averaged; or None.

Equal ratios are accepted or rejected together. With a single class present in the truth there are no wrong acceptances
to count, and costs are NaN. Classes absent from the truth are no targets, and no wrong acceptances count for them.

What detection scores have in common: the form of what they take, and means over classes.

Detection scores look at trials: is this utterance of that class or of another?
"""

from dataclasses import dataclass

import numpy as np
from numpy.dtypes import StringDType

BETAS = (1.0, 9.0)
_TWO = 2


@dataclass(frozen=True)
class Thresholded:
    """The lowest cost over all thresholds, and the log-likelihood ratio above which to accept for it."""

    cost: float
    threshold: float


def utterance_costs(accepted: np.ndarray, truth: np.ndarray, beta: float) -> np.ndarray:
    """Return what each utterance costs, (N,) float64; their mean over utterances, then classes, is Cavg(β).

    An utterance costs 1 where its class is rejected, and β / (classes present − 1) for each other class present that is
    accepted. The mean of means is NIST's sum of P_miss and P_fa with its terms in another order.

    Parameters
    ----------
    accepted : (N, C) bool. truth : see the module. beta : weight of the wrong acceptances.
    """
    present = np.unique(truth)
    if len(present) < _TWO:
        return np.full(len(truth), np.nan)
    right = accepted[np.arange(len(truth)), truth]
    wrong = accepted[:, present].sum(axis=1) - right
    return ~right + beta / (len(present) - 1) * wrong


def utterance_costs_at(thresholds: np.ndarray, ratios: np.ndarray, truth: np.ndarray, beta: float) -> np.ndarray:
    """Return `utterance_costs` of the decisions at each of many thresholds, (N, thresholds) float64.

    Parameters
    ----------
    thresholds : (thresholds,) float, ascending; what is above one is accepted.
    ratios, truth, beta : see the module.
    """
    present = np.unique(truth)
    count, steps = len(truth), len(thresholds) + 1
    if len(present) < _TWO:
        return np.full((count, steps - 1), np.nan)
    # How many thresholds each ratio is above; so many of the first accept it.
    passed = np.searchsorted(thresholds, ratios[:, present], side="left")
    own = passed[np.arange(count), np.searchsorted(present, truth)]
    cells = (passed + steps * np.arange(count)[:, None]).ravel()
    stops = np.bincount(cells, minlength=count * steps).reshape(count, steps)
    accepted = len(present) - stops.cumsum(axis=1)[:, :-1]
    right = own[:, None] > np.arange(steps - 1)
    return ~right + beta / (len(present) - 1) * (accepted - right)


def average_cost(accepted: np.ndarray, truth: np.ndarray, beta: float, parts: np.ndarray | None = None) -> float:
    """Return Cavg(β) of decisions; with parts, the mean of the parts' costs.

    Parameters
    ----------
    accepted : (N, C) bool. truth : see the module. beta : weight of the wrong acceptances.
    parts : (N,) int, the data source of each utterance as `source_parts` numbers them, or None.
    """
    present_classes(accepted, truth)
    parts = _parts(parts, truth)
    return float(
        np.mean(
            [
                class_mean(utterance_costs(accepted[rows], truth[rows], beta), truth[rows])
                for rows in (parts == part for part in np.unique(parts))
            ]
        )
    )


def actual_cost(ratios: np.ndarray, truth: np.ndarray, beta: float, parts: np.ndarray | None = None) -> float:
    """Return Cavg(β) where a class is accepted if its ratio is above log β, as NIST decides."""
    return average_cost(ratios > np.log(beta), truth, beta, parts)


def argmax_cost(log_likelihoods: np.ndarray, truth: np.ndarray, parts: np.ndarray | None = None) -> float:
    """Return the mean of Cavg(β) over `BETAS` where the likeliest class alone is accepted, as Map-Mix's code does."""
    log_likelihoods = np.asarray(log_likelihoods)
    accepted = log_likelihoods.argmax(axis=1)[:, None] == np.arange(log_likelihoods.shape[1])
    return float(np.mean([average_cost(accepted, truth, beta, parts) for beta in BETAS]))


def minimum_cost(ratios: np.ndarray, truth: np.ndarray, beta: float, parts: np.ndarray | None = None) -> Thresholded:
    """Return the least Cavg(β) of any threshold, one and the same for all targets and parts.

    So it is never above `actual_cost`. Accepting everything is the threshold minus infinity.
    """
    present_classes(ratios, truth)
    parts = _parts(parts, truth)
    scores, changes, everything = [], [], 0.0
    numbers = np.unique(parts)
    for part in numbers:
        rows = np.flatnonzero(parts == part)
        gold = truth[rows]
        present, counts = np.unique(gold, return_counts=True)
        if len(present) < _TWO:
            return Thresholded(float("nan"), float("nan"))
        weight = (1 / counts)[np.searchsorted(present, gold)] / (len(present) * len(numbers))
        # As the threshold passes a trial's ratio, a target becomes a miss and a non-target stops being accepted.
        change = np.repeat(-beta / (len(present) - 1) * weight[:, None], len(present), axis=1)
        everything -= change.sum() - change[:, 0].sum()
        change[np.arange(len(rows)), np.searchsorted(present, gold)] = weight
        scores.append(ratios[np.ix_(rows, present)].ravel())
        changes.append(change.ravel())
    pooled = np.concatenate(scores)
    order = np.argsort(pooled)
    pooled = pooled[order]
    costs = everything + np.cumsum(np.concatenate(changes)[order])
    ends = np.flatnonzero(np.append(pooled[1:] != pooled[:-1], True))
    best = ends[np.argmin(costs[ends])]
    if everything < costs[best]:
        return Thresholded(float(everything), -np.inf)
    return Thresholded(max(0.0, float(costs[best])), float(pooled[best]))


def source_parts(source: np.ndarray | None, truth: np.ndarray) -> np.ndarray | None:
    """Return 0 or 1, (N,) int64, by the two data sources whose costs are averaged; None where all count as one.

    They are averaged where there are exactly two, every utterance has one, and each has two classes or more.

    Parameters
    ----------
    source : (N,) str, empty where unknown, or None. truth : see the module.
    """
    if source is None:
        return None
    names, parts = np.unique(np.asarray(source).astype(StringDType()), return_inverse=True)
    if len(names) != _TWO or "" in names or any(len(np.unique(truth[parts == part])) < _TWO for part in (0, 1)):
        return None
    return parts


def _parts(parts: np.ndarray | None, truth: np.ndarray) -> np.ndarray:
    return np.zeros(len(truth), dtype=np.int64) if parts is None else np.asarray(parts)


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
