"""Class balance of an epoch: classes are drawn by their size, equally, or in between.

A class of n utterances gets a fraction of the epoch in proportion to n^power (Conneau et al., XLM-R, arXiv 1911.02116,
sample languages this way): power 1 is uniform over utterances, 0 is balanced over classes.
"""

from enum import StrEnum

import numpy as np


class Sampling(StrEnum):
    """Sampling of an epoch: uniform over utterances, balanced over classes, or by a power of the class size."""

    UNIFORM = "uniform"
    BALANCED = "balanced"
    POWER = "power"

    def exponent(self, power: float) -> float:
        """Return the exponent of the class size; `power` is used for POWER."""
        return {Sampling.UNIFORM: 1.0, Sampling.BALANCED: 0.0, Sampling.POWER: power}[self]


def class_quotas(sizes: np.ndarray, power: float, generator: np.random.Generator) -> np.ndarray:
    """Return the number of draws of each class in an epoch.

    Returns (classes,) int64 with the sum of `sizes`; each is that number rounded up or down.

    `sizes`: (classes,) int64, utterances per class, at least 1. `power`: in [0, 1]. `generator`: rounds randomly, so
    that a quota is ``sum(sizes) · n^power / sum(n^power)`` on average.
    """
    weights = sizes.astype(np.float64) ** power
    # Systematic sampling. Rounded, because a sum of integers may otherwise be just below its value in floating point.
    ends = np.round(np.cumsum(sizes.sum() * weights / weights.sum()), 9)
    ends[-1] = sizes.sum()
    return np.diff(np.floor(ends + generator.random()), prepend=0).astype(np.int64)


def draw_anchors(
    anchors: np.ndarray, classes: np.ndarray, power: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw as many anchors as there are, by class; draws per utterance of a class differ by at most one.

    Returns (anchors,) int64 each: utterance numbers, class by class, and the repeat of each, from 0.

    `anchors`: (anchors,) int64 utterance numbers, each once. `classes`: (utterances,) int64, class number of every
    utterance. `power`: see :func:`class_quotas`; 1 draws each anchor once.
    """
    order = np.argsort(classes[anchors], kind="stable")
    _, sizes = np.unique(classes[anchors], return_counts=True)
    members_of = np.split(anchors[order], np.cumsum(sizes)[:-1])
    drawn, repeats = [], []
    for members, quota in zip(members_of, class_quotas(sizes, power, generator), strict=True):
        # np.resize repeats the permutation; its order decides which utterances are drawn once more.
        drawn.append(np.resize(generator.permutation(members), quota))
        repeats.append(np.arange(quota) // len(members))
    return np.concatenate(drawn), np.concatenate(repeats)
