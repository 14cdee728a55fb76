"""Which utterances meet in a batch: order, partners and mixing weights of an epoch.

All of it follows from the seed and the number of the epoch, so a resumed run, a run with other workers and
a run that evaluates more often train on the same batches.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..mapmix.mixup import draw_lambda
from ..randomness import keyed_generator

NO_PARTNER = -1


class Draw(NamedTuple):
    """One row of a training batch.

    Attributes
    ----------
    anchor, partner : utterance numbers; partner is -1 where nothing is mixed.
    weight : λ, the share of the anchor.
    epoch : the epoch it is drawn for, which keys its crops.
    """

    anchor: int
    partner: int
    weight: float
    epoch: int


@dataclass(frozen=True, eq=False)
class TrainSampler:
    """The batches of each epoch.

    Attributes
    ----------
    anchors : (anchors,) int64 utterance numbers; each comes once an epoch.
    partners : (partners,) int64 utterance numbers to draw from, uniformly and afresh each epoch;
        None for training without mixing.
    batch_size : anchors in a batch; the last batch of an epoch may have fewer.
    alpha : λ ~ Beta(alpha, alpha), one a batch (mixup, arXiv 1710.09412).
    probability : share of the batches that are mixed; λ = 1 in the others.
    seed : the run's seed.
    """

    anchors: np.ndarray
    partners: np.ndarray | None
    batch_size: int
    alpha: float
    probability: float
    seed: int

    def __len__(self) -> int:
        return math.ceil(len(self.anchors) / self.batch_size)

    def batches(self, epoch: int, first_batch: int = 0) -> Iterator[list[Draw]]:
        """Yield the batches of an epoch from number `first_batch` on."""
        anchors = keyed_generator(self.seed, "order", epoch).permutation(self.anchors)
        partners = self._partners(anchors, epoch)
        for number in range(first_batch, len(self)):
            rows = slice(number * self.batch_size, (number + 1) * self.batch_size)
            weight = 1.0
            if self.partners is not None:
                generator = keyed_generator(self.seed, "lambda", epoch, number)
                weight = float(draw_lambda(generator, self.alpha, self.probability))
            yield [
                Draw(int(anchor), int(partner), weight, epoch)
                for anchor, partner in zip(anchors[rows], partners[rows], strict=True)
            ]

    def _partners(self, anchors: np.ndarray, epoch: int) -> np.ndarray:
        if self.partners is None:
            return np.full(len(anchors), NO_PARTNER)
        return draw_partners(anchors, self.partners, keyed_generator(self.seed, "partner", epoch))


def draw_partners(anchors: np.ndarray, pool: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draw a partner for each anchor, uniformly from the pool less the anchor itself.

    An anchor is its own partner only where the pool holds nothing else.

    Parameters
    ----------
    anchors : (anchors,) int64 utterance numbers.
    pool : (partners,) int64 utterance numbers, each once.
    generator : source of the draws.

    Returns
    -------
    (anchors,) int64 utterance numbers.
    """
    pool = np.sort(pool)
    place = np.minimum(np.searchsorted(pool, anchors), len(pool) - 1)
    inside = pool[place] == anchors
    if len(pool) == 1:
        return np.full(len(anchors), pool[0])
    # Drawing among one place fewer and stepping over the anchor's own keeps the draw uniform.
    drawn = generator.integers(0, len(pool) - inside)
    return pool[drawn + (inside & (drawn >= place))]
