"""Replacement utterances for bad audio in training.

A replacement is another utterance of the same class, drawn by a key. A batch keeps its size and its classes, and a
resumed run draws the same replacements without any stored state.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..utils.randomness import keyed_generator


class Fault(NamedTuple):
    """Why the audio of an utterance could not be read."""

    utterance: int  # its number
    reason: str  # in one line


class Replacements:
    """Draws replacement utterances.

    `target_classes`: (utterances,) int64 class numbers. `pools`: (members,) int64 each, per role, the utterances that
    anchors and partners are drawn from.
    """

    def __init__(self, seed: int, target_classes: np.ndarray, pools: tuple[np.ndarray, ...]) -> None:
        self.seed = seed
        self.target_classes = target_classes
        self.pools = pools

    def draw(self, utterance: int, role: int, *key: int) -> Iterator[int]:
        """Return all other utterances of the class in a random order, those of the role's pool first.

        `utterance`: the utterance with bad audio. `role`: 0 for an anchor, 1 for a partner. `key`: epoch and other
        parts of the key of the draw.
        """
        generator = keyed_generator(self.seed, "stand-in", utterance, role, *key)
        alike = np.flatnonzero(self.target_classes == self.target_classes[utterance])
        inside = np.isin(alike, self.pools[role])
        for members in (alike[inside], alike[~inside]):
            yield from generator.permutation(members[members != utterance]).tolist()
