"""The model on top of an upstream: encoder → masked attention pooling → classifier, from frames to class logits.

"Improving Spoken Language Identification with Map-Mix" (arXiv 2302.08229), section 3; pooling as in
"Self-Attention Encoding and Pooling for Speaker Recognition" (arXiv 2008.01077), section 2.2. The encoders are S3PRL's
speaker models, for upstreams whose frames have no context.

ECAPA ("ECAPA-TDNN", arXiv 2005.07143) averages over all frames and zero-pads its convolutions. In a batch with a longer
waveform it would average over padding and convolve with its layers' output for padding, so that scores would depend on
batching. :class:`Padding` prevents both.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

# Frames of 25 ms every `rate` samples: the filter banks' window and wav2vec 2.0's receptive field.
_FRAME_WINDOW = 400
# Frames per call of an encoder on a CPU in evaluation: intermediate results of more frames do not stay in the cache.
_CPU_FRAMES = 3_200
_XVECTOR_CONTEXT = 14


def audio_samples(frames: int, rate: int) -> int:
    """Return the number of samples of `frames` frames, `rate` samples apart."""
    return (frames - 1) * rate + _FRAME_WINDOW


class FrameSpans(NamedTuple):
    """The frames of real audio in a batch, (batch,) int64 each; frames first … last − 1 are real, at least one."""

    first: torch.Tensor
    last: torch.Tensor

    @classmethod
    def of_audio(cls, first_sample: torch.Tensor, sample_count: torch.Tensor, rate: int) -> "FrameSpans":
        """Compute the frames of real audio from (batch,) int64 samples, with `rate` from one frame to the next."""
        last = torch.div(first_sample + sample_count - _FRAME_WINDOW, rate, rounding_mode="floor") + 1
        return cls(torch.div(first_sample, rate, rounding_mode="floor"), last)

    def shortened(self, context: int, frames: torch.Tensor) -> "FrameSpans":
        """Return the spans after a network that removes `context` frames and returns `frames`, (batch,) or () int64."""
        first = torch.minimum(self.first, frames - 1)
        return FrameSpans(first, torch.maximum(torch.minimum(self.last - context, frames), first + 1))

    def mask(self, frames: int) -> torch.Tensor:
        """Return (batch, frames) bool, true for real audio."""
        position = torch.arange(frames, device=self.first.device)
        return (position >= self.first[:, None]) & (position < self.last[:, None])


class AttentionPooling(nn.Module):
    """Weighted average of frames with learnt weights: ``w = softmax over real frames of Linear(dim, 1)``."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.score = nn.Linear(dim, 1)

    def forward(self, frames: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Pool (batch, frames, dim) to (batch, dim); `mask`: (batch, frames) bool, true for at least one per row."""
        # Always in the precision of the weights, even if the upstream uses another: the cost is negligible.
        with _own_precision(frames):
            frames = frames.to(self.score.weight.dtype)
            scores = self.score(frames).squeeze(-1).masked_fill(~mask, -torch.inf)
            return torch.einsum("bt,btd->bd", scores.softmax(dim=1), frames)


class Encoder(StrEnum):
    """Encoder between upstream and pooling."""

    NONE = "none"
    XVECTOR = "xvector"
    ECAPA = "ecapa"


class Padding:
    """The padding frames of a batch, which an encoder must ignore."""

    def __init__(self) -> None:
        self.is_needed = False  # whether padding would affect the encoder
        self._padded: torch.Tensor | None = None

    @contextmanager
    def of(self, padded: torch.Tensor) -> Iterator[None]:
        """Ignore the padding frames of `padded`, (batch, frames) bool, during the block."""
        self._padded = padded[:, None]
        try:
            yield
        finally:
            self._padded = None

    def install(self, ecapa: nn.Module) -> None:
        """Let S3PRL's ECAPA ignore padding frames; its weights and their names are not changed."""
        self.is_needed = True
        for name, module in ecapa.named_modules():
            # The input of the first one is zero there already.
            if isinstance(module, nn.Conv1d) and module.kernel_size[0] > 1 and name != "conv1":
                module.register_forward_pre_hook(self._clear)
            elif isinstance(module, nn.AdaptiveAvgPool1d):
                module.register_forward_hook(self._average)

    def _clear(self, convolution: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor] | None:
        """Set padding to zero, like the zero padding that the convolution adds to a waveform of this length."""
        return None if self._padded is None else (inputs[0].masked_fill(self._padded, 0),)

    def _average(self, pooling: nn.Module, inputs: tuple[torch.Tensor], average: torch.Tensor) -> torch.Tensor | None:
        if self._padded is None:
            return None
        counts = (~self._padded).sum(dim=2, keepdim=True)
        return inputs[0].masked_fill(self._padded, 0).sum(dim=2, keepdim=True) / counts


def make_encoder(encoder: Encoder, upstream_dim: int, channels: int) -> tuple[nn.Module, Padding, int, int]:
    """Return the encoder, its :class:`Padding`, the number of frames that it removes, and the size of its frames."""
    padding = Padding()
    if encoder is Encoder.NONE:
        return nn.Identity(), padding, 0, upstream_dim
    # S3PRL's speaker models; imported here because upstreams with context need none.
    from s3prl.nn.speaker_model import ECAPA_TDNN, XVectorBackbone  # noqa: PLC0415

    if encoder is Encoder.XVECTOR:  # its convolutions are not zero-padded
        return XVectorBackbone(upstream_dim, channels), padding, _XVECTOR_CONTEXT, channels
    ecapa = ECAPA_TDNN(upstream_dim, channels, C=channels)
    padding.install(ecapa)
    return ecapa, padding, 0, channels


class DialectClassifier(nn.Module):
    """Computes latents of utterances, and logits of latents; latent mixup is applied between the two.

    `upstream_dim`: size of the upstream's frames. `upstream_rate`: samples from one of its frames to the next.
    `encoder`: network between upstream and pooling; an upstream with context (wav2vec 2.0) needs none.
    `encoder_channels`: width of that network's frames. `hidden_dim`: width of the classifier's hidden layer, 512 in the
    paper.
    """

    def __init__(
        self,
        upstream_dim: int,
        upstream_rate: int,
        class_count: int,
        *,
        encoder: Encoder = Encoder.NONE,
        encoder_channels: int = 512,
        hidden_dim: int = 512,
    ) -> None:
        super().__init__()
        self.upstream_rate = upstream_rate
        self.encoder, self._padding, self.context, dim = make_encoder(encoder, upstream_dim, encoder_channels)
        self.dim = dim  # of latents
        self.pooling = AttentionPooling(dim)
        self.classifier = nn.Sequential(nn.Linear(dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, class_count))

    def latents(
        self, features: Sequence[torch.Tensor], first_sample: torch.Tensor, sample_count: torch.Tensor
    ) -> torch.Tensor:
        """Return the latent of each waveform, (batch, dim) torch.Tensor.

        `features`: one (frames, upstream_dim) torch.Tensor per waveform, from S3PRL's featurizer. `first_sample`,
        `sample_count`: (batch,) int64, the real audio within each waveform.
        """
        size = self._batch_size(features)
        if len(features) <= size:
            return self._latents(features, first_sample, sample_count)
        parts = [slice(start, start + size) for start in range(0, len(features), size)]
        return torch.cat([self._latents(features[part], first_sample[part], sample_count[part]) for part in parts])

    def _batch_size(self, features: Sequence[torch.Tensor]) -> int:
        """Return the number of waveforms for which the encoder is fastest."""
        if self.training or isinstance(self.encoder, nn.Identity) or features[0].device.type != "cpu":
            return len(features)
        return max(_CPU_FRAMES // max(len(one) for one in features), 1)

    def _latents(
        self, features: Sequence[torch.Tensor], first_sample: torch.Tensor, sample_count: torch.Tensor
    ) -> torch.Tensor:
        frames = pad_sequence(list(features), batch_first=True)
        spans = FrameSpans.of_audio(first_sample, sample_count, self.upstream_rate)
        # The featurizer rounds lengths, so there may be one frame fewer than the audio has, but at least one.
        spans = spans.shortened(0, torch.tensor([len(one) for one in features], device=frames.device))
        # Values outside the audio depend on the batch, and are in the encoder's context. Filter banks are divided by
        # their deviation over time, which is NaN for a single frame; its distance from the mean is 0.
        padded, single = ~spans.mask(frames.shape[1]), spans.last - spans.first == 1
        cleared = padded[..., None]
        if frames.device.type != "cpu" or single.any():  # the condition would synchronise with a GPU
            cleared = cleared | (single[:, None, None] & frames.isnan())
        frames = frames.masked_fill(cleared, 0)
        # In training, an encoder's batch norm needs statistics, which a single frame does not have.
        is_single = self.training and len(frames) == 1 and not isinstance(self.encoder, nn.Identity)
        missing = self.context + (2 if is_single else 1) - frames.shape[1]
        if missing > 0:
            frames = torch.nn.functional.pad(frames, (0, 0, 0, missing))
            padded = torch.nn.functional.pad(padded, (0, missing), value=True)
        # Not in training, where batch norm uses the statistics of the whole batch.
        if self._padding.is_needed and not self.training and padded.any():
            with self._padding.of(padded):
                encoded = self.encoder(frames)
        else:
            encoded = self.encoder(frames)
        spans = spans.shortened(self.context, torch.tensor(encoded.shape[1], device=frames.device))
        return self.pooling(encoded, spans.mask(encoded.shape[1]))

    def logits(self, latents: torch.Tensor) -> torch.Tensor:
        """Return (batch, classes) logits of (batch, dim) latents."""
        with _own_precision(latents):
            return self.classifier(latents.to(next(self.classifier.parameters()).dtype))


def _own_precision(tensor: torch.Tensor) -> torch.autocast:
    """Return the context in which modules use the precision of their weights."""
    return torch.autocast(tensor.device.type, enabled=False)
