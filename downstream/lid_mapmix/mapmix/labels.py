"""Target rows: what the model is to answer for each class.

One-hot rows are the usual ones. Confidence rows leave part of the probability to the dialects that are
easily taken for the class (confidence labels, arXiv 2103.13607; in Map-Mix arXiv 2302.08229, section 2).
A training step picks the rows of its utterances out of such a matrix and mixes them (mixup.py).
"""

from enum import StrEnum

import numpy as np

TARGET_SHARE = 0.75


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
