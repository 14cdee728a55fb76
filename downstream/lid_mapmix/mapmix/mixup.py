"""Mixup: the weight, the mixture and the loss against a mixed target.

Follows mixup (arXiv 1710.09412) as Map-Mix applies it to pooled latents (arXiv 2302.08229, section 2): the anchor
has weight λ ~ Beta(α, α), the partner 1 - λ, the targets likewise. "Not mixed" is λ = 1 and no case of its own.
"""

from enum import StrEnum
from typing import overload

import numpy as np
import torch


class MixSpace(StrEnum):
    """Where anchor and partner are mixed."""

    NONE = "none"
    INPUT = "input"
    LATENT = "latent"


class WeightPer(StrEnum):
    """What has a λ of its own."""

    BATCH = "batch"
    UTTERANCE = "utterance"


@overload
def draw_lambda(
    generator: np.random.Generator, alpha: float, probability: float = 1.0, *, count: None = None
) -> float: ...
@overload
def draw_lambda(
    generator: np.random.Generator, alpha: float, probability: float = 1.0, *, count: int
) -> np.ndarray: ...
def draw_lambda(
    generator: np.random.Generator, alpha: float, probability: float = 1.0, *, count: int | None = None
) -> float | np.ndarray:
    """Draw the anchor's weight λ.

    Parameters
    ----------
    generator : source of the draw (randomness.keyed_generator).
    alpha : both parameters of the beta distribution, above 0; small values give weights near 0 and 1.
    probability : how often to mix, in [0, 1]; otherwise λ is 1.
    count : how many weights, or None for a single one.

    Returns
    -------
    float in [0, 1], or (count,) float64 of such.
    """
    if not alpha > 0:
        raise ValueError(f"expected alpha above 0, found {alpha}")
    if not 0 <= probability <= 1:
        raise ValueError(f"expected a probability in [0, 1], found {probability}")
    # Both draws are always made, so that the same generator gives the same λ whatever the probability.
    weights = generator.beta(alpha, alpha, size=count)
    weights = np.where(generator.random(size=count) < probability, weights, 1.0)
    return float(weights) if count is None else weights


def mix(anchor: torch.Tensor, partner: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Mix anchors with their partners: ``weight · anchor + (1 - weight) · partner``.

    Parameters
    ----------
    anchor, partner : (batch, ...) torch.Tensor, float: latents, targets or waveforms. Neither is changed.
    weight : (batch,) torch.Tensor in [0, 1], each anchor's share.

    Returns
    -------
    (batch, ...) torch.Tensor in the dtype of `anchor`.
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
    """Mix two waveforms at equal loudness: the audio of both is brought to mean 0 and variance 1 first.

    The mixture is given the deviation of the two, in the same shares: it is as loud as unmixed audio, which upstreams
    that do not normalise their input would notice, and λ = 1 gives back the anchor, less its mean.

    Parameters
    ----------
    anchor, partner : (samples,) float32 at the same rate. Neither is changed.
    weight : λ, the anchor's share.
    real : where in each of them the audio is; the rest is padding, which stays 0 and counts for nothing.

    Returns
    -------
    (samples,) float32.
    """
    if anchor.shape != partner.shape:
        raise ValueError(f"expected anchor and partner of one length, found {anchor.shape} and {partner.shape}")
    mixed, loudness = np.zeros(anchor.shape, dtype=np.float64), 0.0
    for waveform, where, share in ((anchor, real[0], weight), (partner, real[1], 1 - weight)):
        audio = waveform[where].astype(np.float64)
        deviation = audio.std()
        loudness += share * deviation
        if deviation > 0:  # silence stays silence
            mixed[where] += share * (audio - audio.mean()) / deviation
    return (mixed * loudness).astype(np.float32)


def soft_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the cross entropy against soft targets, computed in float32.

    Parameters
    ----------
    logits : (batch, classes) torch.Tensor of any float dtype.
    targets : (batch, classes) torch.Tensor, rows summing to 1.

    Returns
    -------
    (batch,) torch.Tensor float32, in nats.
    """
    if logits.shape != targets.shape:
        raise ValueError(f"expected logits and targets of one shape, found {(*logits.shape,)} and {(*targets.shape,)}")
    return -(targets.float() * logits.float().log_softmax(dim=-1)).sum(dim=-1)
