"""The batches of an epoch: order of the anchors, partners, and λ.

All of it follows from the seed and the number of the epoch: a resumed run, or one with other workers, more frequent
evaluation or more machines, trains on the same batches. Distributed processes divide each batch among them: its
size and its loss do not depend on their number.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..data.balance import draw_anchors
from ..mapmix.mixup import LambdaPer, Pairing, draw_lambda, draw_partners
from ..utils.randomness import keyed_generator

NO_PARTNER = -1


class Draw(NamedTuple):
    """One row of a training batch."""

    # anchor, partner: utterance numbers; partner is -1 where nothing is mixed.
    anchor: int
    partner: int
    weight: float  # λ, the weight of the anchor
    epoch: int  # number of the epoch, which keys the crops
    # Weight of its loss in the mean over the rows of this process, such that the mean over the processes is the mean
    # over the whole batch: 1 for one process, 0 for the dummy row of a process without a row.
    loss_weight: float = 1.0
    repeat: int = 0  # index of this draw of the anchor in the epoch, from 0; each has its own crop


@dataclass(frozen=True, eq=False)
class TrainSampler:
    """The batches of each epoch."""

    anchors: np.ndarray  # (anchors,) int64 utterance numbers; an epoch has as many rows
    # (partners,) int64 utterance numbers, drawn from in each epoch; None for training without mixing.
    partners: np.ndarray | None
    classes: np.ndarray  # (utterances,) int64, class number of every utterance
    batch_size: int  # anchors per batch, over all processes; the last batch of an epoch may have fewer
    alpha: float  # λ ~ Beta(alpha, alpha) (mixup, arXiv 1710.09412)
    probability: float  # fraction of the batches (or utterances) that are mixed; λ = 1 in the others
    seed: int  # the run's seed
    pairing: Pairing = Pairing.ANY  # relation of a partner's class to its anchor's
    lambda_per: LambdaPer = LambdaPer.BATCH  # whether λ is drawn per batch or per utterance
    # A class is drawn in proportion to its size to this power (balance.py); 1 draws each anchor once per epoch.
    power: float = 1.0
    # process, processes: number of this process, and of all that train together; each has its own rows of a batch.
    process: int = 0
    processes: int = 1

    def __len__(self) -> int:
        return math.ceil(len(self.anchors) / self.batch_size)

    @property
    def max_rows(self) -> int:
        """Maximum number of rows of a batch per process."""
        return math.ceil(self.batch_size / self.processes)

    def class_prior(self, classes: int) -> np.ndarray:
        """Return the expected fraction of each class in the anchors and partners, (classes,) float64, above 0.

        The weight of a mixed partner is 1/2 on average. With pairing across, its class is taken as any, equally likely.
        """

        def fractions(utterances: np.ndarray, power: float) -> np.ndarray:
            sizes = np.bincount(self.classes[utterances], minlength=classes).astype(np.float64)
            weights = np.where(sizes > 0, sizes, 1.0) ** power * (sizes > 0)
            # At least half an utterance: a class that was not drawn is improbable, not impossible.
            weights = np.maximum(weights / weights.sum(), 0.5 / len(utterances))
            return weights / weights.sum()

        own = fractions(self.anchors, self.power)
        if self.partners is None or self.pairing is Pairing.WITHIN:
            return own
        others = fractions(self.partners, 0.0 if self.pairing is Pairing.ACROSS else 1.0)
        return own + self.probability / 2 * (others - own)

    def batches(self, epoch: int, first_batch: int = 0) -> "EpochBatches":
        """Return the batches of an epoch from number `first_batch`."""
        return EpochBatches(self, epoch, first_batch)


@dataclass(frozen=True, eq=False)
class EpochBatches:
    """The batches of one epoch, drawn one by one: an epoch may have millions."""

    sampler: TrainSampler  # of the run
    # epoch, first_batch: number of the epoch, and of the first batch to return.
    epoch: int
    first_batch: int

    def __len__(self) -> int:
        return max(len(self.sampler) - self.first_batch, 0)

    def __iter__(self) -> Iterator[list[Draw]]:
        sampler = self.sampler
        anchors, repeats = self._anchors()
        partners = np.full(len(anchors), NO_PARTNER)
        if sampler.partners is not None:
            generator = keyed_generator(sampler.seed, "partner", self.epoch)
            partners = draw_partners(sampler.pairing, anchors, sampler.partners, sampler.classes, generator)
        for number in range(self.first_batch, len(sampler)):
            rows = np.arange(number * sampler.batch_size, min((number + 1) * sampler.batch_size, len(anchors)))
            weights = self._weights(number, len(rows))
            own, loss_weight = _own_rows(len(rows), sampler.process, sampler.processes)
            yield [
                Draw(int(anchors[row]), int(partners[row]), float(weight), self.epoch, loss_weight, int(repeats[row]))
                for row, weight in zip(rows[own], weights[own], strict=True)
            ]

    def _anchors(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the anchors in the order of the epoch, and the repeat of each, (anchors,) int64 each."""
        sampler, order = self.sampler, keyed_generator(self.sampler.seed, "order", self.epoch)
        if sampler.power == 1:
            return order.permutation(sampler.anchors), np.zeros(len(sampler.anchors), dtype=np.int64)
        generator = keyed_generator(sampler.seed, "anchors of a class", self.epoch)
        drawn, repeats = draw_anchors(sampler.anchors, sampler.classes, sampler.power, generator)
        places = order.permutation(len(drawn))
        return drawn[places], repeats[places]

    def _weights(self, number: int, count: int) -> np.ndarray:
        """Draw λ for the `count` rows of a batch; it is 1 where nothing is mixed."""
        sampler = self.sampler
        if sampler.partners is None:
            return np.ones(count)
        generator = keyed_generator(sampler.seed, "lambda", self.epoch, number)
        drawn = count if sampler.lambda_per is LambdaPer.UTTERANCE else 1
        return np.broadcast_to(draw_lambda(generator, sampler.alpha, sampler.probability, drawn), count)


def _own_rows(count: int, process: int, processes: int) -> tuple[slice, float]:
    """Return the rows of a batch of `count` rows that are this process's, and the loss weight of each; see `Draw`."""
    start, end = (count * number // processes for number in (process, process + 1))
    # A process without a row needs a dummy row, because gradients are averaged over all processes.
    return (slice(start, end), (end - start) * processes / count) if start < end else (slice(0, 1), 0.0)
