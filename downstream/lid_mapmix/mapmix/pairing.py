"""Who is mixed with whom: partners drawn for the anchors of an epoch.

The rows of Map-Mix's tables (arXiv 2302.08229, section 4) differ in two choices: the pool that partners come from (all
utterances, or a region of the data map), and how a partner's class relates to the anchor's.
"""

from enum import StrEnum

import numpy as np


class Pairing(StrEnum):
    """How a partner's class relates to its anchor's."""

    ANY = "any"
    WITHIN = "within"
    ACROSS = "across"


def draw_partners(
    pairing: Pairing, anchors: np.ndarray, pool: np.ndarray, classes: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Draw a partner for each anchor.

    ``any`` draws uniformly from the pool, ``within`` uniformly from its utterances of the anchor's class, and
    ``across`` first one of the other classes in the pool, then uniformly an utterance of it. An anchor is its own
    partner, and so not mixed, only where ``any`` and ``within`` leave nothing else.

    Parameters
    ----------
    pairing : which of the three.
    anchors : (anchors,) int64 utterance numbers.
    pool : (partners,) int64 utterance numbers, each once, at least one.
    classes : (utterances,) int64, class number of every utterance.
    generator : source of the draws.

    Returns
    -------
    (anchors,) int64 utterance numbers.
    """
    if pairing is Pairing.ACROSS:
        return _draw_across(anchors, pool, classes, generator)
    return _draw_within(anchors, pool, classes if pairing is Pairing.WITHIN else np.zeros_like(classes), generator)


def _draw_within(
    anchors: np.ndarray, pool: np.ndarray, groups: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Draw for each anchor from the pool's members of its group, less the anchor itself."""
    ordered, starts, sizes = _grouped(pool, groups)
    start, size = starts[groups[anchors]], sizes[groups[anchors]]
    place_of = np.full(len(groups), -1)
    place_of[ordered] = np.arange(len(ordered))
    own = place_of[anchors] - start
    inside = place_of[anchors] >= 0
    others = size - inside
    # Drawing among one place fewer and stepping over the anchor's own keeps the draw uniform.
    drawn = generator.integers(0, np.maximum(others, 1))
    place = start + drawn + (inside & (drawn >= own))
    return np.where(others > 0, ordered[np.minimum(place, len(ordered) - 1)], anchors)


def _draw_across(
    anchors: np.ndarray, pool: np.ndarray, classes: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Draw for each anchor a class of the pool that is not its own, then a member of it."""
    ordered, starts, sizes = _grouped(pool, classes)
    present = np.flatnonzero(sizes)
    own = np.searchsorted(present, classes[anchors])
    inside = present[np.minimum(own, len(present) - 1)] == classes[anchors]
    if (len(present) - inside).min() < 1:
        raise ValueError("expected partners of at least one other class than the anchor's, found none")
    drawn = generator.integers(0, len(present) - inside)
    partner_class = present[drawn + (inside & (drawn >= own))]
    return ordered[starts[partner_class] + generator.integers(0, sizes[partner_class])]


def _grouped(pool: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pool ordered by group, and where in it each group starts and how many members it has."""
    pool = np.sort(pool)
    ordered = pool[np.argsort(groups[pool], kind="stable")]
    sizes = np.bincount(groups[pool], minlength=int(groups.max()) + 1)
    return ordered, np.cumsum(sizes) - sizes, sizes
