"""Training crops: they start anywhere, or on a grid whose crops are numbered so that their features can be cached."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..utils.randomness import keyed_generator
from .audio.reading import SAMPLE_RATE
from .windows import sliding_windows

NO_SLOT = -1


@dataclass(frozen=True)
class KeptFeatures:
    """Access to the cached features of a split, by the number of a crop or window."""

    # Returns whether the features of a number are cached, so that its audio need not be read.
    holds: Callable[[int], bool]
    announce: Callable[[Sequence[int]], None]  # called with the numbers of a batch just before the batch is returned


@dataclass(frozen=True)
class Crop:
    """A part of an utterance, and its place in a waveform."""

    # start, count: first sample within the utterance, and number of samples, as recorded.
    start: int
    count: int
    first: int  # first sample of it in the waveform; the rest of the waveform is zeros
    slot: int  # number of the crop on a grid, or -1


class Crops:
    """The training crops of a split, all of one length.

    `counts`: (utterances,) int64, lengths in samples at 16 kHz. `crop_seconds`: length of a crop. `step_seconds`: None:
    a crop starts anywhere, and shorter audio is zero-padded at a random position. Otherwise a crop starts at a multiple
    of this, or ends where the utterance does, and shorter audio is zero-padded at its end.
    """

    def __init__(self, counts: np.ndarray, crop_seconds: float, step_seconds: float | None = None) -> None:
        self.counts = counts
        self.samples = round(crop_seconds * SAMPLE_RATE)
        # (crops, 3) int64, the utterance, first sample and number of samples of each crop of the grid.
        self.grid = None if step_seconds is None else sliding_windows(counts, crop_seconds, step_seconds)
        if self.grid is not None:
            self._first_slots = np.searchsorted(self.grid[:, 0], np.arange(len(counts) + 1))

    def draw(self, seed: int, utterance: int, epoch: int, *role: int, speed: float = 1.0) -> Crop:
        """Draw the crop of an utterance in an epoch; the same arguments give the same crop.

        `utterance`, `epoch`: their numbers. `role`: other parts of the key, not negative. `speed`: factor at which the
        crop will be played, so that it fills the waveform afterwards; without a grid only.
        """
        generator = keyed_generator(seed, "crop", epoch, utterance, *role)
        if self.grid is not None:
            slot = int(generator.integers(self._first_slots[utterance], self._first_slots[utterance + 1]))
            _, start, count = map(int, self.grid[slot])
            return Crop(start, count, 0, slot)
        recorded = int(self.counts[utterance])
        available = int(recorded / speed)
        count = min(available, self.samples)
        start = int(generator.integers(available - count + 1) * speed)
        first = int(generator.integers(self.samples - count + 1))
        return Crop(start, min(math.ceil(count * speed), recorded - start), first, NO_SLOT)
