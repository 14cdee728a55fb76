"""Log mel features of w2v-BERT 2.0 and Whisper for a batch of waveforms, on their device.

They are those of transformers' SeamlessM4TFeatureExtractor and WhisperFeatureExtractor, which compute them on a CPU,
one frame or waveform at a time. Each waveform has the features that it has alone: Whisper's are not padded to 30 s.
"""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from .filter_banks import FFT, SHIFT, WINDOW, LogMel

_INT16, _VARIANCE = 2**15, 1e-7
# Whisper (arXiv 2212.04356), section 2.2.
_LOWEST_POWER, _DYNAMIC_RANGE = 1e-10, 8.0


def stacked_filter_banks(waveforms: Sequence[torch.Tensor]) -> tuple[torch.Tensor, list[int]]:
    """Return w2v-BERT's input: two frames of 80 Kaldi filters, normalised over time, as one frame of 20 ms.

    Returns (batch, frames, 160) float32, 0 after each waveform, and the number of frames of each; a last frame without
    a second one is left out.

    `waveforms`: (samples,) float32 each, at 16 kHz, with at least 560 samples.
    """
    with torch.autocast(waveforms[0].device.type, enabled=False):
        # Like transformers in float64: the quietest filters hold a millionth of the power.
        frames = [_INT16 * waveform.double().unfold(0, WINDOW, SHIFT) for waveform in waveforms]
        energies = _log_mel()(torch.cat(frames)).split([one.shape[0] for one in frames])
        features = [(one - one.mean(0)) / (one.var(0) + _VARIANCE).sqrt() for one in energies]
        stacked = [one[: one.shape[0] // 2 * 2].reshape(one.shape[0] // 2, -1).float() for one in features]
    return pad_sequence(stacked, batch_first=True), [one.shape[0] for one in stacked]


def whisper_spectrogram(waveforms: Sequence[torch.Tensor], bins: int) -> tuple[torch.Tensor, list[int]]:
    """Return Whisper's input, frames of 10 ms.

    Returns (batch, bins, frames) float32, 0 after each waveform, and the number of frames of each.

    `waveforms`: (samples,) float32 each, at 16 kHz, with at least 400 samples. `bins`: mel filters, 80 or 128.
    """
    counts = [waveform.shape[0] // SHIFT for waveform in waveforms]
    with torch.autocast(waveforms[0].device.type, enabled=False):
        # onnxruntime's float32 transform of this size rounds much more than torch's.
        dtype = torch.float64 if torch.compiler.is_exporting() else torch.float32
        # Silence follows, as in the extractor, and mirrored audio precedes.
        padded = pad(pad_sequence([waveform.to(dtype) for waveform in waveforms], batch_first=True), (0, WINDOW))
        padded = pad(padded, (WINDOW // 2, 0), mode="reflect")
        window = torch.hann_window(WINDOW, device=padded.device).to(dtype)
        spectrum = torch.stft(padded, WINDOW, SHIFT, window=window, center=False, return_complex=True)
        power = _whisper_filters(bins).to(padded) @ spectrum.abs().square()
        levels = power.clamp(min=_LOWEST_POWER).log10()
        levels = (levels.maximum(levels.amax(dim=(1, 2), keepdim=True) - _DYNAMIC_RANGE).float() + 4) / 4
        real = torch.arange(max(counts), device=padded.device) < torch.tensor(counts, device=padded.device)[:, None]
        return levels[..., : max(counts)] * real[:, None], counts


@functools.cache
def _log_mel() -> LogMel:
    return LogMel(_filters(FFT, 80, 20, mel_scale="kaldi", triangularize_in_mel_space=True), torch.float64)


@functools.cache
def _whisper_filters(bins: int) -> torch.Tensor:
    return _filters(WINDOW, bins, 0, norm="slaney", mel_scale="slaney").T.float()


def _filters(fft: int, bins: int, lowest: float, **scale: Any) -> torch.Tensor:
    """Return (frequencies, bins) float64 of transformers."""
    from transformers.audio_utils import mel_filter_bank

    return torch.from_numpy(mel_filter_bank(fft // 2 + 1, bins, lowest, 8_000, 16_000, **scale))
