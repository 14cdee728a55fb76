"""Measures of an utterance's samples, computed block by block in constant memory."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..audio.channels import channel_powers, uncancelled_channel
from ..audio.reading import MAX_SAMPLE, are_valid
from . import thresholds

_SILENCE_DECIBELS = -200.0
# Relative to full scale squared; below any rounding error, so that digital silence has a level too.
_MIN_POWER = 1e-16


@dataclass(frozen=True)
class Quality:
    """Measures of an utterance, mixed to mono unless stated otherwise; levels are relative to full scale."""

    samples: int  # number of samples per channel
    finite: bool  # whether all samples of all channels are valid; others count as 0 below
    level: float  # of the loudest twentieth of the frames, without their mean, in dB
    channel: int  # the channel that is used because the channels cancel each other; -1 for their mean
    edge: float  # upper edge of the signal's band in Hz; NaN if the utterance is too short
    digest: int  # of the samples of all channels, 64 bits; equal for the same audio in any lossless format


def measure(blocks: Iterable[np.ndarray], sample_rate: int, channel: int | None = None) -> Quality:
    """Measure an utterance.

    `blocks`: (samples, channels) float32 each, C-contiguous, consecutive. `sample_rate`: samples per second.
    `channel`: the one to measure; None for the mean. If the channels then cancel, `channel` of the result is the one to
    measure instead.
    """
    hashed = hashlib.blake2b(digest_size=8)
    length = frame_length(sample_rate)
    window = np.hanning(length).astype(np.float32)
    power = np.zeros(length // 2 + 1)
    levels: list[np.ndarray] = []
    rest = np.zeros(0, dtype=np.float32)
    count = 0
    squares = 0.0
    powers = np.zeros(1)
    finite = True
    for original in blocks:
        hashed.update(original.data)
        block = original
        if not are_valid(block):
            finite, block = False, np.where(np.abs(block) <= MAX_SAMPLE, block, np.float32(0))
        mono = block.mean(axis=1) if channel is None else block[:, channel]
        if block.shape[1] > 1:
            powers = powers + channel_powers(block)
        count += len(mono)
        squares += float(np.square(mono, dtype=np.float64).sum())
        rest = np.concatenate([rest, mono])
        frames = rest[: len(rest) // length * length].reshape(-1, length)
        rest = rest[frames.size :]
        power += np.square(np.abs(np.fft.rfft((frames - frames.mean(axis=1, keepdims=True)) * window))).sum(axis=0)
        levels.append(frames.std(axis=1))
    if channel is None:
        channel = uncancelled_channel(powers, squares)
    number = sum(map(len, levels))
    # An utterance shorter than a frame is one frame.
    loudness = np.concatenate(levels) if number else np.array([rest.std() if len(rest) else 0.0])
    return Quality(
        samples=count,
        finite=finite,
        level=_decibels(float(np.quantile(loudness, thresholds.LOUD_QUANTILE))),
        channel=-1 if channel is None else channel,
        edge=band_edge(power / number / length**2, sample_rate) if number >= thresholds.MIN_FRAMES else np.nan,
        digest=int.from_bytes(hashed.digest(), "little"),
    )


def _decibels(amplitude: float) -> float:
    return 20 * float(np.log10(amplitude)) if amplitude > 0 else _SILENCE_DECIBELS


def frame_length(sample_rate: int) -> int:
    """Return the number of samples per frame, a power of two and at least 2, even for a wrong rate in a header."""
    return 1 << max(int(np.ceil(np.log2(thresholds.FRAME_SECONDS * sample_rate))), 1)


def band_edge(power: np.ndarray, sample_rate: int) -> float:
    """Return the upper edge of the signal's band in Hz; at most 8 kHz, or half the sample rate.

    At an edge the level drops steeply and stays low: the lowest level in the shelf below is at least 22 dB above the
    highest level beyond. A signal that decreases slowly, or with noise beyond the edge, has no edge.

    `power`: (bins,) mean power spectrum of frames of :func:`frame_length` samples. `sample_rate`: samples per second.
    """
    band, top = thresholds.BAND_HERTZ, min(sample_rate / 2, thresholds.HIGHEST_HERTZ)
    frequencies = np.linspace(0, sample_rate / 2, len(power))
    count = int(top / band)
    numbers = (frequencies / band).astype(np.int64)
    inside = numbers < count
    sums = np.bincount(numbers[inside], power[inside], count) / np.bincount(numbers[inside], minlength=count)
    levels = 10 * np.log10(sums + _MIN_POWER)
    slope, shelf = int(thresholds.SLOPE_HERTZ / band), int(thresholds.SHELF_HERTZ / band)
    last = min(int(thresholds.HIGHEST_EDGE_HERTZ / band), count - slope - 1)
    edges = np.arange(int(thresholds.LOWEST_EDGE_HERTZ / band), last + 1)
    drops = [levels[edge - shelf : edge].min() - levels[edge + slope :].max() for edge in edges.tolist()]
    if not drops or max(drops) < thresholds.CLIFF_DECIBELS:
        return float(top)
    return float(edges[int(np.argmax(drops))] * band)
