"""Input of identification: a file, an utterance of a manifest, or an array of samples."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchaudio

from ..data.audio.channels import mix_to_mono
from ..data.audio.conversion import decode
from ..data.audio.faults import ForeignAudioError
from ..data.audio.reading import INVALID, MINIMUM_SAMPLES, SAMPLE_RATE, are_valid, read_audio, read_header
from ..data.audio.spans import utterance_span
from ..data.manifest.manifest import Manifest
from ..utils.errors import UserError

_DIMENSIONS = (1, 2)
_HIGHEST_RATE = 10_000_000


@dataclass(frozen=True)
class Recording:
    """Audio that is read in parts."""

    name: str  # used in answers and errors
    samples: int  # number of samples at 16 kHz
    read: Callable[[int, int], np.ndarray]  # returns (count,) float32 at 16 kHz, given the first sample and the count
    truth: str = ""  # its class; empty if unknown

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.samples / SAMPLE_RATE

    @classmethod
    def of_file(cls, path: Path | str) -> "Recording":
        """Open a file; only the requested parts are decoded, unless it has to be decoded by ffmpeg (m4a, webm, …).

        Raises UserError: the file is unreadable or shorter than 25 ms.
        """
        path = Path(path)
        decoded = None
        try:
            samples = read_header(path).samples
        except ForeignAudioError:
            decoded = decode(path)
            if decoded is None:
                raise
            samples = read_header(Path(decoded.name)).samples
        _check_length(str(path), samples)

        def read(start: int, count: int) -> np.ndarray:
            # The file is deleted together with this function.
            return read_audio(path if decoded is None else Path(decoded.name), start, count)

        return cls(str(path), samples, read)

    @classmethod
    def of_utterance(cls, manifest: Manifest, index: int) -> "Recording":
        """Open an utterance. Raises UserError: its file is unreadable or too short, or it is shorter than 25 ms."""
        first, count = utterance_span(manifest, index)
        path, name = manifest.audio_path(index), str(manifest.columns["id"][index])
        truth = str(manifest.columns["class"][index])
        return cls(name, count, lambda start, length: read_audio(path, first + start, length), truth)

    @classmethod
    def of_samples(cls, wav: Any, sample_rate: int, name: str = "audio") -> "Recording":
        """Use samples in memory, mixed to mono and resampled.

        Raises UserError: another shape or type, a value that is not finite, or shorter than 25 ms.

        `wav`: (samples,), (channels, samples) or (samples, channels), the shorter dimension being the channels; a NumPy
        array or torch.Tensor of floats from -1 to 1, or of int16 or int32. `sample_rate`: of `wav`.
        """
        samples = _as_tensor(wav, name)
        if not samples.numel():
            _check_length(name, 0)
        if samples.ndim not in _DIMENSIONS:
            raise UserError(
                f"{name}: expected samples, or channels and samples, found shape {tuple(samples.shape)}. Reshape them."
            )
        if samples.dtype in (torch.int16, torch.int32):
            samples = samples.double() / -float(torch.iinfo(samples.dtype).min)
        elif not samples.is_floating_point():
            raise UserError(
                f"{name}: expected floats from -1 to 1, int16 or int32, found {samples.dtype}. Convert them."
            )
        rate = _as_rate(sample_rate, name)
        samples = samples.float()
        if samples.ndim == 2:  # noqa: PLR2004
            in_columns = samples.T if samples.shape[0] <= samples.shape[1] else samples
            samples = torch.from_numpy(np.ascontiguousarray(mix_to_mono(in_columns.numpy())))
        if not are_valid(samples.numpy()):
            raise UserError(f"{name}: {INVALID}. Correct them.")
        resampled = torchaudio.functional.resample(samples, rate, SAMPLE_RATE).numpy()
        _check_length(name, len(resampled))
        return cls(name, len(resampled), lambda start, count: resampled[start : start + count])


def _as_tensor(wav: Any, name: str) -> torch.Tensor:
    """Convert an array, tensor or list of numbers to a tensor on the CPU."""
    try:
        if not isinstance(wav, torch.Tensor):
            array = np.asarray(wav)
            # torch accepts no arrays with negative strides, of the other byte order, or read-only.
            wav = torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))
        return wav.detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        raise UserError(
            f"{name}: expected samples as a NumPy array or torch.Tensor, found {type(wav).__name__}. To identify a "
            "file, use Identifier.file."
        ) from None


def _as_rate(sample_rate: Any, name: str) -> int:
    """Return a sample rate as an integer."""
    try:
        rate = int(sample_rate)
        is_whole = bool(rate == sample_rate) and 0 < rate < _HIGHEST_RATE
    except (TypeError, ValueError, OverflowError):
        is_whole = False
    if not is_whole or isinstance(sample_rate, str):
        raise UserError(f"{name}: expected an integer sample rate above 0 (Hz), found {sample_rate}. Correct it.")
    return rate


def _check_length(name: str, samples: int) -> None:
    if samples < MINIMUM_SAMPLES:
        raise UserError(
            f"{name}: expected at least {MINIMUM_SAMPLES} samples at 16 kHz (25 ms), found {samples}. Use longer audio."
        )
