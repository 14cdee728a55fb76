"""From an upstream's frames to class logits: encoder → masked attention pooling → classifier.

"Improving Spoken Language Identification with Map-Mix" (arXiv 2302.08229), section 3; pooling as in
"Self-Attention Encoding and Pooling for Speaker Recognition" (arXiv 2008.01077), section 2.2. The encoders are S3PRL's
speaker models, for upstreams that see no context.

ECAPA ("ECAPA-TDNN", arXiv 2005.07143) averages over all frames and puts zeros around those that there are. Beside a
longer waveform it would average padding too and compute on what its layers leave there, so that a score would depend
on its neighbours. :class:`Padding` takes both away.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

# Frames of 25 ms every `rate` samples: the filter banks' window and, by design, wav2vec 2.0's receptive field.
_FRAME_WINDOW = 400
# Frames that an encoder is given at once on a CPU in evaluation: what it computes of more does not stay in the cache.
_CPU_FRAMES = 3_200
_XVECTOR_CONTEXT = 14


def audio_samples(frames: int, rate: int) -> int:
    """Return how many samples it takes to have `frames` frames, `rate` samples apart."""
    return (frames - 1) * rate + _FRAME_WINDOW


class FrameSpans:
    """Which frames of a batch hold real audio.

    Attributes
    ----------
    first, last : (batch,) int64; frames first … last − 1 are real, at least one.
    """

    def __init__(self, first: torch.Tensor, last: torch.Tensor) -> None:
        self.first = first
        self.last = last

    @classmethod
    def of_audio(cls, first_sample: torch.Tensor, sample_count: torch.Tensor, rate: int) -> "FrameSpans":
        """Find the frames of real audio, given in samples.

        Parameters
        ----------
        first_sample, sample_count : (batch,) int64, the real audio within each waveform.
        rate : samples from one frame to the next.
        """
        last = torch.div(first_sample + sample_count - _FRAME_WINDOW, rate, rounding_mode="floor") + 1
        return cls(torch.div(first_sample, rate, rounding_mode="floor"), last)

    def shortened(self, context: int, frames: torch.Tensor) -> "FrameSpans":
        """Return the spans after a network that gives `context` frames fewer, of which `frames` are left.

        Parameters
        ----------
        context : frames that a network takes away.
        frames : (batch,) int64, or () where all have as many.
        """
        first = torch.minimum(self.first, frames - 1)
        return FrameSpans(first, torch.maximum(torch.minimum(self.last - context, frames), first + 1))

    def mask(self, frames: int) -> torch.Tensor:
        """Return (batch, frames) bool, true where audio is real."""
        position = torch.arange(frames, device=self.first.device)
        return (position >= self.first[:, None]) & (position < self.last[:, None])


class AttentionPooling(nn.Module):
    """Average frames by learnt weights: ``w = softmax over real frames of Linear(dim, 1)``."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.score = nn.Linear(dim, 1)

    def forward(self, frames: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Pool.

        Parameters
        ----------
        frames : (batch, frames, dim) torch.Tensor
        mask : (batch, frames) bool torch.Tensor, true for real frames; at least one a row.

        Returns
        -------
        (batch, dim) torch.Tensor
        """
        # Also where the upstream computes in less: this costs next to nothing.
        with _own_precision(frames):
            frames = frames.to(self.score.weight.dtype)
            scores = self.score(frames).squeeze(-1).masked_fill(~mask, -torch.inf)
            return torch.einsum("bt,btd->bd", scores.softmax(dim=1), frames)


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


class DialectClassifier(nn.Module):
    """Latents of utterances, and logits of latents; mixup stands between the two.

    Parameters
    ----------
    upstream_dim : size of the upstream's frames.
    upstream_rate : samples from one of its frames to the next.
    class_count : number of classes.
    encoder : network between upstream and pooling; an upstream that sees context (wav2vec 2.0) needs none.
    encoder_channels : width of that network's frames.
    hidden_dim : width of the classifier's hidden layer, 512 in the paper.
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
        self.pooling = AttentionPooling(dim)
        self.classifier = nn.Sequential(nn.Linear(dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, class_count))

    def latents(
        self, features: Sequence[torch.Tensor], first_sample: torch.Tensor, sample_count: torch.Tensor
    ) -> torch.Tensor:
        """Return the latent of each waveform.

        Parameters
        ----------
        features : a (frames, upstream_dim) torch.Tensor a waveform, as S3PRL's featurizer gives them.
        first_sample, sample_count : (batch,) int64, the real audio within each waveform.

        Returns
        -------
        (batch, dim) torch.Tensor
        """
        size = self._batch_size(features)
        if len(features) <= size:
            return self._latents(features, first_sample, sample_count)
        parts = [slice(start, start + size) for start in range(0, len(features), size)]
        return torch.cat([self._latents(features[part], first_sample[part], sample_count[part]) for part in parts])

    def _batch_size(self, features: Sequence[torch.Tensor]) -> int:
        """Return how many waveforms the encoder is best given at once."""
        if self.training or isinstance(self.encoder, nn.Identity) or features[0].device.type != "cpu":
            return len(features)
        return max(_CPU_FRAMES // max(len(one) for one in features), 1)

    def _latents(
        self, features: Sequence[torch.Tensor], first_sample: torch.Tensor, sample_count: torch.Tensor
    ) -> torch.Tensor:
        frames = pad_sequence(list(features), batch_first=True)
        spans = FrameSpans.of_audio(first_sample, sample_count, self.upstream_rate)
        # The featurizer rounds lengths, so there may be a frame fewer than the audio has, never none.
        spans = spans.shortened(0, torch.tensor([len(one) for one in features], device=frames.device))
        # What lies outside the audio depends on the batch, and the encoder's context reaches into it. Filter banks are
        # divided by their deviation over time, which is NaN for a frame alone; its distance from the mean is 0.
        outside, alone = ~spans.mask(frames.shape[1]), spans.last - spans.first == 1
        cleared = outside[..., None]
        if frames.device.type != "cpu" or alone.any():  # a GPU would be waited for
            cleared = cleared | (alone[:, None, None] & frames.isnan())
        frames = frames.masked_fill(cleared, 0)
        # Of a frame alone there is no statistics, which an encoder's batch norm takes in training.
        is_single = self.training and len(frames) == 1 and not isinstance(self.encoder, nn.Identity)
        missing = self.context + (2 if is_single else 1) - frames.shape[1]
        if missing > 0:
            frames = torch.nn.functional.pad(frames, (0, 0, 0, missing))
            outside = torch.nn.functional.pad(outside, (0, missing), value=True)
        # Not in training, whose batch norm takes the statistics of whatever is in a batch.
        if self._padding.is_needed and not self.training and outside.any():
            with self._padding.of(outside):
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
    """Return the context in which modules compute in the precision of their weights."""
    return torch.autocast(tensor.device.type, enabled=False)
