"""Whether some utterances are band-limited, and whether that goes along with their class.

A model that is shown telephone speech of one dialect and studio speech of another learns telephones, and so it is
scored too. 8 kHz audio that was upsampled looks like any other 16 kHz file until its spectrum is looked at.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.stats import chi2_contingency

from .findings import Finding
from .reading import Headers, Samples
from .thresholds import (
    ASSOCIATION_ERROR,
    ASSOCIATION_WARNING,
    EXAMPLES,
    HIGHEST_EDGE_HERTZ,
    HIGHEST_HERTZ,
    NARROW_HERTZ,
    SIGNIFICANCE,
)
from .utterances import Utterances

BANDS = ("up to 4.5 kHz", "up to 7 kHz", "wide")
_TWO = 2


def bands(utterances: Utterances, headers: Headers, samples: Samples | None) -> np.ndarray:
    """Return the number in :data:`BANDS` of each utterance, (utterances,) int64; -1 where it is not known.

    Without samples it is what the sample rate leaves room for.
    """
    rate = headers.sample_rate[utterances.file.codes]
    edge = np.minimum(rate / 2, HIGHEST_HERTZ)
    known = rate > 0
    if samples is not None:
        # Of what is too short to say, or could not be read, only a low rate tells.
        known &= (edge <= NARROW_HERTZ) | (samples.read & ~np.isnan(samples.edge))
        edge = np.fmin(edge, np.where(samples.read, samples.edge, np.nan))
    numbers = np.digitize(edge, [NARROW_HERTZ, HIGHEST_EDGE_HERTZ], right=True)
    return np.where(known, numbers, -1)


def check_bands(utterances: Utterances, numbers: np.ndarray) -> Iterator[Finding]:
    """Find band-limited utterances among others, and measure how much their band tells of the class.

    Parameters
    ----------
    numbers : (utterances,) of :func:`bands`.
    """
    known = numbers >= 0
    table = np.zeros((len(utterances.classes.names), len(BANDS)), dtype=np.int64)
    np.add.at(table, (utterances.classes.codes[known], numbers[known]), 1)
    totals = table.sum(axis=0)
    if np.count_nonzero(totals) < 2:  # noqa: PLR2004
        return
    strength, probability = association(table)
    name = "band"
    if probability < SIGNIFICANCE and strength >= ASSOCIATION_WARNING:
        name = "band is class" if strength >= ASSOCIATION_ERROR else "band and class"
    present = np.flatnonzero(table.sum(axis=1))
    # The widest band there is stands for all above: what is less is limited.
    widest = int(np.flatnonzero(totals).max())
    limited = table.sum(axis=1) - table[:, widest]
    shares = limited[present] / table[present].sum(axis=1)
    by_share = present[np.argsort(-shares, kind="stable")].tolist()
    counted = ", ".join(f"{band}: {count}" for band, count in zip(BANDS, totals.tolist(), strict=True) if count)
    ends = by_share if len(by_share) <= 2 * EXAMPLES else by_share[:EXAMPLES] + by_share[-EXAMPLES:]
    listed = ", ".join(f"{utterances.classes.names[row]} {limited[row] / table[row].sum():.0%}" for row in ends)
    examples = (counted, f"association with the class (Cramér's V, 0 to 1): {strength:.2f}", f"limited: {listed}")
    figures = {"cramers_v": strength, "p": probability} | {
        band: count for band, count in zip(BANDS, totals.tolist(), strict=True)
    }
    seen_in = np.flatnonzero(known & (numbers < widest))
    yield Finding(name, int(limited.sum()), examples=examples, seen_in=seen_in, figures=figures)


class Association(NamedTuple):
    """How much columns tell of rows.

    Attributes
    ----------
    strength : Cramér's V with the correction of Bergsma (2013, Journal of the Korean Statistical Society 42);
        0 where they are independent, 1 where one determines the other.
    probability : that independent ones look so much associated (chi-square without Yates's correction).
    """

    strength: float
    probability: float


def association(counts: np.ndarray) -> Association:
    """Measure the association of rows and columns.

    Parameters
    ----------
    counts : (rows, columns) how often they occur together.
    """
    table = counts[counts.any(axis=1)][:, counts.any(axis=0)]
    if min(table.shape) < _TWO:
        return Association(0.0, 1.0)
    result = chi2_contingency(table, correction=False)
    total = table.sum()
    rows, columns = table.shape
    squared = max(result.statistic / total - (rows - 1) * (columns - 1) / (total - 1), 0.0)
    smaller = min(size - (size - 1) ** 2 / (total - 1) for size in (rows, columns))
    strength = float(np.sqrt(squared / (smaller - 1))) if smaller > 1 else 0.0
    return Association(min(strength, 1.0), float(result.pvalue))
