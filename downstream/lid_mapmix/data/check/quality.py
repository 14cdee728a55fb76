"""What can be said of an utterance from its samples alone, block by block, in memory that does not grow with them."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .thresholds import (
    BAND_HERTZ,
    CLIFF_DECIBELS,
    CLIPPED_RUN,
    FRAME_SECONDS,
    FULL_SCALE,
    HIGHEST_EDGE_HERTZ,
    HIGHEST_HERTZ,
    LEAST_FRAMES,
    LOUD_QUANTILE,
    LOWEST_EDGE_HERTZ,
    SHELF_HERTZ,
    SLOPE_HERTZ,
)

_SILENCE_DECIBELS = -200.0
# Of full scale squared; below any rounding, so that digital silence has a level too.
_LEAST_POWER = 1e-16


@dataclass(frozen=True)
class Quality:
    """Measures of an utterance, mixed to mono unless said otherwise; levels are relative to full scale.

    Attributes
    ----------
    samples : how many there are in a channel.
    finite : whether no sample of any channel is NaN or infinite; those count as 0 in what follows.
    level : of the loudest twentieth of the frames, without its mean, in dB.
    offset : the mean.
    deviation : the standard deviation.
    clipped : the share of samples that any channel has at full scale, three or more in a row.
    edge : up to which frequency there is a signal, in Hz; NaN where the utterance is too short to say.
    digest : of the samples of all channels, 64 bits; the same audio has the same one in any lossless format.
    """

    samples: int
    finite: bool
    level: float
    offset: float
    deviation: float
    clipped: float
    edge: float
    digest: int


def measure(blocks: Iterable[np.ndarray], sample_rate: int) -> Quality:
    """Measure an utterance.

    Parameters
    ----------
    blocks : (samples, channels) float32 each, C-contiguous, one after the other.
    sample_rate : samples a second.
    """
    hashed = hashlib.blake2b(digest_size=8)
    length = frame_length(sample_rate)
    window = np.hanning(length).astype(np.float32)
    power = np.zeros(length // 2 + 1)
    levels: list[np.ndarray] = []
    rest = np.zeros(0, dtype=np.float32)
    full = np.zeros(0, dtype=bool)
    count = clipped = 0
    total = squares = 0.0
    finite = True
    for original in blocks:
        hashed.update(original.data)
        block = original
        if not np.isfinite(block).all():
            finite, block = False, np.nan_to_num(block, nan=0.0, posinf=0.0, neginf=0.0)
        mono = block.mean(axis=1) if block.shape[1] > 1 else block[:, 0]
        count += len(mono)
        total += float(mono.sum(dtype=np.float64))
        squares += float(np.square(mono, dtype=np.float64).sum())
        at_limit = np.concatenate([full, (np.abs(block) >= FULL_SCALE).any(axis=1)])
        # A run may go on in the next block: its beginning is carried there.
        full = _open_run(at_limit)
        clipped += _in_runs(at_limit[: len(at_limit) - len(full)])
        rest = np.concatenate([rest, mono])
        frames = rest[: len(rest) // length * length].reshape(-1, length)
        rest = rest[frames.size :]
        power += np.square(np.abs(np.fft.rfft((frames - frames.mean(axis=1, keepdims=True)) * window))).sum(axis=0)
        levels.append(frames.std(axis=1))
    clipped += _in_runs(full)
    number = sum(map(len, levels))
    # What is shorter than a frame is one.
    loudness = np.concatenate(levels) if number else np.array([rest.std() if len(rest) else 0.0])
    offset = total / max(count, 1)
    return Quality(
        samples=count,
        finite=finite,
        level=_decibels(float(np.quantile(loudness, LOUD_QUANTILE))),
        offset=offset,
        deviation=float(np.sqrt(max(squares / max(count, 1) - offset**2, 0.0))),
        clipped=clipped / max(count, 1),
        edge=band_edge(power / number / length**2, sample_rate) if number >= LEAST_FRAMES else np.nan,
        digest=int.from_bytes(hashed.digest(), "little"),
    )


def _open_run(at_limit: np.ndarray) -> np.ndarray:
    """Return the run of True with which an array ends."""
    below = np.flatnonzero(~at_limit)
    return at_limit[below[-1] + 1 if len(below) else 0 :]


def _in_runs(at_limit: np.ndarray) -> int:
    """Return how many values are in runs of True that are long enough."""
    if not at_limit.any():
        return 0
    steps = np.flatnonzero(np.diff(np.concatenate([[False], at_limit, [False]])))
    lengths = steps[1::2] - steps[::2]
    return int(lengths[lengths >= CLIPPED_RUN].sum())


def _decibels(amplitude: float) -> float:
    return 20 * float(np.log10(amplitude)) if amplitude > 0 else _SILENCE_DECIBELS


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
