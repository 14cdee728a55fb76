"""Test whether one row of the leaderboard is better than all others, over utterances and runs.

The score of a row is the mean over its runs. Two rows are compared on the data and seeds for which both have a run, at
least 3. The difference of their means has two errors. That of the runs follows Student's distribution, with the
standard deviation of the runs' differences over √runs; it contains what the utterances do to each run by itself. That
of the utterances, common to all runs, is normal; its variance is the mean covariance of two runs' differences in
resamples with the same utterances. The p-value is that of the sum (Behrens and Fisher); Welch's approximation rejects
too often with 3 runs (bench/intervals.py). The row with the best mean is marked as best if p < 0.05 for its difference
from each other row. All tests must reject, so no correction for multiple tests is needed (intersection-union test;
Berger, Technometrics 24, 1982).
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, stdtrit

from ...scoring.bootstrap import DIGITS, resampled_scores, sampling_units
from ...scoring.files.own import ScoreFile
from ...scoring.weighted import WeightedScores

LEVEL = 0.05
MIN_RUNS = 3
# Points at which Student's distribution is taken.
_QUANTILES = 4096


@dataclass(frozen=True, eq=False)
class Compared:
    """The scores of a run, and those of B resamples."""

    test_set: int  # CRC of ids, truth, groups and speakers; runs with the same value have the same resamples
    values: Mapping[str, float]  # column → score
    resampled: Mapping[str, np.ndarray]  # column → scores of the resamples, (B,) float64


def resample(
    test: ScoreFile,
    calibrated: np.ndarray,
    cluster_indices: np.ndarray,
    source: np.ndarray | None,
    class_prior: Sequence[float] | None = None,
    *,
    samples: int,
) -> Compared:
    """Return the scores of a run under resampling of its N utterances.

    `calibrated`: (N, C) float, log-probabilities after calibration. `cluster_indices`: (C,) int, cluster number of each
    class. `source`: (N,) str, or None. `class_prior`: (C,) float, the class priors in both; None: equal. `samples`:
    number of resamples.
    """
    order = np.argsort(test.ids)
    truth = test.truth_indices[order]
    source = None if source is None else source[order]
    columns = (test.ids, test.truth, test.group, test.speaker)
    seed = zlib.crc32("\0".join(name for column in columns for name in column[order].tolist()).encode())
    units = sampling_units(truth, test.group[order], test.speaker[order])
    systems = [
        WeightedScores(values[order], truth, cluster_indices, source, class_prior=class_prior)
        for values in (test.log_probabilities, calibrated)
    ]
    (values, resampled), (after, moved) = resampled_scores(*systems, units=units, samples=samples, seed=seed)
    name = "log_loss_calibrated"
    return Compared(seed, {**values, name: after["log_loss"]}, {**resampled, name: moved["log_loss"]})


def best_row(
    column: str,
    means: Sequence[float | None],
    rows: Sequence[Mapping[tuple[str, int], Compared]],
    *,
    is_higher_better: bool,
) -> tuple[int, float | None, bool] | None:
    """Return the row with the best mean, its largest p-value, and whether it is significantly better than all others.

    The p-value is None for a single row, or if two rows have less than `MIN_RUNS` data and seeds in common, or the
    column is not compared. None if no row has a mean.

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
    """Return the two-sided p-value of the difference of two rows; 1 if `other` is better, None with too few runs."""
    shared = [pair for pair in best if pair in other and best[pair].test_set == other[pair].test_set]
    count = len(shared)
    if count < MIN_RUNS or column not in best[shared[0]].values:
        return None
    values = np.round([best[pair].values[column] - other[pair].values[column] for pair in shared], DIGITS)
    mean = float(values.mean() if is_higher_better else -values.mean())
    if mean <= 0:
        return 1.0
    moved = np.stack([best[pair].resampled[column] - other[pair].resampled[column] for pair in shared])
    covariance = np.cov(np.round(moved[:, ~np.isnan(moved).any(axis=0)], DIGITS))
    of_runs = float(values.var(ddof=1)) / count
    of_utterances = max(10.0 ** (-2 * DIGITS), float(covariance.sum() - covariance.trace()) / (count * (count - 1)))
    drawn = stdtrit(count - 1, (np.arange(_QUANTILES) + 0.5) / _QUANTILES) * np.sqrt(of_runs)
    return float(min(1.0, 2 * ndtr((drawn - mean) / np.sqrt(of_utterances)).mean()))
