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

    def batches(self, epoch: int, first_batch: int = 0) -> "EpochBatches":
        """Return the batches of an epoch from number `first_batch` on."""
        return EpochBatches(self, epoch, first_batch)


@dataclass(frozen=True, eq=False)
class EpochBatches:
    """The batches of one epoch, drawn as they are asked for: an epoch of millions is never a list.

    Attributes
    ----------
    sampler : whose epoch it is.
    epoch, first_batch : number of the epoch, and of its first batch that is still to come.
    """

    sampler: TrainSampler
    epoch: int
    first_batch: int

    def __len__(self) -> int:
        return max(len(self.sampler) - self.first_batch, 0)

    def __iter__(self) -> Iterator[list[Draw]]:
        sampler = self.sampler
        anchors = keyed_generator(sampler.seed, "order", self.epoch).permutation(sampler.anchors)
        partners = self._partners(anchors)
        for number in range(self.first_batch, len(sampler)):
            rows = slice(number * sampler.batch_size, (number + 1) * sampler.batch_size)
            weight = self._weight(number)
            yield [
                Draw(int(anchor), int(partner), weight, self.epoch)
                for anchor, partner in zip(anchors[rows], partners[rows], strict=True)
            ]

    def _partners(self, anchors: np.ndarray) -> np.ndarray:
        if self.sampler.partners is None:
            return np.full(len(anchors), NO_PARTNER)
        generator = keyed_generator(self.sampler.seed, "partner", self.epoch)
        return draw_partners(anchors, self.sampler.partners, generator)

    def _weight(self, number: int) -> float:
        """Draw λ of a batch; where nothing is mixed it is 1."""
        if self.sampler.partners is None:
            return 1.0
        generator = keyed_generator(self.sampler.seed, "lambda", self.epoch, number)
        return draw_lambda(generator, self.sampler.alpha, self.sampler.probability)


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
