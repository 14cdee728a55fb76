"""Checks of the headers, samples and bandwidths of utterances.

If one dialect has telephone speech and another studio speech, a model learns the channel, and scores do not show it.
Upsampled 8 kHz audio looks like any other 16 kHz file except in its spectrum.
"""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from ...utils.errors import UserError
from ..audio.faults import FileFault
from ..audio.reading import MINIMUM_SAMPLES, SAMPLE_RATE, read_header
from ..audio.spans import SHORTEST_FRACTION, SHORTEST_SLACK_SECONDS, cut_to_audio, ends_after, in_samples, is_short
from . import thresholds
from .findings import Finding, first
from .subject import Headers, Subject, Utterances, are_silent, spans

_BANDS = ("up to 4.5 kHz", "up to 7 kHz", "wide")


def check_headers(subject: Subject) -> Iterator[Finding]:
    """Find faults of files and of durations."""
    utterances, headers = subject.utterances, subject.headers
    fault = headers.fault[utterances.file.codes]
    for kind in FileFault:
        if kind is not FileFault.NONE:
            detail = functools.partial(_file_detail, utterances) if kind is not FileFault.MISSING else lambda _: ""
            yield from _of(utterances, kind.kind, fault == kind, detail, drop=True)
    yield from _check_lengths(utterances, headers, fault == FileFault.NONE)
    yield from _check_rates(utterances, headers)


def check_samples(subject: Subject) -> Iterator[Finding]:
    """Find faults of samples, if they were read."""
    utterances, headers, samples = subject.utterances, subject.headers, subject.samples
    if samples is None:
        return
    fault = headers.fault[utterances.file.codes]
    counts = spans(utterances, headers)[1]
    # For a shorter utterance, that it is too short matters more than its level.
    long_enough = counts * SAMPLE_RATE >= MINIMUM_SAMPLES * headers.sample_rate[utterances.file.codes].astype(np.int64)
    broken = (fault == FileFault.NONE) & ~samples.read & (counts > 0)
    yield from _of(utterances, "breaks off", broken, drop=True)
    yield from _of(utterances, "not finite", samples.read & ~samples.finite, drop=True)
    silent = are_silent(samples)
    yield from _of(utterances, "silent", silent & long_enough, lambda row: f"{samples.level[row]:.0f} dB", drop=True)
    audible = samples.read & ~silent
    cancelling = audible & (samples.channel >= 0)
    yield from _of(utterances, "opposite channels", cancelling, lambda row: _file_name(utterances, row))


def check_bands(subject: Subject) -> Iterator[Finding]:
    """Find band-limited utterances, and measure the association of bandwidth and class."""
    utterances, numbers = subject.utterances, _bands(subject)
    known = numbers >= 0
    table = np.zeros((len(utterances.classes.names), len(_BANDS)), dtype=np.int64)
    np.add.at(table, (utterances.classes.codes[known], numbers[known]), 1)
    totals = table.sum(axis=0)
    if np.count_nonzero(totals) <= 1:
        return
    strength, probability = association(table)
    name = "band"
    if probability < thresholds.SIGNIFICANCE and strength >= thresholds.ASSOCIATION_WARNING:
        name = "bandwidth by class" if strength >= thresholds.ASSOCIATION_ERROR else "bandwidth and class"
    present = np.flatnonzero(table.sum(axis=1))
    # The widest band that occurs is the reference; everything narrower is band-limited.
    widest = int(np.flatnonzero(totals).max())
    limited = table.sum(axis=1) - table[:, widest]
    fractions = limited[present] / table[present].sum(axis=1)
    by_fraction = present[np.argsort(-fractions, kind="stable")].tolist()
    counted = ", ".join(f"{band}: {count}" for band, count in zip(_BANDS, totals.tolist(), strict=True) if count)
    count = thresholds.EXAMPLES
    ends = by_fraction if len(by_fraction) <= 2 * count else by_fraction[:count] + by_fraction[-count:]
    listed = ", ".join(f"{utterances.classes.names[row]} {limited[row] / table[row].sum():.0%}" for row in ends)
    examples = (counted, f"association with the class (Cramér's V, 0 to 1): {strength:.2f}", f"limited: {listed}")
    figures = {"cramers_v": strength, "p": probability, **dict(zip(_BANDS, totals.tolist(), strict=True))}
    seen_in = np.flatnonzero(known & (numbers < widest))
    yield Finding(name, int(limited.sum()), examples=examples, seen_in=seen_in, figures=figures)


class Association(NamedTuple):
    """Association of rows and columns."""

    # Cramér's V with the correction of Bergsma (2013, Journal of the Korean Statistical Society 42); 0 if they are
    # independent, 1 if one determines the other.
    strength: float
    probability: float  # p-value of independence (chi-square without Yates's correction)


def association(counts: np.ndarray) -> Association:
    """Measure the association of rows and columns of a table. `counts`: (rows, columns) joint counts."""
    table = counts[counts.any(axis=1)][:, counts.any(axis=0)]
    if min(table.shape) <= 1:
        return Association(0.0, 1.0)
    # Imported here because it takes a second, and most corpora have one band.
    from scipy.stats import chi2_contingency  # noqa: PLC0415

    result = chi2_contingency(table, correction=False)
    total = table.sum()
    rows, columns = table.shape
    squared = max(result.statistic / total - (rows - 1) * (columns - 1) / (total - 1), 0.0)
    smaller = min(size - (size - 1) ** 2 / (total - 1) for size in (rows, columns))
    strength = float(np.sqrt(squared / (smaller - 1))) if smaller > 1 else 0.0
    return Association(min(strength, 1.0), float(result.pvalue))


def _bands(subject: Subject) -> np.ndarray:
    """Return the index in :data:`_BANDS` of each utterance, (utterances,) int64; -1 if it is unknown."""
    rate, samples = subject.headers.sample_rate[subject.utterances.file.codes], subject.samples
    edge = np.minimum(rate / 2, thresholds.HIGHEST_HERTZ)
    known = rate > 0
    if samples is not None:
        # If the utterance is too short or could not be read, only a low rate determines the band.
        known &= (edge <= thresholds.NARROW_HERTZ) | (samples.read & ~np.isnan(samples.edge))
        edge = np.fmin(edge, np.where(samples.read, samples.edge, np.nan))
    numbers = np.digitize(edge, [thresholds.NARROW_HERTZ, thresholds.HIGHEST_EDGE_HERTZ], right=True)
    return np.where(known, numbers, -1)


def _check_lengths(utterances: Utterances, headers: Headers, readable: np.ndarray) -> Iterator[Finding]:
    """Apply the checks of audio.utterance_span, by which training refuses an utterance, to all of them."""
    file = utterances.file.codes
    available = headers.samples[file]
    start, end = in_samples(utterances.start, 0), in_samples(utterances.end, available)
    beyond = readable & ends_after(end, available)
    count = np.maximum(np.minimum(end, available) - start, 0)
    length = count / SAMPLE_RATE
    _, seconds, is_cut = cut_to_audio(utterances.start, utterances.end, utterances.seconds, available / SAMPLE_RATE)
    late = beyond & is_cut
    beyond &= ~late
    seconds = np.where(late, seconds, utterances.seconds)
    shorter = readable & (beyond | is_short(count, seconds))

    def lengths(row: int) -> str:
        expected = f"ends at {utterances.end[row]:.2f}" if beyond[row] else f"{seconds[row]:.2f}"
        found = available[row] / SAMPLE_RATE if beyond[row] else length[row]
        return f"{found:.2f} s, by the manifest {expected} s"

    yield from _of(utterances, "ends late", late, lambda row: f"{(end - available)[row] / SAMPLE_RATE:.2f} s")
    yield from _of(utterances, "shorter", shorter, lengths, drop=True)
    short = readable & ~shorter & (count < MINIMUM_SAMPLES)
    yield from _of(utterances, "too short", short, lambda row: f"{length[row] * 1000:.0f} ms", drop=True)
    longer = readable & ~shorter & (length > seconds / SHORTEST_FRACTION + SHORTEST_SLACK_SECONDS)
    yield from _of(utterances, "longer", longer, lengths)
    doubtful = readable & (headers.contradicts[file] | (headers.sample_rate[file] < thresholds.LOWEST_RATE))

    def rates(row: int) -> str:
        return (
            _file_detail(utterances, row) if headers.contradicts[file[row]] else f"{headers.sample_rate[file[row]]} Hz"
        )

    yield from _of(utterances, "rate in doubt", doubtful, rates)


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
    # Read again, because storing a reason for each of millions of files would take much memory.
    path = utterances.audio_path(int(utterances.file.codes[row]))
    try:
        detail = read_header(path).contradiction
    except UserError as error:
        detail = str(error).removeprefix(f"{path}: ")
    return ": ".join(filter(None, (_file_name(utterances, row), detail)))


def _file_name(utterances: Utterances, row: int) -> str:
    """Return the file of an utterance; empty if it is its id."""
    path = str(utterances.file.names[utterances.file.codes[row]])
    return "" if path == utterances.split_and_id(row)[1] else path


def _of(
    utterances: Utterances,
    name: str,
    faulty: np.ndarray,
    detail: Callable[[int], str] = lambda _: "",
    *,
    drop: bool = False,
) -> Iterator[Finding]:
    """Yield the finding of a (utterances,) bool mask, if any is true."""
    rows = np.flatnonzero(faulty)
    if len(rows) == 0:
        return
    examples = first(": ".join(filter(None, (utterances.name(row), detail(row)))) for row in rows.tolist())
    yield Finding(name, len(rows), examples=examples, rows=rows if drop else rows[:0], seen_in=rows)
