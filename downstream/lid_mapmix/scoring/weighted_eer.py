"""The EER of many weightings of the same utterances at once.

Around the EER of equal weights a class has a few thresholds. For one weighting, the rates at all of them come from the
weights between one threshold and the next: a sum over utterances, and for B weightings one sparse matrix product.
"""

import numpy as np
from scipy.sparse import csc_array

from .detection import crossing, roc

# Thresholds at which a weighting's own EER is looked for: so many around that of equal weights, and its own two.
_SPREAD_POINTS = 30
_ERRORS = 6.0
_POINTS = _SPREAD_POINTS + 2


class WeightedEqualErrorRate:
    """The mean over classes of the one-vs-rest EER as a function of the utterances' weights.

    The EER of a class is read from the ROC at up to 32 of its points, within 6 standard errors of the EER of equal
    weights, and straight lines between them.

    Parameters
    ----------
    ratios : (N, C) float; see detection.py.
    truth : (N,) int, at least two classes of it.
    """

    def __init__(self, ratios: np.ndarray, truth: np.ndarray) -> None:
        self._present = np.unique(truth)
        places = np.searchsorted(self._present, truth)
        self._targets = _sums(np.arange(len(truth)), places, len(self._present), len(truth))
        rows, cells, is_own = [], [], []
        for place, name in enumerate(self._present.tolist()):
            scores = np.ascontiguousarray(ratios[:, name])
            thresholds = _thresholds(scores, places == place)
            passed = np.searchsorted(thresholds, scores, side="left")
            # Most non-targets are below all thresholds; they need no entry.
            above = np.flatnonzero(passed)
            rows.append(above.astype(np.int32))
            cells.append((place * _POINTS + passed[above] - 1).astype(np.int32))
            is_own.append(places[above] == place)
        row, cell, own = np.concatenate(rows), np.concatenate(cells), np.concatenate(is_own)
        shape = len(self._present) * _POINTS, len(truth)
        self._own, self._others = (_sums(row[chosen], cell[chosen], *shape) for chosen in (own, ~own))

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Return the mean EER of each weighting, (B,) float64, over the classes to which it gives something.

        Parameters
        ----------
        weights : (B, N) float32, not negative, in the order of the utterances; NaN with fewer than two such classes.
        """
        columns = np.ascontiguousarray(weights.T)
        targets = (self._targets @ columns).T.astype(np.float64)
        others = targets.sum(axis=1, keepdims=True) - targets
        hits, accepted = self._share(self._own, columns, targets), self._share(self._others, columns, others)
        rates = crossing(1 - hits, accepted)
        known = ~np.isnan(rates)
        with np.errstate(invalid="ignore"):
            return np.where(known, rates, 0).sum(axis=1) / known.sum(axis=1)

    @staticmethod
    def _share(sums: csc_array, columns: np.ndarray, totals: np.ndarray) -> np.ndarray:
        """Return the share that is accepted at each threshold, (B, classes, points), both ends of the ROC included."""
        between = (sums @ columns).T.astype(np.float64).reshape(*totals.shape, _POINTS)
        above = between[..., ::-1].cumsum(axis=-1)[..., ::-1]
        ends = np.ones((*totals.shape, 1)), np.zeros((*totals.shape, 1))
        with np.errstate(invalid="ignore", divide="ignore"):
            # 0 / 0: a class to which a weighting gives nothing has no rates.
            return np.concatenate([ends[0], above / totals[..., None], ends[1]], axis=-1)


def _sums(utterances: np.ndarray, cells: np.ndarray, cell_count: int, count: int) -> csc_array:
    """Return the matrix that adds up the weights of utterances in cells, (cells, N); by columns, the quickest way."""
    ones = np.ones(len(cells), dtype=np.float32)
    return csc_array((ones, (cells, utterances)), shape=(cell_count, count))


def _thresholds(scores: np.ndarray, is_target: np.ndarray) -> np.ndarray:
    """Return thresholds around the EER of equal weights, ascending, as far as other weights may move it."""
    thresholds, misses, accepted = roc(scores, is_target)
    if len(thresholds) <= _SPREAD_POINTS:
        return thresholds
    targets = int(is_target.sum())
    rate = np.clip(crossing(misses, accepted), 1 / targets, 1 - 1 / targets) if targets > 1 else 0.5
    span = _ERRORS * np.sqrt(rate * (1 - rate) * (1 / targets + 1 / (len(scores) - targets)))
    difference = misses - accepted
    places = np.searchsorted(difference, np.linspace(-span, span, _SPREAD_POINTS)).clip(max=len(thresholds) - 1)
    after = int(np.argmax(difference >= 0))  # with the point before it: the EER of equal weights lies between them
    return thresholds[np.unique([*places, after - 1, after])]
