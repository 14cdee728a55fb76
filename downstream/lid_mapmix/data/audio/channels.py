"""The mix of several channels to one.

The mean cancels channels of opposite polarity (a cable or a preamplifier with two wires swapped): what remains is
rounding noise.
"""

import numpy as np

# Of the power of the loudest channel: 10 dB below it. The mean of two unrelated channels is 3 to 6 dB below.
_CANCELLED_POWER = 0.1
# Channels within 0.1 dB are equally loud, and the first is taken, so that it is the same one in all parts of a file.
_EQUAL_POWER = 0.977


def mix_to_mono(audio: np.ndarray) -> np.ndarray:
    """Return the mean of the channels, or the loudest channel where the mean is more than 10 dB below it.

    The choice is made for `audio` as a whole, which is what is read at once: a crop, a window, an utterance or a file.
    Parts of a file differ in it only if the mean is near that limit, or another channel becomes the loudest.

    Returns (samples,) float32 of `audio`, (samples, channels) float32.
    """
    if audio.shape[1] == 1:
        return audio[:, 0]
    mono = audio.mean(axis=1)
    channel = uncancelled_channel(channel_powers(audio), channel_powers(mono[:, None])[0])
    return mono if channel is None else audio[:, channel]


def channel_powers(audio: np.ndarray) -> np.ndarray:
    """Return the sum of squares of each channel, (channels,) float64, of (samples, channels) float32."""
    return np.einsum("sc,sc->c", audio, audio, dtype=np.float64)


def uncancelled_channel(powers: np.ndarray, mean_power: float) -> int | None:
    """Return the loudest channel if the mean is more than 10 dB below it; None if the mean is to be used.

    `powers`: (channels,) sums of squares; None is returned if one is not finite. `mean_power`: of the channels' mean.
    """
    loudest = powers.max()
    return int(np.argmax(powers >= _EQUAL_POWER * loudest)) if mean_power < _CANCELLED_POWER * loudest else None
