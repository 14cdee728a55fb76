"""Bootstrap: confidence intervals of the scores, and tests of the difference between two systems.

Utterances are drawn with replacement. Utterances with a group (the 3 s and 10 s cuts of a 30 s recording) are drawn in
whole groups, because they are not independent. Intervals are percentiles over the resamples (Efron and Tibshirani,
"An Introduction to the Bootstrap", chapter 13). A calibration error is biased upwards in every resample: for a
calibrated system its percentile interval never contains the error, and is reflected at the error (Davison and
Hinkley, "Bootstrap Methods and their Application", section 5.2).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.dtypes import StringDType

from ..utils.randomness import keyed_generator
from .weighted import WeightedScores

SAMPLES = 1000
# Coverage of the intervals.
LEVEL = 0.95
# With fewer utterances or groups, intervals are too narrow and p-values too small.
MIN_GROUPS = 10
_REFLECTED = "ece"
# Weights are computed for as many samples at a time as fit: 4 bytes each.
_WEIGHTS_AT_ONCE = 25_000_000


@dataclass(frozen=True)
class Interval:
    """A score and its confidence interval; NaN if it is not defined."""

    value: float  # over the original utterances
    # low, high: over the resamples in which the score is defined.
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Interval):
    """The second system's score minus the first's, with its p-value."""

    # Two-sided: twice the fraction of resamples in which the difference is 0 or has the other sign, and at least
    # 2 divided by (samples + 1).
    p: float


def resampling_weights(
    count: int, *, group: np.ndarray | None = None, samples: int = SAMPLES, seed: int = 0
) -> Iterator[np.ndarray]:
    """Yield the count of each utterance in each resample, (some samples, N) float32, `samples` rows in total.

    Parameters
    ----------
    count : number N of utterances.
    group : (N,) str, or None; an utterance with an empty group is its own group.
    samples, seed : the same seed gives the same resamples.
    """
    members = _group_numbers(count, group)
    groups = int(members.max()) + 1
    at_once = max(1, _WEIGHTS_AT_ONCE // count)
    for start in range(0, samples, at_once):
        weights = np.empty((min(at_once, samples - start), count), dtype=np.float32)
        for row, number in enumerate(range(start, start + len(weights))):
            drawn = keyed_generator(seed, "bootstrap", number).integers(groups, size=groups, dtype=np.int32)
            weights[row] = np.bincount(drawn, minlength=groups)[members]
        yield weights


def bootstrap(
    system: WeightedScores, group: np.ndarray | None = None, samples: int = SAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """Return every score of a system with its confidence interval; weighted.py lists what is approximate in a resample.

    `group`, `samples`, `seed`: as in `resampled_scores`.
    """
    ((value, resampled),) = resampled_scores(system, group=group, samples=samples, seed=seed)
    found = {name: Interval(value[name], *_percentiles(scores)) for name, scores in resampled.items()}
    return {name: _reflect(one) if name == _REFLECTED else one for name, one in found.items()}


def paired_bootstrap(
    first: WeightedScores,
    second: WeightedScores,
    group: np.ndarray | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
) -> dict[str, Difference]:
    """Return the difference of every score between two systems, second minus first, from the same resamples.

    `group`, `samples`, `seed`: as in `resampled_scores`.
    """
    found = resampled_scores(first, second, group=group, samples=samples, seed=seed)
    (value, resampled), (other_value, other) = found
    return {name: difference_between(other_value[name] - value[name], other[name] - resampled[name]) for name in value}


def difference_between(value: float, moved: np.ndarray) -> Difference:
    """Return a difference with its interval and its p-value.

    `value`: over the original utterances. `moved`: (samples,) float, over the resamples; NaN where it is not defined.
    """
    moved = moved[~np.isnan(moved)]
    opposite = min((moved <= 0).sum(), (moved >= 0).sum())
    p = min(1.0, 2 * (opposite + 1) / (len(moved) + 1)) if len(moved) else float("nan")
    return Difference(value, *_percentiles(moved), p=float(p))


def resampled_scores(
    *systems: WeightedScores, group: np.ndarray | None = None, samples: int = SAMPLES, seed: int = 0
) -> list[tuple[dict[str, float], dict[str, np.ndarray]]]:
    """Return for each system its scores, and those of each resample, (samples,) float64; NaN where one is not defined.

    The same arguments, and systems with the same truth and sources, give the same resamples.

    `systems`: of the same N utterances in the same order. `group`: (N,) str, or None; see `resampling_weights`.
    `samples`, `seed`: number of resamples, and seed of the draws.
    """
    if samples < 1:
        raise ValueError(f"expected at least one resample, found {samples}")
    order = systems[0].order  # the same for all: it depends on truth and source
    if not all(np.array_equal(system.order, order) for system in systems):
        raise ValueError("expected the same utterances of all systems, found others")
    found: list[list[dict[str, np.ndarray]]] = [[] for _ in systems]
    ordered = None if group is None else np.asarray(group)[order]
    for weights in resampling_weights(len(order), group=ordered, samples=samples, seed=seed):
        for system, parts in zip(systems, found, strict=True):
            parts.append(system(weights))
    equal = np.ones((1, len(order)), dtype=np.float32)
    return [
        (
            {name: float(score[0]) for name, score in system(equal).items()},
            {name: np.concatenate([part[name] for part in parts]) for name in parts[0]},
        )
        for system, parts in zip(systems, found, strict=True)
    ]


def mcnemar(first_right: np.ndarray, second_right: np.ndarray) -> float:
    """Return the p-value of the exact McNemar test of equal accuracy; (N,) bool each.

    The test assumes independent utterances, which cuts of one recording are not.
    """
    from scipy.stats import binomtest  # noqa: PLC0415 - takes a second, which no other command needs

    only_first = int((first_right & ~second_right).sum())
    only_second = int((second_right & ~first_right).sum())
    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second).pvalue)


def _percentiles(scores: np.ndarray) -> tuple[float, float]:
    known = scores[~np.isnan(scores)]
    if len(known) == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _reflect(interval: Interval) -> Interval:
    """Return the interval reflected at its value, cut at 0 and extended to contain the value."""
    value = interval.value
    low, high = max(0.0, 2 * value - interval.high), 2 * value - interval.low
    return Interval(value, min(low, value), max(high, value))


def _group_numbers(count: int, group: np.ndarray | None) -> np.ndarray:
    if group is None:
        return np.arange(count)
    names, numbers = np.unique(np.asarray(group).astype(StringDType()), return_inverse=True)
    if "" in names:
        ungrouped = np.flatnonzero(numbers == 0)
        numbers[ungrouped] = len(names) + np.arange(len(ungrouped))
        numbers = np.unique(numbers, return_inverse=True)[1]
    return numbers
