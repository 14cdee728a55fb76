"""Target rows: the target distribution over the classes for each class.

One-hot rows are the usual ones. Confidence rows give part of the probability to the other dialects of the cluster,
in proportion to how often the class is confused with them (confidence labels, arXiv 2103.13607; in Map-Mix
arXiv 2302.08229, section 2). Smoothed rows give it to all other classes (arXiv 1512.00567, section 7). A training step
takes the rows of its utterances from this matrix and mixes them (mixup.py).

The module also holds the confidence labels of the Map-Mix paper for NIST LRE 2017, as its authors publish them, but
only the entries for the other classes of the cluster. As class similarity, they make the rows sum to exactly 1, which
the rounded published rows do not.
"""

from collections.abc import Sequence
from enum import StrEnum

import numpy as np

from ..utils.errors import UserError

OWN_CLASS_WEIGHT = 0.75
_MIN_ESTIMATED_WEIGHT = 0.5
# Class → probabilities of the other classes of its cluster (arXiv 2302.08229, published code).
_LRE17_SIMILARITY: dict[str, dict[str, float]] = {
    "ara-acm": {"ara-apc": 0.13139856, "ara-ary": 0.06841516, "ara-arz": 0.05018629},
    "ara-apc": {"ara-acm": 0.1090087, "ara-ary": 0.07234471, "ara-arz": 0.06864659},
    "ara-ary": {"ara-acm": 0.08757757, "ara-apc": 0.08694835, "ara-arz": 0.07547408},
    "ara-arz": {"ara-acm": 0.08027083, "ara-apc": 0.08976811, "ara-ary": 0.07996106},
    "eng-gbr": {"eng-usg": 0.25},
    "eng-usg": {"eng-gbr": 0.25},
    "qsl-pol": {"qsl-rus": 0.25},
    "qsl-rus": {"qsl-pol": 0.25},
    "por-brz": {"spa-car": 0.08348278, "spa-eur": 0.08137903, "spa-lac": 0.08513819},
    "spa-car": {"por-brz": 0.03007011, "spa-eur": 0.06198897, "spa-lac": 0.15794092},
    "spa-eur": {"por-brz": 0.07484129, "spa-car": 0.08263538, "spa-lac": 0.09252334},
    "spa-lac": {"por-brz": 0.05206356, "spa-car": 0.10113815, "spa-eur": 0.09679829},
    "zho-cmn": {"zho-nan": 0.25},
    "zho-nan": {"zho-cmn": 0.25},
}


class Targets(StrEnum):
    """The target rows of a run."""

    ONE_HOT = "one_hot"
    CONFIDENCE = "confidence"
    SMOOTHED = "smoothed"


class ClassSimilarity(StrEnum):
    """Class similarity: sets how confidence rows divide the rest among the other classes of a cluster."""

    ESTIMATED = "estimated"
    UNIFORM = "uniform"
    GIVEN = "given"
    LRE17 = "lre17"


def confidence_matrix(
    class_similarity: np.ndarray, cluster_indices: np.ndarray, own_class_weight: float | None = OWN_CLASS_WEIGHT
) -> np.ndarray:
    """Return confidence rows, which give more of the rest to the more similar classes.

    Returns (classes, classes) float64. Row c holds `own_class_weight` at c, divides the rest among the other classes of
    its cluster in proportion to `class_similarity` (equally, if that is 0 for all) and is 0 outside the cluster. The
    only class of a cluster has weight 1.

    `class_similarity`: (classes, classes) float, not negative, on any scale; row c holds the similarity of each class
    to c. Only entries between two different classes of one cluster are used. `cluster_indices`: (classes,) int, the
    cluster number of each class. `own_class_weight`: probability of the class itself, in (0, 1]; None: the
    fraction of its similarity to itself in that to its cluster, at least 1/2.
    """
    similarity = np.asarray(class_similarity, dtype=np.float64)
    cluster_indices = np.asarray(cluster_indices)
    class_count = len(cluster_indices)
    siblings = (cluster_indices[:, None] == cluster_indices[None, :]) & ~np.eye(class_count, dtype=bool)
    weights = np.where(siblings, similarity, 0.0)
    # Divide by the maximum first, so that the sum of very small or very large numbers does not under- or overflow.
    greatest = weights.max(axis=1, keepdims=True, initial=0.0)
    weights = np.where(greatest > 0, weights / np.where(greatest > 0, greatest, 1.0), siblings)
    total = weights.sum(axis=1, keepdims=True)
    has_no_sibling = total[:, 0] == 0
    own = np.full(class_count, own_class_weight, dtype=np.float64)
    if own_class_weight is None:
        itself = np.diag(similarity)
        inside = itself + np.where(siblings, similarity, 0.0).sum(axis=1)
        own = np.maximum(_MIN_ESTIMATED_WEIGHT, np.where(inside > 0, itself / np.where(inside > 0, inside, 1.0), 1.0))
    matrix = (1 - own[:, None]) * weights / np.where(total > 0, total, 1.0)
    np.fill_diagonal(matrix, np.where(has_no_sibling, 1.0, own))
    return matrix


def smoothed_matrix(class_count: int, own_class_weight: float) -> np.ndarray:
    """Return (classes, classes) float64 with the weight at c in row c, the rest divided equally among all others."""
    matrix = np.full((class_count, class_count), (1 - own_class_weight) / (class_count - 1))
    np.fill_diagonal(matrix, own_class_weight)
    return matrix


def lre17_class_similarity(classes: Sequence[str]) -> np.ndarray:
    """Return the paper's class similarity, (classes, classes) float64. Raises UserError: not a class of LRE17."""
    known = _LRE17_SIMILARITY
    if unknown := [name for name in classes if name not in known]:
        raise UserError(
            f"class_similarity lre17: expected the classes of LRE17 ({', '.join(known)}), found {unknown[0]}. "
            "Use class_similarity estimated, uniform or given."
        )
    return np.array([[known[name].get(other, 0.0) for other in classes] for name in classes])
