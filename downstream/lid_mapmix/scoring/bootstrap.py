"""Bootstrap: confidence intervals of the scores, and tests of the difference between two systems.

What is drawn are speakers, else recordings (groups), else utterances: the utterances of one speaker are not
independent. Speakers and recordings that lie within classes are drawn within them. Of m, m − 1 are drawn and weigh
m / (m − 1), because m of m have (m − 1) / m of the variance (Rao and Wu, JASA 83, 1988). Deviations from the score are
multiplied by Student's quantile over the normal one; its degrees of freedom are the drawn units minus the classes.

Intervals are percentiles over the resamples (Efron and Tibshirani, "An Introduction to the Bootstrap", chapter 13). The
minimum cost is below that of the best threshold in all data, and resamples show about half of this bias: its interval
has normal ends, and the upper one is moved by twice the bias of the resamples. Calibration error and calibration loss
have no interval: they are above 0 for calibrated systems too, by amounts that resamples do not show. Of two systems,
the calibration losses are compared; the errors are not, because their bias depends on the error itself.
bench/intervals.py has the coverage.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import scipy  # which imports its parts when they are used
from numpy.dtypes import StringDType

from ..utils.randomness import keyed_generator
from .weighted import WeightedScores

SAMPLES = 1000
# Coverage of the intervals.
LEVEL = 0.95
# With fewer units, intervals are rough; bench/intervals.py.
MIN_UNITS = 10
_NORMAL = NormalDist().inv_cdf((1 + LEVEL) / 2)
_MINIMUM = "c_primary_min"
_WITHOUT_INTERVAL = "cllr_cal"
# Equal scores differ further on: by rounding, and by the end of a search.
DIGITS = 6
_AT_MOST_1 = ("acc", "wf1", "macro_f1", "c_acc", "eer", "c_primary_min")
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


@dataclass(frozen=True, eq=False)
class Units:
    """What the bootstrap draws."""

    name: str  # "speakers", "groups" or "utterances"
    member: np.ndarray  # (N,) int, the unit of each utterance; units of a stratum are consecutive
    sizes: np.ndarray  # (strata,) int, number of units of each stratum
    alone: int = 0  # number of classes of one unit

    @property
    def spread(self) -> float:
        """By how much deviations are multiplied; NaN if a single unit tells nothing of others."""
        freedom = int((self.sizes - 1).sum())
        return float(scipy.special.stdtrit(freedom, (1 + LEVEL) / 2)) / _NORMAL if freedom else float("nan")

    @property
    def text(self) -> str:
        """What is drawn, with a warning if it is little."""
        count, utterances = int(self.sizes.sum()), f"{len(self.member)} utterances"
        drawn = utterances if self.name == "utterances" else f"{count} {self.name} of {utterances}"
        drawn += ", within classes" * (len(self.sizes) > 1)
        drawn += f"; fewer than {MIN_UNITS} say little of others" * (count < MIN_UNITS)
        # Means over classes ignore how often such a class is drawn.
        return drawn + f"; classes with one: {self.alone}, so means over classes have narrow intervals" * bool(
            self.alone
        )


def sampling_units(truth: np.ndarray, group: np.ndarray | None = None, speaker: np.ndarray | None = None) -> Units:
    """Return the units of N utterances: those that share a speaker or a group are in one unit.

    Where each unit lies within a class, the classes are strata; those of one unit are a stratum together.

    `truth`: (N,) int, class numbers. `group`, `speaker`: (N,) str, empty where unknown, or None.
    """
    count = len(truth)
    known = [
        (name, np.asarray(values).astype(StringDType()))
        for name, values in (("speakers", speaker), ("groups", group))
        if values is not None and (np.asarray(values) != "").any()
    ]
    if not known:
        return Units("utterances", np.arange(count), np.array([count]))
    edges = []
    for _, values in known:
        _, first, place = np.unique(values, return_index=True, return_inverse=True)
        edges.append(np.where(values == "", np.arange(count), first[place]))
    rows, columns = np.tile(np.arange(count), len(edges)), np.concatenate(edges)
    graph = scipy.sparse.coo_array((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    units, member = scipy.sparse.csgraph.connected_components(graph)
    lowest, highest = np.full(units, np.max(truth)), np.zeros(units, dtype=np.int64)
    np.minimum.at(lowest, member, truth)
    np.maximum.at(highest, member, truth)
    stratum = lowest if (lowest == highest).all() else np.zeros(units, dtype=np.int64)
    _, place, sizes = np.unique(stratum, return_inverse=True, return_counts=True)
    alone = (sizes == 1) & (units > 1)
    classes_alone = int(alone.sum())
    if classes_alone == 1 and len(sizes) > 1:
        alone[np.argmin(np.where(alone, units, sizes))] = True  # a single one joins the smallest other stratum
    stratum = np.where(alone[place], -1, stratum)
    order = np.argsort(stratum, kind="stable")
    _, sizes = np.unique(stratum, return_counts=True)
    return Units(known[0][0], np.argsort(order, kind="stable")[member], sizes, classes_alone)


def resampling_weights(units: Units, samples: int = SAMPLES, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield the weight of each utterance in each resample, (some samples, N) float32, `samples` rows in total.

    `samples`, `seed`: the same seed gives the same resamples.
    """
    draws = units.sizes - 1
    # Per draw, the first unit and the number of units of its stratum.
    start, size = (np.repeat(values, draws) for values in (np.cumsum(units.sizes) - units.sizes, units.sizes))
    scale = np.repeat(units.sizes / np.maximum(draws, 1), units.sizes)
    at_once = max(1, _WEIGHTS_AT_ONCE // len(units.member))
    for first in range(0, samples, at_once):
        weights = np.empty((min(at_once, samples - first), len(units.member)), dtype=np.float32)
        for row, number in enumerate(range(first, first + len(weights))):
            drawn = start + (keyed_generator(seed, "bootstrap", number).random(len(size)) * size).astype(np.int64)
            weights[row] = (np.bincount(drawn, minlength=len(scale)) * scale)[units.member]
        yield weights


def bootstrap(
    system: WeightedScores, units: Units | None = None, samples: int = SAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """Return the scores of a system with their confidence intervals; weighted.py lists what is approximate.

    `units`, `samples`, `seed`: as in `resampled_scores`.
    """
    ((value, resampled),) = resampled_scores(system, units=units, samples=samples, seed=seed)
    found: dict[str, Interval] = {}
    for name, scores in resampled.items():
        if name == _WITHOUT_INTERVAL:
            continue
        low, high = _percentiles(scores)
        if name == _MINIMUM and not np.isnan(low):
            half, bias = _NORMAL * float(np.nanstd(scores)), float(np.nanmean(scores)) - value[name]
            low, high = value[name] - half, value[name] + half + 2 * max(0.0, -bias)
        low, high = max(low, 0.0), min(high, 1.0) if name in _AT_MOST_1 else high
        found[name] = Interval(value[name], min(low, value[name]), max(high, value[name]))
    return found


def paired_bootstrap(
    first: WeightedScores, second: WeightedScores, units: Units | None = None, samples: int = SAMPLES, seed: int = 0
) -> dict[str, Difference]:
    """Return the difference of every score between two systems, second minus first, from the same resamples.

    `units`, `samples`, `seed`: as in `resampled_scores`.
    """
    found = resampled_scores(first, second, units=units, samples=samples, seed=seed)
    (value, resampled), (other_value, other) = found
    return {name: _difference(other_value[name] - value[name], other[name] - resampled[name]) for name in value}


def resampled_scores(
    *systems: WeightedScores, units: Units | None = None, samples: int = SAMPLES, seed: int = 0
) -> list[tuple[dict[str, float], dict[str, np.ndarray]]]:
    """Return for each system its scores, and those of each resample, (samples,) float64; NaN where one is not defined.

    The same arguments, and systems with the same truth and sources, give the same resamples.

    `systems`: of the same N utterances in the same order. `units`: of these utterances; None: each is drawn by itself.
    `samples`, `seed`: number of resamples, and seed of the draws.
    """
    if samples < 1:
        raise ValueError(f"expected at least one resample, found {samples}")
    order = systems[0].order  # the same for all: it depends on truth and source
    if not all(np.array_equal(system.order, order) for system in systems):
        raise ValueError("expected the same utterances of all systems, found others")
    units = sampling_units(order) if units is None else units
    found: list[list[dict[str, np.ndarray]]] = [[] for _ in systems]
    for weights in resampling_weights(replace(units, member=units.member[order]), samples, seed):
        for system, parts in zip(systems, found, strict=True):
            parts.append(system(weights))
    equal, spread = np.ones((1, len(order)), dtype=np.float32), units.spread
    result = []
    for system, parts in zip(systems, found, strict=True):
        value = {name: float(score[0]) for name, score in system(equal).items()}
        moved = {name: np.concatenate([part[name] for part in parts]) for name in value}
        result.append((value, {name: value[name] + spread * (moved[name] - value[name]) for name in value}))
    return result


def _difference(value: float, moved: np.ndarray) -> Difference:
    """Return a difference: over the original utterances, and over the resamples, (samples,) float, NaN: undefined."""
    moved = np.round(moved[~np.isnan(moved)], DIGITS)
    opposite = min((moved <= 0).sum(), (moved >= 0).sum())
    p = min(1.0, 2 * (opposite + 1) / (len(moved) + 1)) if len(moved) else float("nan")
    return Difference(value, *_percentiles(moved), p=float(p))


def mcnemar(first_right: np.ndarray, second_right: np.ndarray) -> float:
    """Return the p-value of the exact McNemar test of equal accuracy; (N,) bool each.

    The test assumes independent utterances, which cuts of one recording are not.
    """
    only_first = int((first_right & ~second_right).sum())
    only_second = int((second_right & ~first_right).sum())
    if only_first + only_second == 0:
        return 1.0
    return float(scipy.stats.binomtest(only_first, only_first + only_second).pvalue)


def _percentiles(scores: np.ndarray) -> tuple[float, float]:
    known = scores[~np.isnan(scores)]
    if len(known) == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
