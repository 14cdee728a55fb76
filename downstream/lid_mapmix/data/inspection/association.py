"""How much one thing tells of another: Cramér's V, corrected for chance."""

from typing import NamedTuple

import numpy as np
from scipy.stats import chi2_contingency

_TWO = 2


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
