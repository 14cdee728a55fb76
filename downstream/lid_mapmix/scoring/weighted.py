"""Every score at once for many weightings of the same utterances, which is what a bootstrap needs.

A score is made of sums over utterances: of right answers, of costs, of bits. For B weightings these sums are one matrix
product, weights (B, N) @ values (N, …), and no utterance is drawn, copied or sorted again.
"""

import numpy as np
from scipy.special import log_softmax

from .detection import (
    BETAS,
    class_equal_error_rate,
    log_likelihood_ratios,
    minimum_cost,
    roc,
    source_parts,
    utterance_costs,
    utterance_nats,
)
from .metrics import ECE_BINS, confidence_bins

# Thresholds at which a weighting's own EER and minimum cost are looked for, around those of equal weights.
_EER_POINTS = 12
_EER_ERRORS = 6.0
_MINIMUM_POINTS = 33
_MINIMUM_NATS = 2.0
_TWO = 2


class WeightedScores:
    """The scores of metrics.py and detection.py as functions of the utterances' weights.

    With whole numbers as weights they are the scores of a data set in which each utterance occurs that often, with
    three reservations. The EER of a class is read from the ROC at up to 14 of its points, within 6 standard errors of
    the EER of equal weights, and straight lines between them. The minimum cost is the least of 33 thresholds within
    2 nats of the best one of equal weights. And a class to which a weighting gives nothing stays a target of wrong
    acceptances.

    Parameters
    ----------
    log_likelihoods : (N, C) float, natural logarithms; see detection.py.
    truth : (N,) int, class numbers.
    cluster_indices : (C,) int, the cluster number of each class.
    source : (N,) str, or None; see `detection.source_parts`.
    ratios : (N, C) float, those that a system gives itself, for EER and costs; None: those of the log-likelihoods.
    """

    def __init__(
        self,
        log_likelihoods: np.ndarray,
        truth: np.ndarray,
        cluster_indices: np.ndarray,
        source: np.ndarray | None = None,
        ratios: np.ndarray | None = None,
    ) -> None:
        truth, cluster_indices = np.asarray(truth), np.asarray(cluster_indices)
        parts = source_parts(source, truth)
        self._part_count = 1 if parts is None else _TWO
        parts = np.zeros(len(truth), dtype=np.int64) if parts is None else parts
        self.present = np.unique(truth)
        # The utterances of a part and a class stand together: a cell is a slice.
        self.order = np.lexsort((truth, parts))
        self._truth, parts = truth[self.order], parts[self.order]
        values = np.asarray(log_likelihoods, dtype=np.float64)[self.order]
        self._cells = [
            [_slice(np.flatnonzero((parts == part) & (self._truth == name))) for name in self.present]
            for part in range(self._part_count)
        ]
        answers = values.argmax(axis=1)
        nats = utterance_nats(values, self._truth)
        columns = [np.ones(len(truth)), answers == self._truth, nats / np.log(2)]
        # class number → its ratios (N,) and the thresholds at which its EER is looked for
        self._eer: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        if len(self.present) >= _TWO:
            ratios = log_likelihood_ratios(values) if ratios is None else np.asarray(ratios)[self.order]
            columns += self._costs(ratios, answers, parts)
        self._columns = np.stack(columns, axis=1).astype(np.float32)
        top = np.exp(log_softmax(values, axis=1).max(axis=1))
        surplus = (confidence_bins(top)[:, None] == np.arange(ECE_BINS)) * (top - columns[1])[:, None]
        others = [
            answers[:, None] == self.present,
            (cluster_indices[answers] == cluster_indices[self._truth])[:, None],
            surplus,
        ]
        self._sums = np.concatenate(others, axis=1).astype(np.float32)

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return name → (B,) float64, NaN where undefined.

        Parameters
        ----------
        weights : (B, N) float32, not negative, in the order of `order`.
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
        with np.errstate(invalid="ignore", divide="ignore"):
            f1 = np.where(counts > 0, 2 * right / (counts + sums[:, :classes]), np.nan)
            class_means = np.where(counts[..., None] > 0, by_class / counts[..., None], np.nan)
            part_means = np.where(cells[..., :1] > 0, cells / cells[..., :1], np.nan)
        scores = {
            "acc": right.sum(axis=1) / total,
            "wf1": np.nansum(f1 * counts, axis=1) / total,
            "macro_f1": _mean(f1, 1),
            "c_acc": sums[:, classes] / total,
            "ece": np.abs(sums[:, classes + 1 :]).sum(axis=1) / total,
        }
        if self._eer:
            costs = _mean(part_means[..., 3:], 2).mean(axis=1)
            scores["eer"] = _mean(np.stack([self._class_eer(weights, name) for name in self._eer], axis=1), 1)
            scores |= {f"cavg_{beta:g}": costs[:, place] for place, beta in enumerate(BETAS)}
            scores["c_primary"] = costs[:, : len(BETAS)].mean(axis=1)
            grids = costs[:, len(BETAS) + 1 :].reshape(len(weights), len(BETAS), -1)
            scores["c_primary_min"] = grids.min(axis=2).mean(axis=1)
            scores["cavg_argmax"] = costs[:, len(BETAS)]
        scores["cllr"] = _mean(class_means[:, :, 2], 1)
        return scores

    def _costs(self, ratios: np.ndarray, answers: np.ndarray, parts: np.ndarray) -> list[np.ndarray]:
        """Return the costs of each utterance as (N,) columns: act for each β, argmax, then the minimum's thresholds."""
        decided = answers[:, None] == np.arange(ratios.shape[1])
        argmax = np.mean([self._part_costs(decided, parts, beta) for beta in BETAS], axis=0)
        columns = [*(self._part_costs(ratios > np.log(beta), parts, beta) for beta in BETAS), argmax]
        finite = ratios[np.isfinite(ratios)]
        lowest, highest = (finite.min(), finite.max()) if len(finite) else (0.0, 0.0)
        for beta in BETAS:
            best = minimum_cost(ratios, self._truth, beta, parts).threshold
            offsets = np.linspace(-_MINIMUM_NATS, _MINIMUM_NATS, _MINIMUM_POINTS)
            thresholds = np.clip(best, lowest - 1, highest) + offsets
            thresholds[np.argmin(np.abs(offsets))] = best
            columns += [self._part_costs(ratios > threshold, parts, beta) for threshold in thresholds]
        for name in self.present.tolist():
            scores = np.ascontiguousarray(ratios[:, name])
            self._eer[name] = (scores, _eer_thresholds(scores, self._truth == name))
        return columns

    def _part_costs(self, accepted: np.ndarray, parts: np.ndarray, beta: float) -> np.ndarray:
        costs = np.empty(len(self._truth))
        for part in range(self._part_count):
            rows = parts == part
            costs[rows] = utterance_costs(accepted[rows], self._truth[rows], beta)
        return costs

    def _class_eer(self, weights: np.ndarray, name: int) -> np.ndarray:
        """Return the EER of one class for each weighting, (B,): where the line between two thresholds crosses."""
        scores, thresholds = self._eer[name]
        rejected = (scores[:, None] <= thresholds).astype(np.float32)
        everything = (weights @ rejected).astype(np.float64)
        own, total = np.zeros(everything.shape), np.zeros(len(weights))
        target = int(np.flatnonzero(self.present == name)[0])
        for row in self._cells:
            own += (weights[:, row[target]] @ rejected[row[target]]).astype(np.float64)
            total += weights[:, row[target]].sum(axis=1, dtype=np.float64)
        others = weights.sum(axis=1, dtype=np.float64) - total
        with np.errstate(invalid="ignore", divide="ignore"):
            misses = own / total[:, None]
            accepted = 1 - (everything - own) / others[:, None]
        # Accepting everything and rejecting everything are on every curve.
        ends = np.zeros((len(weights), 1)), np.ones((len(weights), 1))
        misses = np.concatenate([ends[0], misses, ends[1]], axis=1)
        accepted = np.concatenate([ends[1], accepted, ends[0]], axis=1)
        difference = misses - accepted
        after = np.argmax(difference >= 0, axis=1)
        rows, before = np.arange(len(weights)), np.maximum(after - 1, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = -difference[rows, before] / (difference[rows, after] - difference[rows, before])
        rates = misses[rows, before] + share * (misses[rows, after] - misses[rows, before])
        return np.where((total > 0) & (others > 0), rates, np.nan)


def _slice(rows: np.ndarray) -> slice:
    return slice(int(rows[0]), int(rows[-1]) + 1) if len(rows) else slice(0, 0)


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the mean of what is not NaN; NaN where nothing is."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(axis=axis) / known.sum(axis=axis)


def _eer_thresholds(scores: np.ndarray, is_target: np.ndarray) -> np.ndarray:
    """Return thresholds around the EER of equal weights, ascending, as far as other weights may move it."""
    thresholds, misses, accepted = roc(scores, is_target)
    targets = int(is_target.sum())
    rate = np.clip(class_equal_error_rate(scores, is_target), 1 / targets, 1 - 1 / targets) if targets > 1 else 0.5
    span = _EER_ERRORS * np.sqrt(rate * (1 - rate) * (1 / targets + 1 / (len(scores) - targets)))
    if len(thresholds) <= _EER_POINTS:
        return thresholds
    difference = misses - accepted
    places = np.searchsorted(difference, np.linspace(-span, span, _EER_POINTS)).clip(max=len(thresholds) - 1)
    after = int(np.argmax(difference >= 0))  # with the point before it: the EER of equal weights lies between them
    return thresholds[np.unique([*places, after - 1, after])]
