"""Which utterances meet in a batch: order, partners and mixing weights of an epoch.

All of it follows from the seed and the number of the epoch, so a resumed run, a run with other workers, a run that
evaluates more often and a run on more machines train on the same batches. Where several processes train together, a
batch is shared out among them: its size, and what is learnt from it, do not depend on how many they are.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..data.balance import draw_anchors
from ..mapmix.mixup import Pairing, WeightPer, draw_lambda, draw_partners
from ..utils.randomness import keyed_generator

NO_PARTNER = -1


class Draw(NamedTuple):
    """One row of a training batch.

    Attributes
    ----------
    anchor, partner : utterance numbers; partner is -1 where nothing is mixed.
    weight : λ, the share of the anchor.
    epoch : the epoch it is drawn for, which keys its crops.
    share : what its loss counts for in the mean over the rows of this process, so that the mean over the processes is
        the mean over the whole batch: 1 for one process, 0 for a row that only keeps an idle process company.
    repeat : which of the anchor's turns in the epoch this is, from 0 on; each has a crop of its own.
    """

    anchor: int
    partner: int
    weight: float
    epoch: int
    share: float = 1.0
    repeat: int = 0


@dataclass(frozen=True, eq=False)
class TrainSampler:
    """The batches of each epoch.

    Attributes
    ----------
    anchors : (anchors,) int64 utterance numbers; an epoch has as many rows.
    partners : (partners,) int64 utterance numbers to draw from, afresh each epoch; None for training without mixing.
    classes : (utterances,) int64, class number of every utterance.
    batch_size : anchors in a batch, of all processes together; the last batch of an epoch may have fewer.
    alpha : λ ~ Beta(alpha, alpha) (mixup, arXiv 1710.09412).
    probability : share of the batches (or utterances) that are mixed; λ = 1 in the others.
    seed : the run's seed.
    pairing : how a partner's class relates to its anchor's.
    weight_per : whether a batch or an utterance has a λ of its own.
    power : by which of its size a class's share of the anchors is drawn (balance.py); at 1 each comes once an epoch.
    process, processes : which of how many processes that train together this is; each has its own rows of a batch.
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
    power: float = 1.0
    process: int = 0
    processes: int = 1

    def __len__(self) -> int:
        return math.ceil(len(self.anchors) / self.batch_size)

    @property
    def most_rows(self) -> int:
        """How many rows of a batch a process has at most."""
        return math.ceil(self.batch_size / self.processes)

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
        anchors, repeats = self._anchors()
        partners = self._partners(anchors)
        for number in range(self.first_batch, len(sampler)):
            rows = np.arange(number * sampler.batch_size, min((number + 1) * sampler.batch_size, len(anchors)))
            weights = self._weights(number, len(rows))
            own, share = _own_rows(len(rows), sampler.process, sampler.processes)
            yield [
                Draw(int(anchors[row]), int(partners[row]), float(weight), self.epoch, share, int(repeats[row]))
                for row, weight in zip(rows[own], weights[own], strict=True)
            ]

    def _anchors(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the anchors in the order of the epoch, and which of its turns each is, (anchors,) int64 each."""
        sampler, order = self.sampler, keyed_generator(self.sampler.seed, "order", self.epoch)
        if sampler.power == 1:
            return order.permutation(sampler.anchors), np.zeros(len(sampler.anchors), dtype=np.int64)
        generator = keyed_generator(sampler.seed, "anchors of a class", self.epoch)
        drawn, repeats = draw_anchors(sampler.anchors, sampler.classes, sampler.power, generator)
        places = order.permutation(len(drawn))
        return drawn[places], repeats[places]

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


def _own_rows(count: int, process: int, processes: int) -> tuple[slice, float]:
    """Return which of the `count` rows of a batch are this process's, and the share of each; see `Draw`."""
    start, end = (count * number // processes for number in (process, process + 1))
    # A process without a row takes part all the same, since gradients are averaged over all of them.
    return (slice(start, end), (end - start) * processes / count) if start < end else (slice(0, 1), 0.0)
