"""Which row of the leaderboard is better than all others, by a paired bootstrap over utterances and runs.

A row's score is the mean over its runs. Two rows are compared on the data and seeds of which both have a run. In each
of the resamples, utterances are drawn with replacement (whole groups where they have some), the same ones for all runs
on one test set, and so are the pairs of runs: a difference has to outlast other utterances, and other seeds and
training sets as far as there are some. The row with the best mean is called best where its difference from each other
row has p below 0.05. Since all of these tests have to reject, none of them needs a correction for their number (the
intersection-union test; Berger, Technometrics 24, 1982).
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
    """A run's scores: as they are, and those of B resamples, (B,) float64 a column.

    Attributes
    ----------
    test_set : what names utterances, truth and groups; runs with the same one have the same resamples.
    values, resampled : by column.
    """

    test_set: int
    values: Mapping[str, float]
    resampled: Mapping[str, np.ndarray]


def resample(
    test: ScoreFile, calibrated: np.ndarray, cluster_indices: np.ndarray, source: np.ndarray | None, samples: int
) -> Compared:
    """Return the scores of a run under resampling of its N utterances.

    Parameters
    ----------
    test : its scores.
    calibrated : (N, C) float, their log-probabilities after calibration.
    cluster_indices : (C,) int.
    source : (N,) str, or None.
    samples : number of resamples.
    """
    order = np.argsort(test.ids)
    truth, group = test.truth_indices[order], test.group[order]
    source = None if source is None else source[order]
    names = "\0".join([*test.ids[order].tolist(), *test.truth[order].tolist(), *group.tolist()])
    seed = zlib.crc32(names.encode())
    scores = [
        resampled_scores(WeightedScores(values[order], truth, cluster_indices, source), group, samples, seed)
        for values in (test.log_probabilities, calibrated)
    ]
    (values, resampled), (after, resampled_after) = scores
    return Compared(
        seed, {**values, "ece_calibrated": after["ece"]}, {**resampled, "ece_calibrated": resampled_after["ece"]}
    )


def best_row(
    column: str,
    means: Sequence[float | None],
    rows: Sequence[Mapping[tuple[str, int], Compared]],
    *,
    is_more_better: bool,
) -> tuple[int, float | None, bool] | None:
    """Return the row with the best mean, the largest p of its tests, and whether they say that it is better than all.

    Parameters
    ----------
    column : the score.
    means : of each row; None where it has none.
    rows : of each row (data, seed) → its run.
    is_more_better : the score grows with quality.

    Returns
    -------
    p is None where the row is alone, or shares no run with another one; None where no row has a mean.
    """
    known = {number: mean for number, mean in enumerate(means) if mean is not None}
    if not known:
        return None
    best = (max if is_more_better else min)(known, key=known.__getitem__)
    found = [_p(column, rows[best], rows[other], is_more_better=is_more_better) for other in known if other != best]
    tested = [p for p in found if p is not None]
    if not found or len(tested) < len(found):
        return best, None, False
    return best, max(tested), max(tested) < LEVEL


def _p(
    column: str,
    best: Mapping[tuple[str, int], Compared],
    other: Mapping[tuple[str, int], Compared],
    *,
    is_more_better: bool,
) -> float | None:
    """Return the two-sided p of the difference between two rows; 1 where it points the other way, None of no run."""
    shared = [pair for pair in best if pair in other and best[pair].test_set == other[pair].test_set]
    if not shared:
        return None
    moved = np.stack([best[pair].resampled[column] - other[pair].resampled[column] for pair in shared], axis=1)
    # What is left where two scores are equal differs from machine to machine.
    moved = np.round(moved, _DIGITS)
    drawn = keyed_generator(0, "runs of a leaderboard", len(shared)).integers(len(shared), size=moved.shape)
    value = float(np.mean([best[pair].values[column] - other[pair].values[column] for pair in shared]))
    if (value if is_more_better else -value) <= 0:
        return 1.0
    averaged = np.round(np.take_along_axis(moved, drawn, axis=1).mean(axis=1), _DIGITS)
    p = difference_between(value, averaged).p
    return None if np.isnan(p) else p
