"""Which utterances meet in a batch: order, partners and mixing weights of an epoch.

All of it follows from the seed and the number of the epoch, so a resumed run, a run with other workers and
a run that evaluates more often train on the same batches.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..mapmix.mixup import WeightPer, draw_lambda
from ..mapmix.pairing import Pairing, draw_partners
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
    partners : (partners,) int64 utterance numbers to draw from, afresh each epoch; None for training without mixing.
    classes : (utterances,) int64, class number of every utterance.
    batch_size : anchors in a batch; the last batch of an epoch may have fewer.
    alpha : λ ~ Beta(alpha, alpha) (mixup, arXiv 1710.09412).
    probability : share of the batches (or utterances) that are mixed; λ = 1 in the others.
    seed : the run's seed.
    pairing : how a partner's class relates to its anchor's.
    weight_per : whether a batch or an utterance has a λ of its own.
    """

    anchors: np.ndarray
    partners: np.ndarray | None
    classes: np.ndarray
    batch_size: int
    alpha: float
    probability: float
    seed: int
    pairing: Pairing = Pairing.ANY
    weight_per: WeightPer = WeightPer.BATCH

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
            weights = self._weights(number, len(anchors[rows]))
            yield [
                Draw(int(anchor), int(partner), float(weight), self.epoch)
                for anchor, partner, weight in zip(anchors[rows], partners[rows], weights, strict=True)
            ]

    def _partners(self, anchors: np.ndarray) -> np.ndarray:
        sampler = self.sampler
        if sampler.partners is None:
            return np.full(len(anchors), NO_PARTNER)
        generator = keyed_generator(sampler.seed, "partner", self.epoch)
        return draw_partners(sampler.pairing, anchors, sampler.partners, sampler.classes, generator)

    def _weights(self, number: int, count: int) -> np.ndarray:
        """Draw λ for the `count` rows of a batch; where nothing is mixed it is 1."""
        sampler = self.sampler
        if sampler.partners is None:
            return np.ones(count)
        generator = keyed_generator(sampler.seed, "lambda", self.epoch, number)
        if sampler.weight_per is WeightPer.UTTERANCE:
            return draw_lambda(generator, sampler.alpha, sampler.probability, count=count)
        return np.full(count, draw_lambda(generator, sampler.alpha, sampler.probability))
