"""Functions of torchaudio that version 2.9 removed: `info`, `load`, `save`, and the sox effects of S3PRL's tasks.

soundfile reads and writes; torchaudio.functional and NumPy compute the effects. compat.py puts them in place. Neither
file imports the rest of this package.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import soundfile
import torch

# soundfile's subtype → torchaudio's encoding and bits per sample.
_SUBTYPES = {
    "PCM_S8": ("PCM_S", 8),
    "PCM_U8": ("PCM_U", 8),
    "PCM_16": ("PCM_S", 16),
    "PCM_24": ("PCM_S", 24),
    "PCM_32": ("PCM_S", 32),
    "FLOAT": ("PCM_F", 32),
    "DOUBLE": ("PCM_F", 64),
    "ULAW": ("ULAW", 8),
    "ALAW": ("ALAW", 8),
}
_FULL_SCALE = float(np.nextafter(np.float32(1), np.float32(0)))
# A filter as steep as that of sox; torchaudio's default keeps more of what it should remove.
_RESAMPLING = {
    "lowpass_filter_width": 64,
    "rolloff": 0.9475937167399596,
    "resampling_method": "sinc_interp_kaiser",
    "beta": 14.769656459379492,
}
_SILENCE_WINDOWS_PER_SECOND = 50


class AudioMetaData(NamedTuple):
    """What :func:`info` returns: the header of an audio file."""

    sample_rate: int
    num_frames: int
    num_channels: int
    bits_per_sample: int
    encoding: str


def info(uri: Any, *ignored: Any, **also_ignored: Any) -> AudioMetaData:
    """Return the header of an audio file, in place of `torchaudio.info`; format and backend need not be named."""
    header = soundfile.info(uri)
    encoding, bits = _SUBTYPES.get(header.subtype, (header.format if header.format != "OGG" else "VORBIS", 0))
    return AudioMetaData(header.samplerate, header.frames, header.channels, bits, encoding)


def load(
    uri: Any,
    frame_offset: int = 0,
    num_frames: int = -1,
    normalize: bool = True,
    channels_first: bool = True,
    *ignored: Any,
    **also_ignored: Any,
) -> tuple[torch.Tensor, int]:
    """Read audio, in place of `torchaudio.load`: samples (channels, frames) in [-1, 1], float32, and sampling rate.

    Raises ValueError: `normalize` is false.
    """
    if not normalize:
        raise ValueError("torchaudio.load: expected normalize=True, found False. Integer samples need torchaudio<2.9.")
    samples, rate = soundfile.read(uri, num_frames, frame_offset, dtype="float32", always_2d=True)
    tensor = torch.from_numpy(samples)
    return (tensor.T.contiguous() if channels_first else tensor), rate


def save(uri: Any, src: torch.Tensor, sample_rate: int, channels_first: bool = True, format: str | None = None) -> None:
    """Write audio of shape (channels, frames), or (frames, channels), in place of `torchaudio.save`.

    WAV files keep the type of the samples, as with older versions of torchaudio: floats are written as floats.
    """
    kind = (format or str(uri).rpartition(".")[2]).upper()
    wav = {torch.float32: "FLOAT", torch.float64: "DOUBLE", torch.int32: "PCM_32"}.get(src.dtype, "PCM_16")
    samples = src.detach().cpu().numpy()
    subtype = wav if kind == "WAV" else None
    soundfile.write(uri, samples.T if channels_first else samples, sample_rate, subtype, format=kind)


def apply_effects_file(
    path: Any,
    effects: Sequence[Sequence[str]],
    normalize: bool = True,
    channels_first: bool = True,
    format: str | None = None,
) -> tuple[torch.Tensor, int]:
    """Read a file and apply sox effects, in place of `torchaudio.sox_effects.apply_effects_file`."""
    samples, rate = load(path, normalize=normalize, channels_first=channels_first)
    return apply_effects_tensor(samples, rate, effects, channels_first)


def apply_effects_tensor(
    tensor: torch.Tensor, sample_rate: int, effects: Sequence[Sequence[str]], channels_first: bool = True
) -> tuple[torch.Tensor, int]:
    """Apply sox effects, in place of `torchaudio.sox_effects.apply_effects_tensor`; return samples and sampling rate.

    Raises ValueError: an effect, or a form of it, that no task of S3PRL uses.

    `tensor`: samples (channels, frames), or (frames, channels), in [-1, 1]. `effects`: name and arguments of each, as
    on sox's command line.
    """
    samples, rate = tensor if channels_first else tensor.T, sample_rate
    for name, *arguments in effects:
        try:
            if name not in _EFFECTS:
                raise ValueError("not supported")
            samples, rate = _EFFECTS[name](samples, rate, *arguments)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"sox effect {' '.join([name, *arguments])!r}: {error}. Expected one of {', '.join(_EFFECTS)}, in the "
                "form that S3PRL's tasks use; all others need torchaudio<2.9."
            ) from error
        samples = samples.clamp(-1, _FULL_SCALE)  # sox computes with integers
    return (samples if channels_first else samples.T), rate


_Audio = tuple[torch.Tensor, int]


def _channels(samples: torch.Tensor, rate: int, count: str) -> _Audio:
    if int(count) == 1:
        return samples.mean(0, keepdim=True), rate
    if int(count) != len(samples):
        raise ValueError("only mixing to one channel is supported")
    return samples, rate


def _rate(samples: torch.Tensor, rate: int, wanted: str) -> _Audio:
    from torchaudio.functional import resample

    return resample(samples, rate, int(wanted), **_RESAMPLING), int(wanted)


def _vad(samples: torch.Tensor, rate: int, *arguments: str) -> _Audio:
    from torchaudio.functional import vad

    names = {"-T": "trigger_time", "-p": "pre_trigger_time"}
    options = {names[flag]: float(value) for flag, value in zip(arguments[::2], arguments[1::2], strict=True)}
    return vad(samples, rate, **options), rate


def _silence(samples: torch.Tensor, rate: int, *arguments: str) -> _Audio:
    """Remove every pause, as ``silence 1 SECONDS LEVEL% -1 SECONDS LEVEL%`` does.

    Audio is kept from the start of a long enough stretch above the first level up to a long enough one below the
    second; then the search starts again. A level is that of the root mean square over the last 20 ms.
    """
    periods, sound, floor, stop_periods, pause, ceiling = arguments
    if (periods, stop_periods) != ("1", "-1") or not floor.endswith("%") or not ceiling.endswith("%"):
        raise ValueError("only 'silence 1 SECONDS LEVEL% -1 SECONDS LEVEL%' is supported")
    window = rate // _SILENCE_WINDOWS_PER_SECOND
    shortest, longest = round(float(sound) * rate), round(float(pause) * rate)
    energies = np.concatenate([[0.0], np.cumsum(samples.double().square().mean(0).numpy())])
    kept, start = [], 0
    while True:
        # The window is empty at each new search.
        ends = np.arange(start + 1, len(energies))
        levels = np.sqrt(np.maximum(energies[ends] - energies[np.maximum(ends - window, start)], 0) / window)
        begin = _first_run(levels > float(floor[:-1]) / 100, shortest)
        if begin is None:
            break
        quiet = levels <= float(ceiling[:-1]) / 100
        end = _first_run(quiet[begin + shortest :], longest)
        if end is None:
            kept.append(samples[:, start + begin :])
            break
        end += begin + shortest
        kept.append(samples[:, start + begin : start + end])
        start += end + longest
    return (torch.cat(kept, 1) if kept else samples[:, :0]), rate


def _first_run(holds: np.ndarray, length: int) -> int | None:
    """Return where the first `length` true values in a row begin, or None."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], holds, [False]]).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    long_enough = np.flatnonzero(ends - starts >= length)
    return int(starts[long_enough[0]]) if len(long_enough) else None


_EFFECTS: dict[str, Callable[..., _Audio]] = {
    "channels": _channels,
    "rate": _rate,
    "gain": lambda samples, rate, decibels: (samples * 10 ** (float(decibels) / 20), rate),
    "norm": lambda samples, rate: (samples / (samples.abs().amax() if samples.any() else 1), rate),
    "pad": lambda samples, rate, before, after="0": (
        torch.nn.functional.pad(samples, (round(float(before) * rate), round(float(after) * rate))),
        rate,
    ),
    "reverse": lambda samples, rate: (samples.flip(-1), rate),
    "vad": _vad,
    "silence": _silence,
}
