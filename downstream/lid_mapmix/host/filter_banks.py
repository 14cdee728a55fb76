"""The filter banks of S3PRL's ``fbank`` for a whole batch at once, and more quickly.

S3PRL computes them a waveform at a time by torchaudio's ``compliance.kaldi.fbank``; on small networks that is half of a
training step (bench/filter_banks.py measures both). The same is computed here for all frames of the waveforms that have
one length: Kaldi's frames, window, power spectrum and mel filters, then deltas and normalisation over time. A test
holds it against S3PRL's own.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torchaudio.compliance import kaldi

_BASELINE = "s3prl.upstream.baseline.expert"
# The filter banks that are known here are those of S3PRL's fbank.yaml, the rest as torchaudio has it by default.
_SETTINGS = {"num_mel_bins": 80, "frame_length": 25.0, "frame_shift": 10.0, "use_log_fbank": True}
_SAMPLE_RATE = 16_000
_WINDOW, _SHIFT, _FFT = 400, 160, 512  # samples
_PREEMPHASIS = 0.97
_LOWEST_HERTZ = 20.0
# Frames a call on a CPU: what is computed of more of them does not stay in the cache.
_CPU_FRAMES = 600


def batch_filter_banks(upstream: Any) -> None:
    """Let S3PRL's ``fbank`` compute the filter banks of a batch at once.

    Parameters
    ----------
    upstream : the upstream's model; any but ``fbank`` with its own settings stays as it is.
    """
    if type(upstream).__module__ != _BASELINE:
        return
    kaldi_settings = upstream.config.get("kaldi", {})
    if kaldi_settings.get("feat_type") != "fbank" or kaldi_settings["fbank"] != _SETTINGS:
        return
    filter_banks = FilterBanks(upstream.extracter)
    upstream._extractor_forward = filter_banks.extract


class FilterBanks:
    """Log mel energies with deltas, normalised over time.

    Parameters
    ----------
    extracter : S3PRL's, a sequence of features, deltas and normalisation, whose settings hold for the last two.
    """

    def __init__(self, extracter: Any) -> None:
        self._one_by_one = extracter
        _, self._deltas, self._normalisation = extracter
        filters, _ = kaldi.get_mel_banks(
            _SETTINGS["num_mel_bins"], _FFT, float(_SAMPLE_RATE), _LOWEST_HERTZ, 0.0, 100.0, -500.0, 1.0
        )
        # No filter has the last frequency. Real and imaginary part of each frequency stand side by side, and their
        # squares have the same weight.
        self._filters = torch.nn.functional.pad(filters, (0, 1)).repeat_interleave(2, dim=1).T.contiguous()
        self._window = torch.hann_window(_WINDOW, periodic=False).pow(0.85)  # Kaldi's "povey"
        self._least = torch.finfo(torch.float32).eps

    def extract(self, waveforms: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return the features of each waveform; those of one length are computed together.

        Parameters
        ----------
        waveforms : (samples,) float32 each, at 16 kHz.

        Returns
        -------
        a (frames, dim) torch.Tensor a waveform.
        """
        found: list[torch.Tensor] = [torch.empty(0)] * len(waveforms)
        of_length: dict[int, list[int]] = {}
        for number, waveform in enumerate(waveforms):
            of_length.setdefault(len(waveform), []).append(number)
        for length, numbers in of_length.items():
            if length < _WINDOW:  # S3PRL says what is wrong with them
                found[numbers[0]] = self._one_by_one(waveforms[numbers[0]])
            for part in _parts(numbers, length, waveforms[numbers[0]].device):
                batch = self._features(torch.stack([waveforms[number] for number in part]))
                for number, features in zip(part, batch.unbind(0), strict=True):
                    found[number] = features
        return found

    def _features(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Return (batch, frames, dim) features of (batch, samples) waveforms."""
        # Time last, as the deltas take it; statistics over it are then of neighbours in memory.
        parts = [self._log_mel_energies(waveforms).transpose(1, 2).contiguous()]
        for _ in range(self._deltas.order):
            parts.append(self._deltas.compute_delta(parts[-1]))
        features = torch.cat(parts, dim=1)
        if self._normalisation.use_cmvn:
            features -= features.mean(dim=2, keepdim=True)
            # Several times as quick as torch.std, and as exact, since the mean is gone.
            variance = features.square().sum(dim=2, keepdim=True) / (features.shape[2] - 1)
            features /= self._normalisation.eps + variance.sqrt()
        return features.transpose(1, 2)

    def _log_mel_energies(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Return (batch, frames, filters) of (batch, samples) waveforms, as Kaldi defines them."""
        frames = waveforms.unfold(1, _WINDOW, _SHIFT)
        batch, count, _ = frames.shape
        frames = frames.reshape(-1, _WINDOW)
        frames = frames - frames.mean(dim=1, keepdim=True)
        # Before a frame's first sample Kaldi puts that sample once more.
        emphasized = torch.empty_like(frames)
        torch.sub(frames[:, 1:], frames[:, :-1], alpha=_PREEMPHASIS, out=emphasized[:, 1:])
        torch.mul(frames[:, :1], 1 - _PREEMPHASIS, out=emphasized[:, :1])
        emphasized *= self._window.to(frames)
        spectrum = torch.view_as_real(torch.fft.rfft(emphasized, n=_FFT)).flatten(1)
        energies = spectrum.square_() @ self._filters.to(frames)
        return energies.clamp_(min=self._least).log_().view(batch, count, -1)


def _parts(numbers: list[int], length: int, device: torch.device) -> Iterator[list[int]]:
    size = len(numbers) if device.type != "cpu" else max(_CPU_FRAMES * _SHIFT // length, 1)
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]
