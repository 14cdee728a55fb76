"""The data map: confidence, variability and correctness of each training utterance, and its region.

Measures and fixed regions follow Map-Mix (arXiv 2302.08229, section 2) and Dataset Cartography (arXiv 2009.10795,
sections 2 and 3). Quantile regions are for runs whose confidences lie on another scale than the paper's, where the
fixed thresholds leave regions empty. datamap_files.py reads and writes the files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

# The region of an utterance whose audio could not be read in any epoch; neither an anchor nor a partner. In version
# 0.1.0 it had the second name.
UNREAD, OLD_UNREAD = "unread", "unheard"


class Region(StrEnum):
    """Region of an utterance in the data map."""

    EASY = "easy"
    AMBIGUOUS = "ambiguous"
    HARD = "hard"


class RegionRule(StrEnum):
    """How the regions are delimited."""

    FIXED = "fixed"
    QUANTILE = "quantile"


@dataclass(frozen=True, eq=False)
class Measures:
    """Measures of N utterances over E epochs; every array is (N,).

    Only the epochs in which the audio of an utterance was read count: all of them, unless bad audio is skipped. All
    measures but `epochs` are NaN for an utterance that was never read.
    """

    confidence: np.ndarray  # float64, mean probability of the target class
    variability: np.ndarray  # float64, its standard deviation over the epochs, population (ddof = 0)
    correctness: np.ndarray  # float64, fraction of the epochs in which the prediction was the target class
    threshold_closeness: np.ndarray  # float64, ``confidence · (1 - confidence)``
    forgetfulness: np.ndarray  # float64, number of changes from a correct to a wrong prediction; NaN if never correct
    epochs: np.ndarray  # int64, number of epochs in which the audio was read


class RunningMeasures:
    """The measures of the epochs so far; time and memory per epoch do not depend on the number of epochs.

    Means and variances are updated as by Welford (Technometrics 4, 1962), in float64.

    `utterance_count`: N, utterances in the training manifest.
    """

    def __init__(self, utterance_count: int) -> None:
        self._epochs, self._right, self._forgotten = np.zeros((3, utterance_count), dtype=np.int64)
        self._mean, self._squares = np.zeros((2, utterance_count), dtype=np.float64)
        self._was_right = np.zeros(utterance_count, dtype=bool)

    def add(self, probabilities: np.ndarray, correct: np.ndarray) -> None:
        """Add an epoch; epochs come in the order of training.

        `probabilities`: (N,) float, of the target class; NaN where the audio was not read. `correct`: (N,) bool; False
        where the audio was not read.
        """
        is_read = ~np.isnan(probabilities)
        self._epochs += is_read
        change = np.where(is_read, probabilities - self._mean, 0.0)
        self._mean += change / np.maximum(self._epochs, 1)
        self._squares += change * np.where(is_read, probabilities - self._mean, 0.0)
        self._right += correct
        # An epoch without a prediction does not count as a change.
        self._forgotten += self._was_right & is_read & ~correct
        self._was_right = np.where(is_read, correct, self._was_right)

    def measures(self) -> Measures:
        """Return the measures of the epochs added so far."""
        is_read = self._epochs > 0
        epochs = np.maximum(self._epochs, 1)
        confidence = np.where(is_read, self._mean, np.nan)
        return Measures(
            confidence=confidence,
            variability=np.where(is_read, np.sqrt(self._squares / epochs), np.nan),
            correctness=np.where(is_read, self._right / epochs, np.nan),
            threshold_closeness=confidence * (1 - confidence),
            forgetfulness=np.where(self._right > 0, self._forgotten, np.nan),
            epochs=self._epochs.copy(),
        )


def measures(probabilities: np.ndarray, correct: np.ndarray) -> Measures:
    """Compute the measures of the data map from the dynamics of a run.

    `probabilities`: (E, N) float, of the target class; epochs in the order of training. NaN where not read. `correct`:
    (E, N) bool; False where the audio was not read.
    """
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
    """Return the fixed regions of Map-Mix (arXiv 2302.08229, section 2); all inequalities are strict.

    Returns (N,) str, values of `Region`.

    `confidence`, `variability`: (N,) float. `easy_confidence`, `easy_variability`: easy utterances are above the first
    and below the second. `hard_confidence`, `hard_variability`: hard utterances are below both. All others are
    ambiguous.
    """
    easy = (confidence > easy_confidence) & (variability < easy_variability)
    hard = (confidence < hard_confidence) & (variability < hard_variability)
    return _region_names(easy, hard)


def quantile_regions(
    confidence: np.ndarray,
    *,
    easy_fraction: float = 0.33,
    hard_fraction: float = 0.03,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Return regions of given sizes: the highest confidences are easy, the lowest hard.

    The default fractions are the 33 % of Dataset Cartography (arXiv 2009.10795, section 3) and the 710 hard of 24,757
    utterances in Map-Mix (arXiv 2302.08229).

    Returns (N,) str, values of `Region`. Ties are broken by order: earlier utterances rank as more confident.

    `confidence`: (N,) float. `easy_fraction`, `hard_fraction`: fractions in [0, 1] with a sum of at most 1. Counts are
    rounded to the nearest integer, halves up; where the two counts exceed the number of utterances, the hard count is
    reduced. `groups`: (N,) int, or None for one group. The fractions hold in each group, for example in each class.
    """
    groups = np.zeros(len(confidence), dtype=np.int64) if groups is None else groups
    # By group, then by descending confidence; the sort is stable, so that ties keep the order of the utterances.
    order = np.lexsort((-confidence, groups))
    _, sizes = np.unique(groups, return_counts=True)
    starts = np.cumsum(sizes) - sizes
    easy_counts = _rounded(sizes * easy_fraction)
    hard_counts = np.minimum(_rounded(sizes * hard_fraction), sizes - easy_counts)
    rank = np.arange(len(order)) - np.repeat(starts, sizes)
    easy, hard = np.zeros((2, len(order)), dtype=bool)
    easy[order] = rank < np.repeat(easy_counts, sizes)
    hard[order] = rank >= np.repeat(sizes - hard_counts, sizes)
    return _region_names(easy, hard)


def region_counts(regions: np.ndarray, target_classes: np.ndarray, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """Count the utterances of each region, per class and in total.

    Returns class name → region and ``count`` → number of utterances; the last row is ``total``. Unread utterances are
    counted where there are any.

    `regions`: (N,) str, values of `Region`, or `UNREAD`. `target_classes`: (N,) int, class numbers.
    """
    names = [*(region.value for region in Region), *([UNREAD] if (regions == UNREAD).any() else [])]
    rows: dict[str, dict[str, int]] = {}
    by_region = {name: np.bincount(target_classes[regions == name], minlength=len(classes)) for name in names}
    for number, name in enumerate(classes):
        rows[name] = {region: int(counts[number]) for region, counts in by_region.items()}
        rows[name]["count"] = sum(rows[name].values())
    rows["total"] = {region: int(counts.sum()) for region, counts in by_region.items()} | {"count": len(target_classes)}
    return rows


def _rounded(counts: np.ndarray) -> np.ndarray:
    return np.floor(counts + 0.5).astype(np.int64)


def _region_names(easy: np.ndarray, hard: np.ndarray) -> np.ndarray:
    # Numbers first: a region name takes 36 bytes per utterance, and two np.where would hold it twice.
    numbers = np.where(easy, np.int8(0), np.where(hard, np.int8(1), np.int8(2)))
    return np.array([Region.EASY.value, Region.HARD.value, Region.AMBIGUOUS.value])[numbers]
