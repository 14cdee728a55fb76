"""How often each class comes up in an epoch: as often as it has utterances, equally often, or in between.

A class of n utterances gets a share of the epoch in proportion to n^power (Conneau et al., XLM-R, arXiv 1911.02116,
draw languages so): power 1 is uniform over utterances, 0 is balanced over classes.
"""

from enum import StrEnum

import numpy as np


class Sampling(StrEnum):
    """What an epoch is drawn uniformly from: utterances, classes, or classes to a power of their size."""

    UNIFORM = "uniform"
    BALANCED = "balanced"
    POWER = "power"

    def exponent(self, power: float) -> float:
        """Return the power of a class's size by which it is drawn; `power` is that of POWER."""
        return {Sampling.UNIFORM: 1.0, Sampling.BALANCED: 0.0, Sampling.POWER: power}[self]


def class_quotas(sizes: np.ndarray, power: float, generator: np.random.Generator) -> np.ndarray:
    """Share an epoch out among classes.

    Parameters
    ----------
    sizes : (classes,) int64, utterances of each, 1 at least.
    power : in [0, 1].
    generator : decides about the fractions, so that a quota is ``sum(sizes) · n^power / sum(n^power)`` on average.

    Returns
    -------
    (classes,) int64, which sum to as many as there are utterances; each is that number rounded up or down.
    """
    shares = sizes.astype(np.float64) ** power
    # Systematic sampling. Sums of whole numbers are rounded, or a quota of 3 might be 2 by the rounding of floats.
    ends = np.round(np.cumsum(sizes.sum() * shares / shares.sum()), 9)
    ends[-1] = sizes.sum()
    return np.diff(np.floor(ends + generator.random()), prepend=0).astype(np.int64)


def draw_anchors(
    anchors: np.ndarray, classes: np.ndarray, power: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw as many anchors as there are, by class; the members of a class come equally often, or once more than others.

    Parameters
    ----------
    anchors : (anchors,) int64 utterance numbers, each once.
    classes : (utterances,) int64, class number of every utterance.
    power : see :func:`class_quotas`; at 1 each anchor comes once.
    generator : source of the draws.

    Returns
    -------
    drawn, repeats : (anchors,) int64 each: utterance numbers class by class, and which of its turns each is, from 0 on.
    """
    order = np.argsort(classes[anchors], kind="stable")
    _, sizes = np.unique(classes[anchors], return_counts=True)
    members_of = np.split(anchors[order], np.cumsum(sizes)[:-1])
    drawn, repeats = [], []
    for members, quota in zip(members_of, class_quotas(sizes, power, generator), strict=True):
        # np.resize goes round and round; who is left over in the last round is a matter of the permutation.
        drawn.append(np.resize(generator.permutation(members), quota))
        repeats.append(np.arange(quota) // len(members))
    return np.concatenate(drawn), np.concatenate(repeats)
