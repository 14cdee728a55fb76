"""Where the spectrum of an utterance ends: band-limited audio that was upsampled, from its long-term spectrum."""

import numpy as np

from .thresholds import (
    BAND_HERTZ,
    CLIFF_DECIBELS,
    FRAME_SECONDS,
    HIGHEST_EDGE_HERTZ,
    HIGHEST_HERTZ,
    LOWEST_EDGE_HERTZ,
    SHELF_HERTZ,
    SLOPE_HERTZ,
)

# Of full scale squared; below any rounding, so that digital silence has a level too.
_LEAST_POWER = 1e-16


def frame_length(sample_rate: int) -> int:
    """Return the samples of a frame, a power of two; 2 at least, whatever a broken header says of the rate."""
    return 1 << max(int(np.ceil(np.log2(FRAME_SECONDS * sample_rate))), 1)


def band_edge(power: np.ndarray, sample_rate: int) -> float:
    """Return up to which frequency there is a signal, in Hz; at most 8 kHz, or half the sample rate.

    An edge is where the level falls off a cliff and stays down: where the lowest band of the shelf below is 22 dB or
    more above the highest of all bands beyond. A signal that fades slowly, or any noise beyond the edge, has none.

    Parameters
    ----------
    power : (bins,) mean power spectrum of frames of :func:`frame_length` samples.
    sample_rate : samples a second.
    """
    top = min(sample_rate / 2, HIGHEST_HERTZ)
    frequencies = np.linspace(0, sample_rate / 2, len(power))
    count = int(top / BAND_HERTZ)
    numbers = (frequencies / BAND_HERTZ).astype(np.int64)
    inside = numbers < count
    sums = np.bincount(numbers[inside], power[inside], count) / np.bincount(numbers[inside], minlength=count)
    levels = 10 * np.log10(sums + _LEAST_POWER)
    slope, shelf = int(SLOPE_HERTZ / BAND_HERTZ), int(SHELF_HERTZ / BAND_HERTZ)
    last = min(int(HIGHEST_EDGE_HERTZ / BAND_HERTZ), count - slope - 1)
    edges = np.arange(int(LOWEST_EDGE_HERTZ / BAND_HERTZ), last + 1)
    drops = [levels[edge - shelf : edge].min() - levels[edge + slope :].max() for edge in edges.tolist()]
    if not drops or max(drops) < CLIFF_DECIBELS:
        return float(top)
    return float(edges[int(np.argmax(drops))] * BAND_HERTZ)
