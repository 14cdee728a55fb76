"""Windows of utterances in evaluation, and batches of windows (docs/method.md, "Model")."""

from collections.abc import Sequence

import numpy as np

from .audio.reading import SAMPLE_RATE


def centre_windows(counts: np.ndarray, crop_seconds: float) -> np.ndarray:
    """Cut one window from the middle of each utterance; a shorter utterance is used whole.

    Returns (utterances, 3) int64: utterance number, first sample, number of samples.

    `counts`: (utterances,) int64, lengths in samples at 16 kHz. `crop_seconds`: length of a window.
    """
    size = np.minimum(counts, round(crop_seconds * SAMPLE_RATE))
    return np.stack([np.arange(len(counts)), (counts - size) // 2, size], axis=1)


def sliding_windows(counts: np.ndarray, window_seconds: float, hop_seconds: float) -> np.ndarray:
    """Cut each utterance into windows, the last one aligned to its end; a shorter utterance is used whole.

    Returns (windows, 3) int64: utterance number, first sample, number of samples; in the order of the utterances.

    `counts`: (utterances,) int64, lengths in samples at 16 kHz. `window_seconds`, `hop_seconds`: length of a window,
    and from the start of one to the start of the next.
    """
    window, hop = round(window_seconds * SAMPLE_RATE), round(hop_seconds * SAMPLE_RATE)
    overhang = np.maximum(counts - window, 0)
    windows_of = -(-overhang // hop) + 1
    utterance = np.repeat(np.arange(len(counts)), windows_of)
    number = np.arange(len(utterance)) - np.repeat(np.cumsum(windows_of) - windows_of, windows_of)
    start = np.minimum(number * hop, overhang[utterance])
    return np.stack([utterance, start, np.minimum(counts, window)[utterance]], axis=1)


def truncated_windows(
    counts: np.ndarray, seconds: Sequence[float], window_seconds: float, hop_seconds: float
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Truncate each utterance to several durations, and cut each into sliding windows.

    Returns (windows, 3) int64 as from :func:`sliding_windows`, without duplicates; and for each of `seconds`, the
    numbers of its windows, (its windows,) int64.

    `counts`: (utterances,) int64, lengths in samples at 16 kHz. `seconds`: the durations, from the start of each
    utterance; a shorter utterance is used whole, as any is for infinity. `window_seconds`, `hop_seconds`: as for
    :func:`sliding_windows`.
    """
    limits = [np.rint(np.minimum(counts, each * SAMPLE_RATE)).astype(np.int64) for each in seconds]
    cuts = [sliding_windows(limit, window_seconds, hop_seconds) for limit in limits]
    windows, numbers = np.unique(np.concatenate(cuts), axis=0, return_inverse=True)
    return windows, np.split(numbers.ravel(), np.cumsum([len(cut) for cut in cuts])[:-1])


def window_batches(sizes: np.ndarray, batch_seconds: float, *, mix_lengths: bool) -> list[list[int]]:
    """Group windows into batches, shortest first, each of at most `batch_seconds` of (padded) audio.

    `sizes`: (windows,) int64, samples. `batch_seconds`: maximum audio per batch, padding included; a longer window is a
    batch of its own. `mix_lengths`: whether windows of different lengths may share a batch. Upstreams that normalise
    over time (group norm) depend on padding, and need batches of one length.
    """
    budget = batch_seconds * SAMPLE_RATE
    batches: list[list[int]] = []
    for number in map(int, np.argsort(sizes, kind="stable")):
        batch = batches[-1] if batches else []
        fits = (len(batch) + 1) * sizes[number] <= budget and (
            mix_lengths or not batch or sizes[batch[-1]] == sizes[number]
        )
        if batch and fits:
            batch.append(number)
        else:
            batches.append([number])
    return batches
