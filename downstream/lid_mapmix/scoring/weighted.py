"""All scores for many weightings of the same utterances, as a bootstrap needs them.

A score is computed from sums over utterances: of correct predictions, of costs, of bits. For B weightings these sums
are one matrix product, weights (B, N) @ values (N, …); no utterance is copied or sorted again.

For the EER, each class has some thresholds around the EER under equal weights. The rates at all of them are cumulative
sums of the weights between one threshold and the next, and for B weightings one sparse matrix product.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy  # which imports its parts when they are used

from .class_priors import divide_out
from .detection import (
    BETAS,
    crossing,
    log_likelihood_ratios,
    minimum_cost,
    roc,
    source_parts,
    utterance_costs,
    utterance_nats,
)
from .proper import best_affine, utterance_brier
from .softmax import log_softmax

# Thresholds to search for a weighting's minimum cost, around that of equal weights.
_MINIMUM_POINTS = 33
_MINIMUM_NATS = 2.0
# Thresholds to search for a weighting's EER: these around that of equal weights, and two next to it.
_SPREAD_POINTS = 30
_ERRORS = 6.0
_POINTS = _SPREAD_POINTS + 2


class WeightedScores:
    """The scores of metrics.py and detection.py as functions of the utterances' weights.

    With integer weights they are the scores of a data set in which each utterance occurs that often, with three
    exceptions. The EER of a class is read from a few points of its ROC; see `WeightedEqualErrorRate`. The minimum cost
    is the minimum over 33 thresholds within 2 nats of the best one of equal weights, and over rejecting everything.
    And false alarms for a class with a total weight of 0 still count.

    Arguments are as in detection.py and scorecard.py. `class_prior`: (C,) float, class priors in the log-likelihoods,
    divided out for EER, costs and Cllr; None: equal. `ratios`: (N, C) float, the system's own ratios, for EER and
    costs; None for those of the log-likelihoods.
    """

    def __init__(
        self,
        log_likelihoods: np.ndarray,
        truth: np.ndarray,
        cluster_indices: np.ndarray,
        source: np.ndarray | None = None,
        ratios: np.ndarray | None = None,
        *,
        class_prior: Sequence[float] | None = None,
    ) -> None:
        truth, cluster_indices = np.asarray(truth), np.asarray(cluster_indices)
        parts = source_parts(source, truth)
        self._part_count = 1 if parts is None else 2
        parts = np.zeros(len(truth), dtype=np.int64) if parts is None else parts
        self.present = np.unique(truth)
        # The utterances of a part and a class are consecutive: a cell is a slice.
        self.order = np.lexsort((truth, parts))
        self._truth, parts = truth[self.order], parts[self.order]
        values = np.asarray(log_likelihoods, dtype=np.float64)[self.order]
        keys = parts * len(cluster_indices) + self._truth
        cells = np.arange(self._part_count)[:, None] * len(cluster_indices) + self.present
        starts, ends = (np.searchsorted(keys, cells, side=side).tolist() for side in ("left", "right"))
        self._cells = [list(map(slice, *bounds)) for bounds in zip(starts, ends, strict=True)]
        answers = values.argmax(axis=1)
        likelihoods = divide_out(values, class_prior)
        brier = utterance_brier(np.exp(log_softmax(values)), self._truth)
        columns = [np.ones(len(truth)), answers == self._truth, utterance_nats(values, self._truth), brier]
        # By the envelope theorem, to first order a resample's best calibration has the loss of that of equal weights.
        columns += [
            utterance_nats(scores, self._truth) for scores in (likelihoods, best_affine(likelihoods, self._truth))
        ]
        self._costs_from = len(columns)
        self._eer: WeightedEqualErrorRate | None = None
        if len(self.present) > 1:
            ratios = log_likelihood_ratios(likelihoods) if ratios is None else np.asarray(ratios)[self.order]
            columns += self._costs(ratios, likelihoods.argmax(axis=1), parts)
            self._eer = WeightedEqualErrorRate(ratios, self._truth)
        self._columns = np.stack(columns, axis=1).astype(np.float32)
        others = [answers[:, None] == self.present, (cluster_indices[answers] == cluster_indices[self._truth])[:, None]]
        self._sums = np.concatenate(others, axis=1).astype(np.float32)

    @np.errstate(invalid="ignore", divide="ignore")
    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return name → (B,) float64, NaN where undefined.

        `weights`: (B, N) float32, not negative, in the order of `order`.
        """
        # By weighting, part, class and column.
        cells = np.zeros((len(weights), self._part_count, len(self.present), self._columns.shape[1]))
        for part, row in enumerate(self._cells):
            for place, cell in enumerate(row):
                cells[:, part, place] = weights[:, cell] @ self._columns[cell]
        sums = (weights @ self._sums).astype(np.float64)
        by_class = cells.sum(axis=1)
        counts, right = by_class[:, :, 0], by_class[:, :, 1]
        total = counts.sum(axis=1)
        classes = len(self.present)
        f1 = np.where(counts > 0, 2 * right / (counts + sums[:, :classes]), np.nan)
        class_means = np.where(counts[..., None] > 0, by_class / counts[..., None], np.nan)
        part_means = np.where(cells[..., :1] > 0, cells / cells[..., :1], np.nan)
        scores = {
            "acc": right.sum(axis=1) / total,
            "wf1": np.nansum(f1 * counts, axis=1) / total,
            "macro_f1": _mean(f1, 1),
            "c_acc": sums[:, classes] / total,
            "log_loss": by_class[:, :, 2].sum(axis=1) / total,
            "brier": by_class[:, :, 3].sum(axis=1) / total,
        }
        if self._eer is not None:
            costs = _mean(part_means[..., self._costs_from :], 2).mean(axis=1)
            scores["eer"] = self._eer(weights)
            scores |= {f"cavg_{beta:g}": costs[:, place] for place, beta in enumerate(BETAS)}
            scores["c_primary"] = costs[:, : len(BETAS)].mean(axis=1)
            grids = costs[:, len(BETAS) + 1 :].reshape(len(weights), len(BETAS), -1)
            # Rejecting everything costs 1 for any weights, and may lie beyond all thresholds of the grid.
            scores["c_primary_min"] = np.minimum(grids.min(axis=2), 1.0).mean(axis=1)
            scores["cavg_argmax"] = costs[:, len(BETAS)]
        cllr, least = (_mean(class_means[:, :, column], 1) / np.log(2) for column in (4, 5))
        return scores | {"cllr": cllr, "cllr_min": least, "cllr_cal": cllr - least}

    def _costs(self, ratios: np.ndarray, answers: np.ndarray, parts: np.ndarray) -> list[np.ndarray]:
        """Return the costs of each utterance as (N,) columns: actual for each β, argmax, then at each threshold."""

        def costs(accepted: np.ndarray, beta: float) -> np.ndarray:
            rows = [parts == part for part in range(self._part_count)]  # consecutive
            return np.concatenate([utterance_costs(accepted[each], self._truth[each], beta) for each in rows])

        decided = answers[:, None] == np.arange(ratios.shape[1])
        argmax = np.mean([costs(decided, beta) for beta in BETAS], axis=0)
        columns = [*(costs(ratios > np.log(beta), beta) for beta in BETAS), argmax]
        for beta in BETAS:
            thresholds = _minimum_thresholds(ratios, minimum_cost(ratios, self._truth, beta, parts)[1])
            columns += [costs(ratios > threshold, beta) for threshold in thresholds]
        return columns


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the mean without NaN; NaN if all values are."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(axis=axis) / known.sum(axis=axis)


def _minimum_thresholds(ratios: np.ndarray, best: float) -> np.ndarray:
    """Return thresholds around the best one of equal weights, including that one, ascending."""
    finite = ratios[np.isfinite(ratios)]
    lowest, highest = (finite.min(), finite.max()) if len(finite) else (0.0, 0.0)
    offsets = np.linspace(-_MINIMUM_NATS, _MINIMUM_NATS, _MINIMUM_POINTS)
    thresholds = np.clip(best, lowest - 1, highest) + offsets
    thresholds[_MINIMUM_POINTS // 2] = best
    return np.sort(thresholds)


class WeightedEqualErrorRate:
    """The mean one-vs-rest EER over classes as a function of the utterances' weights.

    The EER of a class is read from up to 32 points of its ROC, within 6 standard errors of the EER of equal weights,
    and straight lines between them.

    `ratios`: (N, C) float; see detection.py. `truth`: (N,) int, with at least two classes.
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
            # Most non-targets are below all thresholds and need no entry.
            above = np.flatnonzero(passed)
            rows.append(above.astype(np.int32))
            cells.append((place * _POINTS + passed[above] - 1).astype(np.int32))
            is_own.append(places[above] == place)
        row, cell, own = np.concatenate(rows), np.concatenate(cells), np.concatenate(is_own)
        shape = len(self._present) * _POINTS, len(truth)
        self._own, self._others = (_sums(row[chosen], cell[chosen], *shape) for chosen in (own, ~own))

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """Return the mean EER of each weighting, (B,) float64, over the classes with a weight above 0.

        `weights`: (B, N) float32, not negative, in the order of the utterances; NaN with fewer than two such classes.
        """
        columns = np.ascontiguousarray(weights.T)
        targets = (self._targets @ columns).T.astype(np.float64)
        others = targets.sum(axis=1, keepdims=True) - targets
        hits, accepted = self._fraction(self._own, columns, targets), self._fraction(self._others, columns, others)
        return _mean(crossing(1 - hits, accepted), 1)

    @staticmethod
    def _fraction(sums: Any, columns: np.ndarray, totals: np.ndarray) -> np.ndarray:
        """Return the accepted fraction at each threshold, (B, classes, points), with both ends of the ROC."""
        between = (sums @ columns).T.astype(np.float64).reshape(*totals.shape, _POINTS)
        above = between[..., ::-1].cumsum(axis=-1)[..., ::-1]
        ends = np.ones((*totals.shape, 1)), np.zeros((*totals.shape, 1))
        with np.errstate(invalid="ignore", divide="ignore"):
            # 0 / 0: a class with a total weight of 0 has no rates.
            return np.concatenate([ends[0], above / totals[..., None], ends[1]], axis=-1)


def _sums(utterances: np.ndarray, cells: np.ndarray, cell_count: int, count: int) -> Any:
    """Return the matrix that sums the weights of utterances per cell, (cells, N); by columns, which is fastest."""
    ones = np.ones(len(cells), dtype=np.float32)
    return scipy.sparse.csc_array((ones, (cells, utterances)), shape=(cell_count, count))


def _thresholds(scores: np.ndarray, is_target: np.ndarray) -> np.ndarray:
    """Return thresholds around the EER of equal weights, ascending, over the range that other weights may need."""
    thresholds, misses, accepted = roc(scores, is_target)
    if len(thresholds) <= _SPREAD_POINTS:
        return thresholds
    targets = int(is_target.sum())
    rate = np.clip(crossing(misses, accepted), 1 / targets, 1 - 1 / targets) if targets > 1 else 0.5
    span = _ERRORS * np.sqrt(rate * (1 - rate) * (1 / targets + 1 / (len(scores) - targets)))
    difference = misses - accepted
    places = np.searchsorted(difference, np.linspace(-span, span, _SPREAD_POINTS)).clip(max=len(thresholds) - 1)
    after = int(np.argmax(difference >= 0))  # and the point before it: the EER of equal weights lies between them
    return thresholds[np.unique([*places, after - 1, after])]
