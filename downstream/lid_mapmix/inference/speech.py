"""Voice-activity detection: the network of Silero VAD, with the weights of the package silero-vad, on whole windows.

The package's own functions process a recording in steps of 32 ms with TorchScript, which torch has deprecated, and
importing the package sets torch's number of threads. Here its weights (a safetensors file) are loaded into the same
network, whose convolutions process all frames of all windows together. A test compares the probabilities with the
package's.
"""

import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..utils.errors import UserError

# Samples at 16 kHz: the length of a frame, and of the context before it that the network also reads.
FRAME = 512
_CONTEXT = 64
_PROBABILITY = 0.5
# Windows are scaled to this level, because the network misses very soft speech: -26 dB of full scale. Below -80 dB
# there is only rounding noise.
_LEVEL, _SILENCE = 0.05, 1e-4
# A window has speech if it has a fifth of a second of it: the shortest words of telephone prompts do, the notes of a
# melody do not. In windows shorter than 0.3 s the network does not settle; for them, only the level decides.
_MIN_FRAMES, _SETTLED = 6, 4_800
_WEIGHTS = Path("data") / "silero_vad_16k.safetensors"


def speech_frames(windows: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Detect the frames with speech in each window, (samples,) float32 at 16 kHz.

    Returns (frames,) bool per window; a frame is 32 ms, and the last one may extend beyond the window.

    Raises UserError: silero-vad is not installed, or has another version.
    """
    found = [np.zeros(-(-len(window) // FRAME), dtype=bool) for window in windows]
    of_length: dict[int, list[int]] = {}
    for number, window in enumerate(windows):
        if (level := _level(window)) > _SILENCE:
            of_length.setdefault(len(window), []).append(number)
            found[number] = window * np.float32(_LEVEL / level)
    for numbers in of_length.values():
        probabilities = speech_probabilities(torch.from_numpy(np.stack([found[number] for number in numbers])))
        for number, row in zip(numbers, probabilities.numpy() > _PROBABILITY, strict=True):
            found[number] = row
    return found


def has_speech(window: np.ndarray, frames: np.ndarray) -> bool:
    """Return whether a window, (samples,) float32, has speech, by its frames from :func:`speech_frames`."""
    if len(window) < _SETTLED:
        return _level(window) > _SILENCE
    return bool(np.lib.stride_tricks.sliding_window_view(frames, _MIN_FRAMES).all(axis=1).any())


@torch.no_grad()
def speech_probabilities(windows: torch.Tensor) -> torch.Tensor:
    """Return (windows, frames) speech probabilities of (windows, samples) float32 at 16 kHz."""
    padded = nn.functional.pad(windows, (_CONTEXT, -windows.shape[1] % FRAME))
    return _network()(padded.unfold(1, _CONTEXT + FRAME, FRAME))


def _level(window: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(window, dtype=np.float64))))


class _SileroNetwork(nn.Module):
    """Silero VAD at 16 kHz, version 6: magnitudes of a Fourier transform, four convolutions, an LSTM over frames."""

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 258, 256, stride=128, bias=False)
        self.conv1 = nn.Conv1d(129, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
        self.lstm = nn.LSTM(128, 128, batch_first=True)
        self.final_conv = nn.Conv1d(128, 1, 1)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Return (windows, frames) probabilities of (windows, frames, context and samples per frame)."""
        count = frames.shape[:2]
        spectrum = self.stft_conv(nn.functional.pad(frames.flatten(0, 1)[:, None], (0, _CONTEXT), mode="reflect"))
        real, imaginary = spectrum.chunk(2, dim=1)
        hidden = (real.square() + imaginary.square()).sqrt()
        for convolution in (self.conv1, self.conv2, self.conv3, self.conv4):
            hidden = convolution(hidden).relu()
        states, _ = self.lstm(hidden.squeeze(2).unflatten(0, count))
        return self.final_conv(states.relu().transpose(1, 2)).sigmoid().squeeze(1)


@functools.cache
def _network() -> _SileroNetwork:
    from safetensors.torch import load_file  # noqa: PLC0415

    # Found without importing it, because the import changes torch's number of threads.
    package = importlib.util.find_spec("silero_vad")
    if package is None or not package.submodule_search_locations:
        raise UserError(
            "voice-activity detection needs the package silero-vad, which is not installed. Run 'pip install "
            "silero-vad', or disable it by --any-sound."
        )
    path = Path(package.submodule_search_locations[0]) / _WEIGHTS
    try:
        weights = {name.replace("lstm_cell.", "lstm."): value for name, value in load_file(path).items()}
        renamed = {f"{name}_l0" if name.startswith("lstm.") else name: value for name, value in weights.items()}
        network = _SileroNetwork()
        network.load_state_dict(renamed)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{path}: expected the weights of silero-vad 6.2, found others ({' '.join(str(error).split())[:200]}). Run "
            "'pip install \"silero-vad>=6.2.3,<7\"', or disable voice-activity detection by --any-sound."
        ) from error
    return network.eval()
