"""Detection scores: log-likelihood ratios, EER, Cllr, and the costs of NIST LRE17.

Every class is a detection target: is the utterance of that class or of another? Cllr is the multiclass one of Brümmer
and van Leeuwen ("On calibration of language recognition scores", Odyssey 2006). Costs are those of the NIST 2017
Language Recognition Evaluation Plan, section 3.2: Cavg(β), actual, minimum and by argmax, on the scale on which
rejecting everything costs 1 (other toolkits halve it); C_primary is the mean over β of 1 and 9. The EER is the mean
over the classes, or, as Kaldi's compute-eer gives it for OLR, of all trials pooled; the minimum cost has one threshold
for all classes, as NIST's decisions do, or one for each.

Most functions take

log_likelihoods : (N, C) float, natural logarithms; a constant may be added to a row; minus infinity is an impossible
    class. NaN, plus infinity and a row of only minus infinity raise a ValueError.
ratios : (N, C) float, as returned by `log_likelihood_ratios`; infinities are allowed, NaN raises a ValueError. Equal
    ratios are accepted or rejected together.
truth : (N,) int, class number of each utterance.
beta : weight of false alarms.
parts : (N,) int, the data source of each utterance as numbered by `source_parts`, or None; costs are means over them.

An undefined score is NaN: with a single class present in the truth there are no non-targets, so EER and costs are NaN.
Classes absent from the truth are not targets, and false alarms for them do not count.
"""

import numpy as np
from numpy.dtypes import StringDType

from .softmax import log_softmax

BETAS = (1.0, 9.0)
# Replaces an infinite loss for a true class with probability 0, which would make the mean infinite.
MAX_NATS = 100.0
_TWO = 2


def log_likelihood_ratios(log_likelihoods: np.ndarray) -> np.ndarray:
    """Return the ratio of each class to the mean likelihood of the others, (N, C) float64; at least 2 classes.

    Infinite if the class or all others are impossible.
    """
    values = _checked(log_likelihoods)
    count, classes = values.shape
    if classes < _TWO:
        raise ValueError(f"expected at least 2 classes, found {classes}")
    rows, top = np.arange(count), values.argmax(axis=1)
    values = values - values[rows, top][:, None]
    likelihoods = np.exp(values)
    # A sum without one class is exact if the maximum stays in it. For the maximum itself, sum again.
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
    """Return the log-likelihoods with these ratios, normalised under equal priors, (N, C) float64.

    Ratios that are not consistent with any likelihoods are converted row by row by the same formula.
    """
    ratios = np.asarray(ratios, dtype=np.float64)
    if ratios.ndim != _TWO or ratios.shape[1] < _TWO or np.isnan(ratios).any():
        raise ValueError(f"expected ratios (utterances, classes) of at least 2 classes, found {ratios.shape}, or NaN")
    # P / (1 − P) · (C − 1) is the ratio; log P is then −log(1 + (C − 1) / ratio).
    return log_softmax(_checked(-np.logaddexp(0.0, np.log(ratios.shape[1] - 1) - ratios)))


def equal_error_rate(ratios: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean one-vs-rest equal error rate over the classes present; NaN with fewer than 2 present."""
    present = _present(ratios, truth)
    if len(present) < _TWO:
        return float("nan")
    return float(np.mean([class_equal_error_rate(ratios[:, target], truth == target) for target in present]))


def pooled_equal_error_rate(ratios: np.ndarray, truth: np.ndarray) -> float:
    """Return the equal error rate of all trials, an utterance against a class present each; NaN with fewer than 2."""
    present = _present(ratios, truth)
    if len(present) < _TWO:
        return float("nan")
    return class_equal_error_rate(ratios[:, present].ravel(), (truth[:, None] == present).ravel())


def class_equal_error_rate(scores: np.ndarray, is_target: np.ndarray) -> float:
    """Return the rate at which misses and false alarms are equal, on straight lines between the points of the ROC.

    Equal scores are accepted or rejected together, as in scikit-learn's ROC.
    """
    _, misses, accepted = roc(scores, is_target)
    return float(crossing(misses, accepted))


def roc(scores: np.ndarray, is_target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (points,) thresholds, and the miss and acceptance rates of a detector that accepts above them.

    The first threshold is minus infinity, which accepts everything; the others are the distinct scores, ascending.

    `scores`: (N,) float. `is_target`: (N,) bool, with both values in it.
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
    """Return the rate at which ROCs have equal miss and false-alarm rates, (…) float64; NaN where a rate is NaN.

    `misses`, `accepted`: (…, points) float, rates at ascending thresholds, from 0 and 1 to 1 and 0.
    """
    difference = misses - accepted  # rises from −1 to 1
    after = np.argmax(difference >= 0, axis=-1, keepdims=True)
    before = np.maximum(after - 1, 0)  # 0 only where there is NaN
    ends = [np.take_along_axis(values, place, -1) for values in (difference, misses) for place in (before, after)]
    with np.errstate(invalid="ignore", divide="ignore"):
        fraction = -ends[0] / (ends[1] - ends[0])
        return (ends[2] + fraction * (ends[3] - ends[2]))[..., 0]


def utterance_nats(log_likelihoods: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return minus the log posterior of the true class under equal priors, (N,) float64, at most `MAX_NATS`."""
    posteriors = log_softmax(_checked(log_likelihoods))
    return np.minimum(-posteriors[np.arange(len(truth)), truth], MAX_NATS)


def multiclass_cllr(log_likelihoods: np.ndarray, truth: np.ndarray) -> float:
    """Return the multiclass Cllr in bits under equal priors; uniform probabilities have log2 of the class count."""
    _present(log_likelihoods, truth)
    return _class_mean(utterance_nats(log_likelihoods, truth), truth) / float(np.log(2))


def utterance_costs(accepted: np.ndarray, truth: np.ndarray, beta: float) -> np.ndarray:
    """Return the cost of each utterance, (N,) float64; its mean per class, then over classes, is Cavg(β).

    An utterance costs 1 if its class is rejected, and β / (classes present − 1) for each other class present that is
    accepted. This mean of means is NIST's sum of P_miss and P_fa with its terms in another order.

    `accepted`: (N, C) bool.
    """
    present = np.unique(truth)
    if len(present) < _TWO:
        return np.full(len(truth), np.nan)
    right = accepted[np.arange(len(truth)), truth]
    wrong = accepted[:, present].sum(axis=1) - right
    return ~right + beta / (len(present) - 1) * wrong


def average_cost(accepted: np.ndarray, truth: np.ndarray, beta: float, parts: np.ndarray | None = None) -> float:
    """Return Cavg(β) of decisions, (N, C) bool, averaged over the parts if there are any."""
    _present(accepted, truth)
    parts = _parts(parts, truth)
    costs = (
        _class_mean(utterance_costs(accepted[rows], truth[rows], beta), truth[rows])
        for rows in (parts == part for part in np.unique(parts))
    )
    return float(np.mean(list(costs)))


def actual_cost(ratios: np.ndarray, truth: np.ndarray, beta: float, parts: np.ndarray | None = None) -> float:
    """Return Cavg(β) with NIST's decisions: a class is accepted if its ratio is above log β."""
    return average_cost(ratios > np.log(beta), truth, beta, parts)


def argmax_cost(log_likelihoods: np.ndarray, truth: np.ndarray, parts: np.ndarray | None = None) -> float:
    """Return the mean of Cavg(β) over `BETAS` if only the most probable class is accepted, as in Map-Mix's code."""
    log_likelihoods = np.asarray(log_likelihoods)
    accepted = log_likelihoods.argmax(axis=1)[:, None] == np.arange(log_likelihoods.shape[1])
    return float(np.mean([average_cost(accepted, truth, beta, parts) for beta in BETAS]))


def minimum_cost(
    ratios: np.ndarray, truth: np.ndarray, beta: float, parts: np.ndarray | None = None
) -> tuple[float, float]:
    """Return the minimum Cavg(β) over all thresholds, and its threshold on the ratio, for all targets and parts.

    It is never above `actual_cost`. The threshold minus infinity accepts everything.
    """
    return _minimum(*_trials(ratios, truth, beta, parts)[:2])


def class_minimum_cost(ratios: np.ndarray, truth: np.ndarray, beta: float, parts: np.ndarray | None = None) -> float:
    """Return the minimum Cavg(β) with a threshold for each target, the same for all parts."""
    scores, changes, targets = _trials(ratios, truth, beta, parts)
    order = np.argsort(targets, kind="stable")
    rows_of = np.split(order, np.flatnonzero(np.diff(targets[order])) + 1)
    return float(sum(_minimum(scores[rows], changes[rows])[0] for rows in rows_of))


def _trials(
    ratios: np.ndarray, truth: np.ndarray, beta: float, parts: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return of each trial its ratio, what Cavg(β) changes by as the threshold passes it, and its target class.

    No trial if a part has fewer than two classes.
    """
    _present(ratios, truth)
    parts = _parts(parts, truth)
    scores, changes, targets = [], [], []
    numbers = np.unique(parts)
    for part in numbers:
        rows = np.flatnonzero(parts == part)
        target_classes = truth[rows]
        present, counts = np.unique(target_classes, return_counts=True)
        if len(present) < _TWO:
            return np.empty(0), np.empty(0), np.empty(0)
        weight = (1 / counts)[np.searchsorted(present, target_classes)] / (len(present) * len(numbers))
        # As the threshold passes a trial's ratio, a target becomes a miss and a non-target is no longer a false alarm.
        change = np.repeat(-beta / (len(present) - 1) * weight[:, None], len(present), axis=1)
        change[np.arange(len(rows)), np.searchsorted(present, target_classes)] = weight
        scores.append(ratios[np.ix_(rows, present)].ravel())
        changes.append(change.ravel())
        targets.append(np.tile(present, len(rows)))
    return np.concatenate(scores), np.concatenate(changes), np.concatenate(targets)


def _minimum(scores: np.ndarray, changes: np.ndarray) -> tuple[float, float]:
    """Return the minimum cost of trials, and its threshold; see `_trials`."""
    if not len(scores):
        return float("nan"), float("nan")
    order = np.argsort(scores)
    pooled = scores[order]
    everything = -changes[changes < 0].sum()  # all are accepted: false alarms only
    costs = everything + np.cumsum(changes[order])
    ends = np.flatnonzero(np.append(pooled[1:] != pooled[:-1], True))
    best = ends[np.argmin(costs[ends])]
    if everything < costs[best]:
        return float(everything), -np.inf
    return max(0.0, float(costs[best])), float(pooled[best])


def source_parts(source: np.ndarray | None, truth: np.ndarray) -> np.ndarray | None:
    """Return 0 or 1, (N,) int64, for the two data sources whose costs are averaged; None if there are no such two.

    Costs are averaged if there are exactly two sources, every utterance has one, and each has at least two classes.

    `source`: (N,) str, empty if unknown, or None.
    """
    if source is None:
        return None
    names, parts = np.unique(np.asarray(source).astype(StringDType()), return_inverse=True)
    if len(names) != _TWO or "" in names or any(len(np.unique(truth[parts == part])) < _TWO for part in (0, 1)):
        return None
    return parts


def summarize_detection(
    log_likelihoods: np.ndarray, truth: np.ndarray, source: np.ndarray | None = None, ratios: np.ndarray | None = None
) -> dict[str, float | int | None]:
    """Return every score of this module; None if it is not defined.

    Returns ``eer`` (mean over classes), ``eer_pooled``, ``cavg_1``, ``cavg_9`` and ``c_primary`` (actual),
    ``c_primary_min`` (one threshold), ``c_primary_min_class`` (one per class), ``cavg_argmax``, ``cllr``, and two
    counts: ``targets``, the classes present, and ``sources``, the number of parts.

    `source`: (N,) str, the data source of each utterance, or None; see `source_parts`. `ratios`: (N, C)
    float, the system's own ratios, for EER and costs; None for those of the log-likelihoods.
    """
    log_likelihoods, truth = _checked(log_likelihoods), np.asarray(truth)
    present = _present(log_likelihoods, truth)
    parts = source_parts(source, truth)
    costs = (*(f"cavg_{beta:g}" for beta in BETAS), "c_primary", "c_primary_min", "c_primary_min_class", "cavg_argmax")
    scores: dict[str, float | int | None] = dict.fromkeys(("eer", "eer_pooled", *costs))
    if len(present) >= _TWO:
        ratios = log_likelihood_ratios(log_likelihoods) if ratios is None else ratios
        scores["eer"] = equal_error_rate(ratios, truth)
        scores["eer_pooled"] = pooled_equal_error_rate(ratios, truth)
        actual = [actual_cost(ratios, truth, beta, parts) for beta in BETAS]
        scores |= {f"cavg_{beta:g}": cost for beta, cost in zip(BETAS, actual, strict=True)}
        scores["c_primary"] = float(np.mean(actual))
        scores["c_primary_min"] = float(np.mean([minimum_cost(ratios, truth, beta, parts)[0] for beta in BETAS]))
        scores["c_primary_min_class"] = float(
            np.mean([class_minimum_cost(ratios, truth, beta, parts) for beta in BETAS])
        )
        scores["cavg_argmax"] = argmax_cost(log_likelihoods, truth, parts)
    cllr, sources = multiclass_cllr(log_likelihoods, truth), 1 if parts is None else _TWO
    return scores | {"cllr": cllr, "targets": len(present), "sources": sources}


def _parts(parts: np.ndarray | None, truth: np.ndarray) -> np.ndarray:
    return np.zeros(len(truth), dtype=np.int64) if parts is None else np.asarray(parts)


def _checked(log_likelihoods: np.ndarray) -> np.ndarray:
    """Return log-likelihoods (N, C) as float64; raises a ValueError as described in the module."""
    values = np.asarray(log_likelihoods, dtype=np.float64)
    if values.ndim != _TWO or values.shape[1] == 0:
        raise ValueError(f"expected log-likelihoods (utterances, classes), found shape {values.shape}")
    if len(values) and not np.isfinite(values.max(axis=1)).all():  # the maximum of a row with NaN is NaN
        raise ValueError("expected log-likelihoods below infinity, at least one finite per row; found others or NaN")
    return values


def _present(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the classes in the truth, ascending; a ValueError if values (N, C) do not match it, or have NaN."""
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


def _class_mean(values: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean over the classes present of the mean over a class's utterances, of (N,) values."""
    counts = np.bincount(truth)
    sums = np.bincount(truth, weights=values)
    return float((sums[counts > 0] / counts[counts > 0]).mean())
