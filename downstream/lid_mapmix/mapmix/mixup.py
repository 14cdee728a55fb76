"""Mixup: partners, λ, the mixture and the loss against a mixed target.

Follows mixup (arXiv 1710.09412) as Map-Mix applies it to pooled latents (arXiv 2302.08229, section 2): the anchor
has weight λ ~ Beta(α, α), the partner 1 - λ, the targets likewise. An unmixed utterance has λ = 1. The rows of
Map-Mix's tables (section 4) differ in the pool of the partners (all utterances, or a region of the data map), and in
the relation of a partner's class to the anchor's.
"""

from enum import StrEnum

import numpy as np
import torch


class MixSpace(StrEnum):
    """Where anchor and partner are mixed."""

    NONE = "none"
    INPUT = "input"
    LATENT = "latent"


class LambdaPer(StrEnum):
    """Whether λ is drawn per batch or per utterance."""

    BATCH = "batch"
    UTTERANCE = "utterance"


class Pairing(StrEnum):
    """Relation of a partner's class to its anchor's."""

    ANY = "any"
    WITHIN = "within"
    ACROSS = "across"


def draw_lambda(generator: np.random.Generator, alpha: float, probability: float, count: int) -> np.ndarray:
    """Draw weights λ of anchors, (count,) float64 in [0, 1].

    `generator`: source of the draw (randomness.keyed_generator). `alpha`: both parameters of the beta distribution,
    above 0; small values give weights near 0 and 1. `probability`: probability of mixing, in [0, 1]; otherwise λ is 1.
    """
    # Both draws are always made, so that the same generator gives the same λ whatever the probability.
    weights = generator.beta(alpha, alpha, size=count)
    return np.where(generator.random(size=count) < probability, weights, 1.0)


def mix(anchor: torch.Tensor, partner: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Mix anchors with their partners: ``weight · anchor + (1 - weight) · partner``.

    Returns (batch, ...) torch.Tensor in the dtype of `anchor`.

    `anchor`, `partner`: (batch, ...) torch.Tensor, float: latents, targets or waveforms. Neither is changed. `weight`:
    (batch,) torch.Tensor in [0, 1], λ of each anchor.
    """
    if anchor.shape != partner.shape:
        raise ValueError(f"expected anchor and partner of one shape, found {(*anchor.shape,)} and {(*partner.shape,)}")
    if weight.shape != anchor.shape[:1]:
        raise ValueError(f"expected weight of shape {(*anchor.shape[:1],)}, found {(*weight.shape,)}")
    weight = weight.to(anchor).reshape(-1, *[1] * (anchor.dim() - 1))
    return weight * anchor + (1 - weight) * partner


def mix_waveforms(
    anchor: np.ndarray, partner: np.ndarray, weight: float, real: tuple[slice, slice] = (slice(None), slice(None))
) -> np.ndarray:
    """Mix two waveforms at equal loudness: both are first normalised to mean 0 and variance 1.

    The mixture is scaled by the mean of the two standard deviations, weighted by λ. It is as loud as unmixed audio,
    which matters for upstreams that do not normalise their input, and λ = 1 returns the anchor minus its mean.

    Returns (samples,) float32.

    `anchor`, `partner`: (samples,) float32 at the same rate. Neither is changed. `weight`: λ, the anchor's weight.
    `real`: where in each of them the audio is; the rest is padding, which stays 0 and is not used.
    """
    if anchor.shape != partner.shape:
        raise ValueError(f"expected anchor and partner of one length, found {anchor.shape} and {partner.shape}")
    mixed, loudness = np.zeros(anchor.shape, dtype=np.float64), 0.0
    for waveform, where, own_weight in ((anchor, real[0], weight), (partner, real[1], 1 - weight)):
        audio = waveform[where].astype(np.float64)
        deviation = audio.std()
        loudness += own_weight * deviation
        if deviation > 0:  # a constant waveform stays silent
            mixed[where] += own_weight * (audio - audio.mean()) / deviation
    return (mixed * loudness).astype(np.float32)


def soft_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the cross entropy against soft targets, computed in float32, (batch,) torch.Tensor float32, in nats.

    `logits`: (batch, classes) torch.Tensor of any float dtype. `targets`: (batch, classes) torch.Tensor, rows summing
    to 1.
    """
    if logits.shape != targets.shape:
        raise ValueError(f"expected logits and targets of one shape, found {(*logits.shape,)} and {(*targets.shape,)}")
    return -(targets.float() * logits.float().log_softmax(dim=-1)).sum(dim=-1)


def draw_partners(
    pairing: Pairing, anchors: np.ndarray, pool: np.ndarray, classes: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Draw a partner for each anchor.

    ``any`` draws uniformly from the pool, ``within`` uniformly from its utterances of the anchor's class, and
    ``across`` first draws one of the other classes in the pool, then uniformly an utterance of it. With ``any`` and
    ``within``, an anchor is its own partner, and so not mixed, only where there is no other choice.

    Returns (anchors,) int64 utterance numbers.

    `anchors`: (anchors,) int64 utterance numbers. `pool`: (partners,) int64 utterance numbers, each once, at least one.
    `classes`: (utterances,) int64, class number of every utterance.
    """
    if pairing is Pairing.ACROSS:
        return _draw_across(anchors, pool, classes, generator)
    return _draw_within(anchors, pool, classes if pairing is Pairing.WITHIN else np.zeros_like(classes), generator)


def _draw_within(
    anchors: np.ndarray, pool: np.ndarray, groups: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Draw for each anchor from the pool's utterances of its group, except the anchor itself."""
    ordered, starts, sizes = _grouped(pool, groups)
    start, size = starts[groups[anchors]], sizes[groups[anchors]]
    place_of = np.full(len(groups), -1)
    place_of[ordered] = np.arange(len(ordered))
    own = place_of[anchors] - start
    inside = place_of[anchors] >= 0
    others = size - inside
    # Drawing from one place fewer and skipping the anchor's own keeps the draw uniform.
    drawn = generator.integers(0, np.maximum(others, 1))
    place = start + drawn + (inside & (drawn >= own))
    return np.where(others > 0, ordered[np.minimum(place, len(ordered) - 1)], anchors)


def _draw_across(
    anchors: np.ndarray, pool: np.ndarray, classes: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Draw for each anchor another class of the pool, then an utterance of it."""
    ordered, starts, sizes = _grouped(pool, classes)
    present = np.flatnonzero(sizes)
    own = np.searchsorted(present, classes[anchors])
    inside = present[np.minimum(own, len(present) - 1)] == classes[anchors]
    drawn = generator.integers(0, len(present) - inside)
    partner_class = present[drawn + (inside & (drawn >= own))]
    return ordered[starts[partner_class] + generator.integers(0, sizes[partner_class])]


def _grouped(pool: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pool ordered by group, the start of each group in it, and the size of each group."""
    pool = np.sort(pool)
    ordered = pool[np.argsort(groups[pool], kind="stable")]
    sizes = np.bincount(groups[pool], minlength=int(groups.max()) + 1)
    return ordered, np.cumsum(sizes) - sizes, sizes
