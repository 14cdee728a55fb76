"""S3PRL's ``fbank`` filter banks for a whole batch at once, and faster.

S3PRL computes them one waveform at a time with torchaudio's ``compliance.kaldi.fbank``; for small networks that is half
of a training step (bench/filter_banks.py measures both). Here the same is computed for all frames of a batch: Kaldi's
frames, window, power spectrum and mel filters, then deltas and normalisation over time. A test compares it with S3PRL's
own.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from torchaudio.compliance import kaldi

_BASELINE = "s3prl.upstream.baseline.expert"
# Only the settings of S3PRL's fbank.yaml are supported; the rest are torchaudio's defaults.
_SETTINGS = {"num_mel_bins": 80, "frame_length": 25.0, "frame_shift": 10.0, "use_log_fbank": True}
_SAMPLE_RATE = 16_000
WINDOW, SHIFT, FFT = 400, 160, 512  # samples
_PREEMPHASIS = 0.97
_LOWEST_HERTZ = 20.0
# Frames per call on a CPU: intermediate results of more frames do not stay in the cache.
_CPU_FRAMES = 600


def batch_filter_banks(upstream: Any) -> None:
    """Let S3PRL's ``fbank``, with its own settings, compute the features of a batch at once."""
    if type(upstream).__module__ != _BASELINE:
        return
    kaldi_settings = upstream.config.get("kaldi", {})
    if kaldi_settings.get("feat_type") != "fbank" or kaldi_settings["fbank"] != _SETTINGS:
        return
    filter_banks = FilterBanks(upstream.extracter)
    upstream._extractor_forward = filter_banks.extract


class LogMel:
    """Log mel energies of frames, as Kaldi defines them, in the precision of the frames.

    `filters`: (257, filters) torch.Tensor. `dtype`: of the window.
    """

    def __init__(self, filters: torch.Tensor, dtype: torch.dtype) -> None:
        # Real and imaginary part of each frequency are adjacent, and their squares have the same weight.
        self._filters = filters.repeat_interleave(2, dim=0)
        self._window = torch.hann_window(WINDOW, periodic=False, dtype=dtype).pow(0.85)  # Kaldi's "povey"
        self._floor = torch.finfo(torch.float32).eps

    def __call__(self, frames: torch.Tensor) -> torch.Tensor:
        """Return (frames, filters) of (frames, window) samples."""
        frames = frames - frames.mean(dim=1, keepdim=True)
        # Not in one operation, which would round once where S3PRL rounds twice: the last bit of a loud signal is as
        # large as the energy in the quietest filters.
        previous = frames * _PREEMPHASIS
        frames[:, 1:] -= previous[:, :-1]
        # Kaldi repeats a frame's first sample before it.
        frames[:, :1] -= previous[:, :1]
        frames *= self._window.to(frames)
        spectrum = torch.view_as_real(torch.fft.rfft(frames, n=FFT)).flatten(1)
        energies = spectrum.square_() @ self._filters.to(frames)
        return energies.clamp_(min=self._floor).log_()


class FilterBanks:
    """Log mel energies with the deltas and the normalisation of S3PRL's `extracter`."""

    def __init__(self, extracter: Any) -> None:
        self._one_by_one = extracter
        _, self._deltas, self._normalisation = extracter
        filters, _ = kaldi.get_mel_banks(
            _SETTINGS["num_mel_bins"], FFT, float(_SAMPLE_RATE), _LOWEST_HERTZ, 0.0, 100.0, -500.0, 1.0
        )
        # No filter uses the last frequency.
        self._log_mel_energies = LogMel(torch.nn.functional.pad(filters, (0, 1)).T, torch.float32)

    def extract(self, waveforms: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return features, one (frames, dim) float32 per waveform. `waveforms`: (samples,) float32, at 16 kHz."""
        for waveform in waveforms:
            if waveform.shape[0] < WINDOW:
                self._one_by_one(waveform)  # S3PRL raises the error
        found: list[torch.Tensor] = []
        for part in _parts(waveforms):
            counts = [_frame_count(waveform) for waveform in part]
            features = self._features(part, counts)
            found += [each[:, :count].T for each, count in zip(features, counts, strict=True)]
        return found

    def _features(self, waveforms: Sequence[torch.Tensor], counts: list[int]) -> torch.Tensor:
        """Return (batch, dim, frames) features, 0 after each waveform's frames; time is last, so adjacent."""
        frames = [waveform.unfold(0, WINDOW, SHIFT) for waveform in waveforms]
        energies = self._log_mel_energies(torch.cat(frames)).split(counts)
        span = None if all(count == counts[0] for count in counts) else _Span(counts, frames[0].device)
        parts = [pad_sequence(list(energies), batch_first=True).transpose(1, 2).contiguous()]
        reach = (self._deltas.compute_delta.win_length - 1) // 2
        for _ in range(self._deltas.order):
            parts.append(_deltas(parts[-1], reach, span))
        features = torch.cat(parts, dim=1)
        if self._normalisation.use_cmvn:
            self._normalise(features, span)
        return features

    def _normalise(self, features: torch.Tensor, span: "_Span | None") -> None:
        """Normalise (batch, dim, frames) features to mean 0 and deviation 1 over time, in place."""
        count = features.shape[2] if span is None else span.counts[:, None, None]
        if span is not None:
            features *= span.real
        features -= features.sum(dim=2, keepdim=True) / count
        if span is not None:
            features *= span.real
        # Several times as fast as torch.std, and as exact, because the mean is already subtracted.
        variance = features.square().sum(dim=2, keepdim=True) / (count - 1)
        features /= self._normalisation.eps + variance.sqrt()


class _Span:
    """The real frames of a batch: their `counts`, (batch,) int64, and (batch, 1, frames) float32, 1 where `real`."""

    def __init__(self, counts: list[int], device: torch.device) -> None:
        self.counts = torch.tensor(counts, device=device)
        self._positions = torch.arange(max(counts), device=device)
        self.real = (self._positions < self.counts[:, None]).float()[:, None]

    def extended(self, values: torch.Tensor) -> torch.Tensor:
        """Return (batch, dim, frames) values with everything after the last real value replaced by it."""
        last = torch.minimum(self._positions, self.counts[:, None] - 1)
        return values.gather(2, last[:, None].expand_as(values))


def _deltas(values: torch.Tensor, reach: int, span: _Span | None) -> torch.Tensor:
    """Return the regression over time of (batch, dim, frames) values, with the first and last one repeated outside."""
    values = values if span is None else span.extended(values)
    padded = torch.nn.functional.pad(values, (reach, reach), mode="replicate")
    frames = values.shape[2]
    slopes = torch.zeros_like(values)
    for step in range(1, reach + 1):
        ahead = padded[:, :, reach + step : reach + step + frames]
        slopes.add_(ahead - padded[:, :, reach - step : reach - step + frames], alpha=step)
    return slopes.div_(2 * sum(step**2 for step in range(1, reach + 1)))


def _frame_count(waveform: torch.Tensor) -> int:
    return (waveform.shape[0] - WINDOW) // SHIFT + 1


def _parts(waveforms: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Yield waveforms in order, in parts of a size that is computed fast."""
    part: list[torch.Tensor] = []
    longest = 0
    for waveform in waveforms:
        longest = max(longest, _frame_count(waveform))
        if part and waveform.device.type == "cpu" and (len(part) + 1) * longest > _CPU_FRAMES:
            yield part
            part, longest = [], _frame_count(waveform)
        part.append(waveform)
    if part:
        yield part
