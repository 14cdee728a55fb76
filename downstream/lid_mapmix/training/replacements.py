"""Bad audio during training, where it is to be skipped: what is wrong with it, and which utterance stands in for it.

A stand-in is another utterance of the same class, drawn by a key: a batch keeps its size and its classes, and nothing
has to be remembered from one step to the next, so a resumed run meets the same stand-ins.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..utils.randomness import keyed_generator


class Fault(NamedTuple):
    """Why an utterance could not be heard.

    Attributes
    ----------
    utterance : its number.
    reason : in one line.
    """

    utterance: int
    reason: str


class Replacements:
    """Who stands in for whom.

    Parameters
    ----------
    seed : of the draws.
    gold : (utterances,) int64 class numbers.
    pools : (members,) int64 each, by role, the utterances that anchors and partners are drawn from.
    """

    def __init__(self, seed: int, gold: np.ndarray, pools: tuple[np.ndarray, ...]) -> None:
        self.seed = seed
        self.gold = gold
        self.pools = pools

    def draw(self, utterance: int, role: int, *key: int) -> Iterator[int]:
        """Return all other utterances of the class in a random order, those of the role's pool first.

        Parameters
        ----------
        utterance : whose audio is bad.
        role : 0 of an anchor, 1 of a partner.
        key : epoch and whatever else identifies the draw.
        """
        generator = keyed_generator(self.seed, "stand-in", utterance, role, *key)
        alike = np.flatnonzero(self.gold == self.gold[utterance])
        inside = np.isin(alike, self.pools[role])
        for members in (alike[inside], alike[~inside]):
            yield from generator.permutation(members[members != utterance]).tolist()
