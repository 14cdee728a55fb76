"""Corrects the padding masks of S3PRL's native upstreams.

In a batch, an utterance is padded with zeros to the length of the longest. Its features are independent of padding only
if no padding frame is attended to or convolved with. Two families violate that:

- HuBERT and WavLM divide the waveform equally among the frames, instead of computing where each frame ends, and so
  attend to some padding frames (up to 0.35 of the features' deviation, measured for models with layer norm in front).
- data2vec computes positions by several successive convolutions. What the first one writes into the padding, the next
  one reads (more than the features' deviation).

Models with group norm in front average over time, including the padding. That cannot be patched, and their batches
must have one length (``evaluation.mix_lengths: false``). :func:`check_mixed_lengths` detects them.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from ..utils.errors import UserError
from .feature_cache import Selection

# Lengths that end within a frame, at two different positions.
_SHORT, _LONG = (5_000, 9_039), 16_000
# Rounding gives about 1e-6, group norm 0.1 and more, a wrong mask 0.01 and more.
_TOLERANCE = 1e-3


def true_frames(upstream: Any) -> None:
    """Correct the padding masks of a native upstream, in place; other upstreams are not changed."""
    model = getattr(upstream, "model", None)
    convolutions = _front_end(model)
    if model is None or not convolutions:
        return
    if hasattr(model, "forward_padding_mask"):
        model.forward_padding_mask = _PaddingMask(convolutions)
    encoder = getattr(model, "encoder", None)
    blocks = list(getattr(encoder, "pos_conv", None) or [])
    if encoder is not None and len(blocks) > 1 and all(isinstance(block, nn.Sequential) for block in blocks):
        MaskedConvolutions().install(encoder, blocks)


def check_mixed_lengths(upstream: Any, feature: str, name: str, device: str) -> None:
    """Check that the features of an utterance are independent of batching and padding.

    Raises UserError: they are not.

    `upstream`: the upstream's model, with 20 or 10 ms per frame. `feature`: those of -s. `name`: of the upstream.
    `device`: of the model.
    """
    generator = torch.Generator().manual_seed(0)
    wavs = [0.1 * torch.randn(samples, generator=generator).to(device) for samples in (*_SHORT, _LONG)]
    states, rate = Selection(feature, layer=None).layers, upstream.get_downsample_rates(feature)
    training = upstream.training
    upstream.eval()
    # TensorFloat-32 would differ by as much as a wrong mask may.
    cudnn = torch.backends.cudnn
    with torch.no_grad(), cudnn.flags(enabled=cudnn.enabled, deterministic=cudnn.deterministic, allow_tf32=False):
        together = states(upstream(wavs))
        differences = [
            _difference(one, both[row : row + 1], (len(wav) - 400) // rate + 1)
            for row, wav in enumerate(wavs[:-1])
            for one, both in zip(states(upstream([wav])), together, strict=True)
        ]
    upstream.train(training)
    worst = torch.stack(differences).max().item()  # NaN if any is
    if not worst <= _TOLERANCE:
        raise UserError(
            f"upstream {name}: expected features that do not depend on padding, found a relative difference of "
            f"{worst:.1%} beside a longer utterance. Set config.downstream_expert.evaluation.mix_lengths to false."
        )


def _difference(single: torch.Tensor, together: torch.Tensor, frames: int) -> torch.Tensor:
    """Return the relative difference of the first `frames` of two (1, frames, dim)."""
    expected = single[:, :frames]
    return (together[:, :frames] - expected).norm() / expected.norm()


def _front_end(model: Any) -> list[tuple[int, int]]:
    """Return (kernel, stride) of each convolution of a fairseq-like front end."""
    layers = getattr(getattr(model, "feature_extractor", None), "conv_layers", None) or []
    first = [layer[0] for layer in layers if isinstance(layer, nn.Sequential)]
    return [(layer.kernel_size[0], layer.stride[0]) for layer in first if isinstance(layer, nn.Conv1d)]


class _PaddingMask:
    """Replaces a model's `forward_padding_mask`."""

    def __init__(self, convolutions: list[tuple[int, int]]) -> None:
        self._convolutions = convolutions

    def __call__(self, features: torch.Tensor, padding_mask: torch.Tensor) -> torch.Tensor:
        """Return (batch, frames) bool, true for frames that include padding, from a (batch, samples) mask."""
        lengths = (~padding_mask).sum(dim=1)
        for kernel, stride in self._convolutions:
            lengths = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
        return torch.arange(features.shape[1], device=lengths.device) >= lengths[:, None]


class MaskedConvolutions:
    """Sets the padding to zero before each of an encoder's convolutions, as for an utterance without padding.

    S3PRL's encoders are called with a ``padding_mask``, those of transformers with an ``attention_mask``, its opposite.
    """

    def __init__(self) -> None:
        self._padding: torch.Tensor | None = None

    def install(self, encoder: nn.Module, blocks: Iterable[nn.Module]) -> None:
        """Register the hooks. `encoder`: it is called with the mask. `blocks`: called with (batch, dim, frames)."""
        encoder.register_forward_pre_hook(self._note, with_kwargs=True)
        for block in blocks:
            block.register_forward_pre_hook(self._clear)

    def _note(self, encoder: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        real = keywords.get("attention_mask")
        padding = keywords.get("padding_mask", arguments[1] if len(arguments) > 1 else None)
        self._padding = padding if real is None else ~real.bool()

    def _clear(self, block: nn.Module, arguments: tuple[torch.Tensor]) -> tuple[torch.Tensor] | None:
        return None if self._padding is None else (arguments[0].masked_fill(self._padding[:, None], 0),)
