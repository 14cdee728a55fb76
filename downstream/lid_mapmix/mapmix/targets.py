"""Target rows: what the model is to answer for each class.

One-hot rows are the usual ones. Confidence rows leave part of the probability to the dialects that are
easily taken for the class (confidence labels, arXiv 2103.13607; in Map-Mix arXiv 2302.08229, section 2).
A training step picks the rows of its utterances out of such a matrix and mixes them (mixup.py).

The confidence labels of the Map-Mix paper for NIST LRE 2017, as its authors publish them.

Only what a class leaves to others of its cluster is given; as likeness, it makes the rows sum to 1 exactly, which the
rounded figures do not.
"""

from collections.abc import Sequence
from enum import StrEnum

import numpy as np

from ..utils.errors import UserError

TARGET_SHARE = 0.75
# class → what it leaves to others of its cluster (arXiv 2302.08229, published code).
_SHARES: dict[str, dict[str, float]] = {
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
    """Which rows a run trains towards."""

    ONE_HOT = "one_hot"
    CONFIDENCE = "confidence"


class Likeness(StrEnum):
    """What the confidence rows share out in proportion to."""

    ESTIMATED = "estimated"
    UNIFORM = "uniform"
    GIVEN = "given"
    LRE17 = "lre17"


def one_hot_matrix(class_count: int) -> np.ndarray:
    """Return the rows that answer each class with certainty, (classes, classes) float64."""
    if class_count < 1:
        raise ValueError(f"expected at least one class, found {class_count}")
    return np.eye(class_count, dtype=np.float64)


def uniform_matrix(cluster_indices: np.ndarray, target_share: float = TARGET_SHARE) -> np.ndarray:
    """Return confidence rows that treat all other classes of a cluster alike.

    Parameters
    ----------
    cluster_indices : (classes,) int, the cluster number of each class.
    target_share : probability of the class itself, in (0, 1].

    Returns
    -------
    (classes, classes) float64; see `confidence_matrix`.
    """
    class_count = len(cluster_indices)
    return confidence_matrix(np.ones((class_count, class_count)), cluster_indices, target_share)


def confidence_matrix(
    likeness: np.ndarray, cluster_indices: np.ndarray, target_share: float = TARGET_SHARE
) -> np.ndarray:
    """Return confidence rows that favour the classes a class is most alike.

    Parameters
    ----------
    likeness : (classes, classes) float, not negative; row c says how alike every class is to c, on any scale.
        Only the entries between two different classes of one cluster are read.
    cluster_indices : (classes,) int, the cluster number of each class.
    target_share : probability of the class itself, in (0, 1].

    Returns
    -------
    (classes, classes) float64. Row c holds `target_share` at c, shares the rest among the other classes of its
    cluster in proportion to `likeness` (evenly, where all of that is 0) and is 0 outside the cluster. A class
    alone in its cluster keeps 1.
    """
    likeness = np.asarray(likeness, dtype=np.float64)
    cluster_indices = np.asarray(cluster_indices)
    class_count = len(cluster_indices)
    if likeness.shape != (class_count, class_count):
        raise ValueError(f"expected likeness of shape {(class_count, class_count)}, found {likeness.shape}")
    if not 0 < target_share <= 1:
        raise ValueError(f"expected a target share in (0, 1], found {target_share}")
    siblings = (cluster_indices[:, None] == cluster_indices[None, :]) & ~np.eye(class_count, dtype=bool)
    if not (np.isfinite(likeness[siblings]).all() and (likeness[siblings] >= 0).all()):
        raise ValueError("expected likeness within a cluster to be finite and not negative")

    shares = np.where(siblings, likeness, 0.0)
    # Against the greatest first: a row of very small or very large numbers must not under- or overflow its sum.
    greatest = shares.max(axis=1, keepdims=True, initial=0.0)
    shares = np.where(greatest > 0, shares / np.where(greatest > 0, greatest, 1.0), siblings)
    total = shares.sum(axis=1, keepdims=True)
    alone = total[:, 0] == 0
    matrix = (1 - target_share) * shares / np.where(total > 0, total, 1.0)
    np.fill_diagonal(matrix, np.where(alone, 1.0, target_share))
    return matrix


def lre17_likeness(classes: Sequence[str]) -> np.ndarray:
    """Return the paper's likeness of LRE17's classes, (classes, classes) float64 in the order given.

    Raises
    ------
    UserError : a class that LRE17 does not have.
    """
    unknown = [name for name in classes if name not in _SHARES]
    if unknown:
        raise UserError(
            f"likeness lre17: class {unknown[0]} is none of LRE17's ({', '.join(_SHARES)}). "
            "Use likeness estimated, uniform or given."
        )
    return np.array([[_SHARES[name].get(other, 0.0) for other in classes] for name in classes])
