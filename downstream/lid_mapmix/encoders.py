"""Networks between upstream and pooling: S3PRL's speaker models, for upstreams that see no context.

ECAPA ("ECAPA-TDNN", arXiv 2005.07143) averages over all frames and puts zeros around those that there are. Beside a
longer waveform it would average padding too and compute on what its layers leave there, so that a score would depend
on its neighbours. :class:`Padding` takes both away.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

import torch
from torch import nn

_XVECTOR_CONTEXT = 14


class Encoder(StrEnum):
    """What stands between upstream and pooling."""

    NONE = "none"
    XVECTOR = "xvector"
    ECAPA = "ecapa"


class Padding:
    """The frames of a batch that an encoder is to take as if they were not there.

    Attributes
    ----------
    is_needed : whether the encoder would mind padding.
    """

    def __init__(self) -> None:
        self.is_needed = False
        self._outside: torch.Tensor | None = None

    @contextmanager
    def of(self, outside: torch.Tensor) -> Iterator[None]:
        """Leave frames out during the block.

        Parameters
        ----------
        outside : (batch, frames) bool torch.Tensor, true for frames that hold no audio; false for one a row, at least.
        """
        self._outside = outside[:, None]
        try:
            yield
        finally:
            self._outside = None

    def install(self, ecapa: nn.Module) -> None:
        """Let S3PRL's ECAPA leave these frames out; its weights, and their names, stay as they are."""
        self.is_needed = True
        for name, module in ecapa.named_modules():
            # The first one is given zeros there already.
            if isinstance(module, nn.Conv1d) and module.kernel_size[0] > 1 and name != "conv1":
                module.register_forward_pre_hook(self._clear)
            elif isinstance(module, nn.AdaptiveAvgPool1d):
                module.register_forward_hook(self._average)

    def _clear(self, convolution: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor] | None:
        """Put zeros where a waveform alone has the zeros that the convolution adds."""
        return None if self._outside is None else (inputs[0].masked_fill(self._outside, 0),)

    def _average(self, pooling: nn.Module, inputs: tuple[torch.Tensor], average: torch.Tensor) -> torch.Tensor | None:
        if self._outside is None:
            return None
        counts = (~self._outside).sum(dim=2, keepdim=True)
        return inputs[0].masked_fill(self._outside, 0).sum(dim=2, keepdim=True) / counts


def make_encoder(encoder: Encoder, upstream_dim: int, channels: int) -> tuple[nn.Module, Padding, int, int]:
    """Return the network, what keeps padding out of it, how many frames it takes away, and the size of its frames."""
    padding = Padding()
    if encoder is Encoder.NONE:
        return nn.Identity(), padding, 0, upstream_dim
    # S3PRL's speaker models; imported here because upstreams that see context need none.
    from s3prl.nn.speaker_model import ECAPA_TDNN, XVectorBackbone  # noqa: PLC0415

    if encoder is Encoder.XVECTOR:  # its convolutions add nothing
        return XVectorBackbone(upstream_dim, channels), padding, _XVECTOR_CONTEXT, channels
    ecapa = ECAPA_TDNN(upstream_dim, channels, C=channels)
    padding.install(ecapa)
    return ecapa, padding, 0, channels
