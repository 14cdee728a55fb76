"""Test whether one row of the leaderboard is better than all others: a paired bootstrap over utterances and runs.

The score of a row is the mean over its runs. Two rows are compared on the data and seeds for which both have a run.
Each resample draws utterances with replacement (whole groups if there are groups), the same for all runs on one test
set, and draws the pairs of runs. The test therefore covers the variation over utterances, seeds and training sets. The
row with the best mean is marked as best if p < 0.05 for its difference from each other row. All tests must reject, so
no correction for multiple tests is needed (intersection-union test; Berger, Technometrics 24, 1982).
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...scoring.bootstrap import difference_between, resampled_scores
from ...scoring.files.own import ScoreFile
from ...scoring.weighted import WeightedScores
from ...utils.randomness import keyed_generator

LEVEL = 0.05
_DIGITS = 6


@dataclass(frozen=True, eq=False)
class Compared:
    """The scores of a run, and those of B resamples."""

    test_set: int  # CRC of ids, truth and groups; runs with the same value have the same resamples
    values: Mapping[str, float]  # column → score
    resampled: Mapping[str, np.ndarray]  # column → scores of the resamples, (B,) float64


def resample(
    test: ScoreFile, calibrated: np.ndarray, cluster_indices: np.ndarray, source: np.ndarray | None, samples: int
) -> Compared:
    """Return the scores of a run under resampling of its N utterances.

    Parameters
    ----------
    calibrated : (N, C) float, log-probabilities after calibration.
    cluster_indices : (C,) int, cluster number of each class.
    source : (N,) str, or None.
    samples : number of resamples B.
    """
    order = np.argsort(test.ids)
    truth, group = test.truth_indices[order], test.group[order]
    source = None if source is None else source[order]
    names = "\0".join([*test.ids[order].tolist(), *test.truth[order].tolist(), *group.tolist()])
    seed = zlib.crc32(names.encode())
    systems = [
        WeightedScores(values[order], truth, cluster_indices, source) for values in (test.log_probabilities, calibrated)
    ]
    (values, resampled), (after, resampled_after) = resampled_scores(*systems, group=group, samples=samples, seed=seed)
    return Compared(
        seed, {**values, "ece_calibrated": after["ece"]}, {**resampled, "ece_calibrated": resampled_after["ece"]}
    )


def best_row(
    column: str,
    means: Sequence[float | None],
    rows: Sequence[Mapping[tuple[str, int], Compared]],
    *,
    is_higher_better: bool,
) -> tuple[int, float | None, bool] | None:
    """Return the row with the best mean, its largest p-value, and whether it is significantly better than all others.

    The p-value is None for a single row, or if the rows have no data and seed in common. None if no row has a
    mean.

    `means`: per row, None without a mean. `rows`: per row, (data, seed) → run. `is_higher_better`: whether higher
    values are better.
    """
    known = {number: mean for number, mean in enumerate(means) if mean is not None}
    if not known:
        return None
    best = (max if is_higher_better else min)(known, key=known.__getitem__)
    found = [_p(column, rows[best], rows[other], is_higher_better=is_higher_better) for other in known if other != best]
    tested = [p for p in found if p is not None]
    if not found or len(tested) < len(found):
        return best, None, False
    return best, max(tested), max(tested) < LEVEL


def _p(
    column: str,
    best: Mapping[tuple[str, int], Compared],
    other: Mapping[tuple[str, int], Compared],
    *,
    is_higher_better: bool,
) -> float | None:
    """Return the two-sided p-value of the difference of two rows; 1 if `other` is better, None without common runs."""
    shared = [pair for pair in best if pair in other and best[pair].test_set == other[pair].test_set]
    if not shared:
        return None
    moved = np.stack([best[pair].resampled[column] - other[pair].resampled[column] for pair in shared], axis=1)
    # The rounding error of equal scores differs between machines.
    moved = np.round(moved, _DIGITS)
    drawn = keyed_generator(0, "runs of a leaderboard", len(shared)).integers(len(shared), size=moved.shape)
    value = float(np.mean([best[pair].values[column] - other[pair].values[column] for pair in shared]))
    if (value if is_higher_better else -value) <= 0:
        return 1.0
    averaged = np.round(np.take_along_axis(moved, drawn, axis=1).mean(axis=1), _DIGITS)
    p = difference_between(value, averaged).p
    return None if np.isnan(p) else p
