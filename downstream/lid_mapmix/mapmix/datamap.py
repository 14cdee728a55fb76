"""The data map: how sure, how steady and how often right a run was of each utterance, and its region.

Measures and fixed regions follow Map-Mix (arXiv 2302.08229, section 2) and Dataset Cartography (arXiv 2009.10795,
sections 2 and 3). Quantile regions are for runs that learn at another speed than the paper's, for which its fixed
thresholds leave regions empty. The files are in datamap_files.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

# In place of a region, of an utterance whose audio could not be read in any epoch; it is in no pool.
UNHEARD = "unheard"


class Region(StrEnum):
    """Where an utterance lies in the data map."""

    EASY = "easy"
    AMBIGUOUS = "ambiguous"
    HARD = "hard"


class RegionRule(StrEnum):
    """How the regions are delimited."""

    FIXED = "fixed"
    QUANTILE = "quantile"


@dataclass(frozen=True, eq=False)
class Measures:
    """What the dynamics of E epochs say of each of N utterances; every array is (N,).

    They are over the epochs in which an utterance was heard: all of them, unless bad audio was skipped. One that was
    heard in none has NaN for all but `epochs`.

    Attributes
    ----------
    confidence : float64, mean probability of the gold class.
    variability : float64, its standard deviation over the epochs, population (ddof = 0).
    correctness : float64, fraction of the epochs in which the answer was right.
    threshold_closeness : float64, ``confidence · (1 - confidence)``.
    forgetfulness : float64, how often a right answer was followed by a wrong one; NaN where never right.
    epochs : int64, how many they are.
    """

    confidence: np.ndarray
    variability: np.ndarray
    correctness: np.ndarray
    threshold_closeness: np.ndarray
    forgetfulness: np.ndarray
    epochs: np.ndarray


class RunningMeasures:
    """The measures of the epochs so far: what an epoch takes does not grow with those before it.

    Means and variances are updated as by Welford (Technometrics 4, 1962), in float64.

    Parameters
    ----------
    utterance_count : N, utterances in the training manifest.
    """

    def __init__(self, utterance_count: int) -> None:
        self._epochs, self._right, self._forgotten = np.zeros((3, utterance_count), dtype=np.int64)
        self._mean, self._squares = np.zeros((2, utterance_count), dtype=np.float64)
        self._was_right = np.zeros(utterance_count, dtype=bool)

    def add(self, probabilities: np.ndarray, correct: np.ndarray) -> None:
        """Add an epoch; epochs come in the order of training.

        Parameters
        ----------
        probabilities : (N,) float, of the gold class; NaN where not heard.
        correct : (N,) bool; False where not heard.
        """
        if probabilities.shape != self._mean.shape or correct.shape != self._mean.shape:
            raise ValueError(
                f"expected probabilities and correct {self._mean.shape}, found {probabilities.shape}, {correct.shape}"
            )
        if np.isinf(probabilities).any():
            raise ValueError("expected finite probabilities, or NaN where not heard, found infinity")
        heard = ~np.isnan(probabilities)
        self._epochs += heard
        change = np.where(heard, probabilities - self._mean, 0.0)
        self._mean += change / np.maximum(self._epochs, 1)
        self._squares += change * np.where(heard, probabilities - self._mean, 0.0)
        self._right += correct
        # Nothing is forgotten in an epoch without an answer.
        self._forgotten += self._was_right & heard & ~correct
        self._was_right = np.where(heard, correct, self._was_right)

    def measures(self) -> Measures:
        """Return what the epochs come to."""
        heard = self._epochs > 0
        epochs = np.maximum(self._epochs, 1)
        confidence = np.where(heard, self._mean, np.nan)
        return Measures(
            confidence=confidence,
            variability=np.where(heard, np.sqrt(self._squares / epochs), np.nan),
            correctness=np.where(heard, self._right / epochs, np.nan),
            threshold_closeness=confidence * (1 - confidence),
            forgetfulness=np.where(self._right > 0, self._forgotten, np.nan),
            epochs=self._epochs.copy(),
        )


def measures(probabilities: np.ndarray, correct: np.ndarray) -> Measures:
    """Reduce the dynamics of a run to the measures of the data map.

    Parameters
    ----------
    probabilities : (E, N) float, of the gold class; epochs in the order of training. NaN where not heard.
    correct : (E, N) bool; False where not heard.
    """
    if probabilities.ndim != 2 or probabilities.shape != correct.shape:  # noqa: PLR2004
        raise ValueError(
            f"expected probabilities and correct (epochs, utterances), found {probabilities.shape}, {correct.shape}"
        )
    if len(probabilities) < 1:
        raise ValueError("expected at least one epoch of dynamics, found none")
    running = RunningMeasures(probabilities.shape[1])
    for epoch in zip(probabilities, correct, strict=True):
        running.add(*epoch)
    return running.measures()


def fixed_regions(
    confidence: np.ndarray,
    variability: np.ndarray,
    *,
    easy_confidence: float = 0.6,
    easy_variability: float = 0.3,
    hard_confidence: float = 0.3,
    hard_variability: float = 0.2,
) -> np.ndarray:
    """Return the regions of Map-Mix (arXiv 2302.08229, section 2); all inequalities are strict.

    Parameters
    ----------
    confidence, variability : (N,) float.
    easy_confidence, easy_variability : easy is above the one and below the other.
    hard_confidence, hard_variability : hard is below both. What is neither easy nor hard is ambiguous.

    Returns
    -------
    (N,) str, values of `Region`.
    """
    _check_confidence(confidence)
    if variability.shape != confidence.shape:
        raise ValueError(f"expected variability of shape {confidence.shape}, found {variability.shape}")
    if hard_confidence > easy_confidence:
        raise ValueError(
            f"expected hard_confidence to be at most easy_confidence, found {hard_confidence} and {easy_confidence}"
        )
    easy = (confidence > easy_confidence) & (variability < easy_variability)
    hard = (confidence < hard_confidence) & (variability < hard_variability)
    return _region_names(easy, hard)


def quantile_regions(
    confidence: np.ndarray, *, easy_share: float = 0.33, hard_share: float = 0.03, groups: np.ndarray | None = None
) -> np.ndarray:
    """Return regions of given sizes: the most confident are easy, the least confident hard.

    The default shares are the 33 % of Dataset Cartography (arXiv 2009.10795, section 3) and the 710 hard of 24,757
    utterances in Map-Mix (arXiv 2302.08229).

    Parameters
    ----------
    confidence : (N,) float.
    easy_share, hard_share : fractions in [0, 1], together at most 1. Counts are rounded to the nearest, halves up;
        where that asks for more than there are, easy comes first.
    groups : (N,) int, or None for one group. The shares are taken in each group, for example in each class.

    Returns
    -------
    (N,) str, values of `Region`. Among equal confidences, those first in order are the easier ones.
    """
    _check_confidence(confidence)
    if not (easy_share >= 0 and hard_share >= 0 and easy_share + hard_share <= 1):
        raise ValueError(f"expected shares from 0 to 1, together at most 1, found {easy_share} and {hard_share}")
    groups = np.zeros(len(confidence), dtype=np.int64) if groups is None else np.asarray(groups)
    if groups.shape != confidence.shape:
        raise ValueError(f"expected groups of shape {confidence.shape}, found {groups.shape}")
    # By group, then from the highest confidence down; stable, so that ties stay in the order of the utterances.
    order = np.lexsort((-confidence, groups))
    _, sizes = np.unique(groups, return_counts=True)
    starts = np.cumsum(sizes) - sizes
    easy_counts = _rounded(sizes * easy_share)
    hard_counts = np.minimum(_rounded(sizes * hard_share), sizes - easy_counts)
    rank = np.arange(len(order)) - np.repeat(starts, sizes)
    easy, hard = np.zeros((2, len(order)), dtype=bool)
    easy[order] = rank < np.repeat(easy_counts, sizes)
    hard[order] = rank >= np.repeat(sizes - hard_counts, sizes)
    return _region_names(easy, hard)


def region_counts(regions: np.ndarray, gold: np.ndarray, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """Count the utterances of each region, class by class and in all.

    Parameters
    ----------
    regions : (N,) str, values of `Region`, or `UNHEARD`.
    gold : (N,) int, class numbers.
    classes : their names.

    Returns
    -------
    class name → region and ``count`` → number of utterances; the last row, ``total``, is that of all. Where any are
    unheard, they are counted as well.
    """
    names = [*(region.value for region in Region), *([UNHEARD] if (regions == UNHEARD).any() else [])]
    rows: dict[str, dict[str, int]] = {}
    by_region = {name: np.bincount(gold[regions == name], minlength=len(classes)) for name in names}
    for number, name in enumerate(classes):
        rows[name] = {region: int(counts[number]) for region, counts in by_region.items()}
        rows[name]["count"] = sum(rows[name].values())
    rows["total"] = {region: int(counts.sum()) for region, counts in by_region.items()} | {"count": len(gold)}
    return rows


def _rounded(counts: np.ndarray) -> np.ndarray:
    return np.floor(counts + 0.5).astype(np.int64)


def _region_names(easy: np.ndarray, hard: np.ndarray) -> np.ndarray:
    # Numbers first: a name takes 36 bytes an utterance, and two np.where would hold it twice.
    numbers = np.where(easy, np.int8(0), np.where(hard, np.int8(1), np.int8(2)))
    return np.array([Region.EASY.value, Region.HARD.value, Region.AMBIGUOUS.value])[numbers]


def _check_confidence(confidence: np.ndarray) -> None:
    if confidence.ndim != 1 or not np.isfinite(confidence).all():
        raise ValueError(f"expected confidence (utterances,), all finite, found shape {confidence.shape} or NaN in it")
