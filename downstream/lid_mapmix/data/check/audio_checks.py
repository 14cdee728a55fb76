"""What headers and samples say is wrong with utterances."""

from collections.abc import Callable, Iterator

import numpy as np

from ..audio.reading import MINIMUM_SAMPLES, SAMPLE_RATE
from ..audio.spans import SHORTEST_SHARE, SHORTEST_SLACK_SECONDS
from .findings import Finding, first
from .headers import FileFault, read_file_header
from .reading import Headers, Samples, audio_path, spans
from .thresholds import (
    CLIPPED_SHARE,
    COMMON_RATES,
    EXACT_SHARE,
    LOWEST_RATE,
    OFFSET_LEAST,
    OFFSET_OF_DEVIATION,
    RATE_TOLERANCE,
    SILENT_DECIBELS,
)
from .utterances import Utterances


def check_headers(utterances: Utterances, headers: Headers) -> Iterator[Finding]:
    """Find what is wrong with files and with how long they are."""
    fault = headers.fault[utterances.file.codes]
    for kind in FileFault:
        if kind is FileFault.NONE:
            continue
        yield from _of(utterances, kind.kind, fault == kind, lambda row: _file_detail(utterances, row), drop=True)
    yield from _check_lengths(utterances, headers, fault == FileFault.NONE)
    yield from _check_rates(utterances, headers)


def check_samples(utterances: Utterances, headers: Headers, samples: Samples) -> Iterator[Finding]:
    """Find what is wrong with samples."""
    fault = headers.fault[utterances.file.codes]
    counts = spans(utterances, headers)[1]
    # Of what is shorter, that it is too short says more than how loud it is.
    long_enough = counts * SAMPLE_RATE >= MINIMUM_SAMPLES * headers.sample_rate[utterances.file.codes].astype(np.int64)
    broken = (fault == FileFault.NONE) & ~samples.read & (counts > 0)
    yield from _of(utterances, "breaks off", broken, lambda _: "", drop=True)
    yield from _of(utterances, "not finite", samples.read & ~samples.finite, lambda _: "", drop=True)
    silent = is_silent(samples)
    yield from _of(utterances, "silent", silent & long_enough, lambda row: f"{samples.level[row]:.0f} dB", drop=True)
    heard = samples.read & ~silent
    clipped = heard & (samples.clipped > CLIPPED_SHARE)
    yield from _of(utterances, "clipped", clipped, lambda row: f"{samples.clipped[row]:.1%}")
    size = np.abs(samples.offset)
    offset = heard & (size > OFFSET_LEAST) & (size > OFFSET_OF_DEVIATION * samples.deviation)
    yield from _of(
        utterances, "offset", offset, lambda row: f"{samples.offset[row]:+.3f} at ±{samples.deviation[row]:.3f}"
    )


def is_silent(samples: Samples) -> np.ndarray:
    """Say of each utterance whether there is nothing to hear, (utterances,) bool."""
    return samples.read & samples.finite & (samples.level < SILENT_DECIBELS)


def _check_lengths(utterances: Utterances, headers: Headers, readable: np.ndarray) -> Iterator[Finding]:
    """Apply the rules of audio.utterance_span, by which training refuses an utterance, to all of them."""
    file = utterances.file.codes
    rate = np.maximum(headers.sample_rate[file], 1).astype(np.int64)
    available = -(-headers.frames[file] * SAMPLE_RATE // rate)
    start = np.rint(np.nan_to_num(utterances.start, nan=0.0) * SAMPLE_RATE)
    end = np.where(np.isnan(utterances.end), available, np.rint(utterances.end * SAMPLE_RATE))
    beyond = readable & (end > available + SHORTEST_SLACK_SECONDS * SAMPLE_RATE)
    length = np.maximum(np.minimum(end, available) - start, 0) / SAMPLE_RATE
    seconds = utterances.seconds
    shorter = readable & (beyond | (length < seconds * SHORTEST_SHARE - SHORTEST_SLACK_SECONDS))

    def lengths(row: int) -> str:
        expected = f"ends at {utterances.end[row]:.2f}" if beyond[row] else f"{seconds[row]:.2f}"
        found = available[row] / SAMPLE_RATE if beyond[row] else length[row]
        return f"{found:.2f} s, by the manifest {expected} s"

    yield from _of(utterances, "shorter", shorter, lengths, drop=True)
    # Rounded, since a length is a whole number of samples over the rate.
    short = readable & ~shorter & (np.rint(length * SAMPLE_RATE) < MINIMUM_SAMPLES)
    yield from _of(utterances, "too short", short, lambda row: f"{length[row] * 1000:.0f} ms", drop=True)
    longer = readable & ~shorter & (length > seconds / SHORTEST_SHARE + SHORTEST_SLACK_SECONDS)
    yield from _of(utterances, "longer", longer, lengths)
    implied = _implied_rates(utterances, headers, np.where(readable, length, np.nan))
    doubtful = readable & (headers.contradicts[file] | (headers.sample_rate[file] < LOWEST_RATE))
    doubtful |= (implied > 0) & (implied != headers.sample_rate[file])

    def rates(row: int) -> str:
        if headers.contradicts[file[row]]:
            return _file_detail(utterances, row)
        if headers.sample_rate[file[row]] < LOWEST_RATE:
            return f"{headers.sample_rate[file[row]]} Hz"
        return f"{headers.sample_rate[file[row]]} Hz, {seconds[row]:.2f} s by the manifest were {implied[row]} Hz"

    yield from _of(utterances, "rate in doubt", doubtful, rates)


def _implied_rates(utterances: Utterances, headers: Headers, length: np.ndarray) -> np.ndarray:
    """Return the common rate at which each whole file would be as long as the manifest says; 0 for none.

    All are 0 where few fit at any rate: then the manifest's seconds are nominal, and what fits does so by chance.

    Parameters
    ----------
    length : (utterances,) seconds by the header; NaN where unknown.
    """
    whole = np.isfinite(length) & np.isnan(utterances.end) & (np.nan_to_num(utterances.start, nan=0.0) == 0)
    rate = headers.sample_rate[utterances.file.codes] * np.where(whole, length, 0.0) / utterances.seconds
    implied = np.zeros(len(utterances), dtype=np.int64)
    for common in COMMON_RATES:
        implied[np.abs(rate - common) < RATE_TOLERANCE * common] = common
    fits = np.count_nonzero(implied) >= EXACT_SHARE * int(np.count_nonzero(whole))
    return implied if fits else np.zeros_like(implied)


def _check_rates(utterances: Utterances, headers: Headers) -> Iterator[Finding]:
    for name, values, usual, unit in (
        ("sample rates", headers.sample_rate, SAMPLE_RATE, "Hz"),
        ("channels", headers.channels, 1, "channels"),
    ):
        of_utterance = values[utterances.file.codes]
        found, counts = np.unique(of_utterance[of_utterance > 0], return_counts=True)
        other = int(counts[found != usual].sum())
        if other:
            by_count = sorted(zip(counts.tolist(), found.tolist(), strict=True), reverse=True)
            examples = tuple(f"{value} {unit}: {count}" for count, value in by_count)
            figures = {str(value): count for count, value in by_count}
            seen_in = np.flatnonzero((of_utterance > 0) & (of_utterance != usual))
            yield Finding(name, other, examples=examples, seen_in=seen_in, figures=figures)


def _file_detail(utterances: Utterances, row: int) -> str:
    # Read again: a reason is kept of none of what may be millions of files.
    file = int(utterances.file.codes[row])
    path = str(utterances.file.names[file])
    named = "" if path == utterances.split_and_id(row)[1] else path
    return ": ".join(filter(None, (named, read_file_header(audio_path(utterances, file)).detail)))


def _of(
    utterances: Utterances, name: str, faulty: np.ndarray, detail: Callable[[int], str], *, drop: bool = False
) -> Iterator[Finding]:
    """Yield the finding of a (utterances,) bool mask, if there is any."""
    rows = np.flatnonzero(faulty)
    if len(rows) == 0:
        return
    examples = first(": ".join(filter(None, (utterances.name(row), detail(row)))) for row in rows.tolist())
    yield Finding(name, len(rows), examples=examples, rows=rows if drop else rows[:0], seen_in=rows)
