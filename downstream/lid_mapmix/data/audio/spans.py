"""The part of its file that each utterance of a manifest is, checked against the audio headers.

A header is read once per file, even if several rows share the file.
"""

import os
from collections.abc import MutableMapping
from typing import cast

import numpy as np

from ...utils.errors import UserError
from ..manifest.columns import Names
from ..manifest.manifest import Manifest
from .lengths import Length, read_lengths
from .reading import MINIMUM_SAMPLES, SAMPLE_RATE

# A manifest's nominal duration may be rounded, or count speech only; a file shorter than this fraction is damaged.
SHORTEST_FRACTION = 0.9
SHORTEST_SLACK_SECONDS = 0.1
# Kaldi's extract-segments, too, shortens segments that end up to this after the file.
MAX_OVERSHOOT_SECONDS = 0.5


def utterance_span(manifest: Manifest, index: int) -> tuple[int, int]:
    """Return the first sample and the number of samples of an utterance, at 16 kHz, from its file's header.

    Raises UserError: the audio is shorter than in the manifest, or has under 400 samples (25 ms).
    """
    row = {name: values[index : index + 1] for name, values in manifest.columns.items()}
    starts, counts = utterance_spans(Manifest(manifest.path, row))
    return int(starts[0]), int(counts[0])


def utterance_spans(
    manifest: Manifest,
    faults: MutableMapping[int, str] | None = None,
    lengths: MutableMapping[str, Length] | None = None,
    recorded: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Read the headers of all audio of a manifest.

    Returns (utterances,) int64 each, in samples at 16 kHz.

    Raises UserError: as :func:`utterance_span`, for the first utterance with a fault.

    `manifest`: of the audio. `faults`: if given, the faults of utterances are added to it, by number, and not raised;
    the utterance then has the shortest possible span. `lengths`: path → length of files whose headers were read before;
    those of files with several rows are added. `recorded`: (utterances,) int64, lengths that need not be read, 0 where
    one is not known; see :mod:`.lengths`.
    """
    available = np.zeros(len(manifest), np.int64) if recorded is None else recorded.copy()
    unknown = np.flatnonzero(available <= 0)
    files = Names.of(manifest.columns["audiopath"][unknown])
    folder = str(manifest.path.parent)
    paths = [os.path.join(folder, name) for name in files.names.tolist()]  # noqa: PTH118 - Path takes ten times as long
    found = read_lengths(paths, {} if lengths is None else lengths, f"headers of {manifest.path.name}")
    if lengths is not None:
        for file in np.flatnonzero(np.bincount(files.codes) > 1).tolist():
            lengths[paths[file]] = found[file]
    samples = np.array([0 if isinstance(length, UserError) else length for length in found], dtype=np.int64)
    available[unknown] = samples[files.codes]
    starts, ends = in_samples(manifest.number_column("start"), 0), in_samples(manifest.number_column("end"), available)
    counts = np.maximum(np.minimum(ends, available) - starts, 0)
    is_faulty = (
        (available <= 0)
        | ends_after(ends, available)
        | is_short(counts, manifest.columns["seconds"])
        | (counts < MINIMUM_SAMPLES)
    )
    for row in np.flatnonzero(is_faulty).tolist():
        if available[row] <= 0:
            fault = cast(UserError, found[files.codes[np.searchsorted(unknown, row)]])
        else:
            fault = _fault(manifest, row, int(available[row]), int(ends[row]), int(counts[row]))
        if faults is None:
            raise fault
        faults[row] = str(fault)
    starts[is_faulty], counts[is_faulty] = 0, MINIMUM_SAMPLES
    return starts, counts


def cut_to_audio(
    starts: np.ndarray, ends: np.ndarray, seconds: np.ndarray, available: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shorten utterances that end up to half a second after their file.

    Returns `ends` and `seconds`, changed where `is_cut`, (utterances,) bool.

    `starts`, `ends`, `seconds`: (utterances,) float64; NaN is the start or end of the file, or an unknown duration.
    `available`: (utterances,) durations of the files in seconds; NaN if unknown.
    """
    overshoot = np.round(ends - available, 3)
    is_cut = (overshoot > 0) & (overshoot <= MAX_OVERSHOOT_SECONDS)
    ends = np.where(is_cut, np.round(available, 3), ends)
    left = np.round(ends - np.nan_to_num(starts, nan=0.0), 3)
    return ends, np.where(is_cut, np.minimum(seconds, left), seconds), is_cut


def in_samples(seconds: np.ndarray, default: np.ndarray | int, rate: np.ndarray | int = SAMPLE_RATE) -> np.ndarray:
    """Return times in samples, (utterances,) int64; `default` for NaN. `rate`: samples per second."""
    return np.where(np.isnan(seconds), default, np.rint(seconds * rate)).astype(np.int64)


def ends_after(ends: np.ndarray, available: np.ndarray) -> np.ndarray:
    """Return whether utterances end after their files; all are in samples at 16 kHz."""
    # A tenth of a second of rounding in a manifest's times is not a fault.
    return ends > available + SHORTEST_SLACK_SECONDS * SAMPLE_RATE


def is_short(counts: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Return whether utterances have far fewer samples at 16 kHz than by their durations in the manifest."""
    return counts / SAMPLE_RATE < seconds * SHORTEST_FRACTION - SHORTEST_SLACK_SECONDS


def _fault(manifest: Manifest, row: int, available: int, end: int, count: int) -> UserError:
    path, seconds = manifest.audio_path(row), manifest.columns["seconds"][row]
    if ends_after(np.array(end), np.array(available)):
        return UserError(
            f"{path}: expected at least {end / SAMPLE_RATE:.2f} s, the end of an utterance in {manifest.path}, found "
            f"{available / SAMPLE_RATE:.2f} s. Restore the file if it is truncated, or correct the manifest."
        )
    if is_short(np.array(count), seconds):
        return UserError(
            f"{path}: expected {seconds:.2f} s, as in {manifest.path}, found {count / SAMPLE_RATE:.2f} s. "
            "Restore the file if it is truncated, or correct the manifest."
        )
    return UserError(
        f"{path}: expected an utterance of at least {MINIMUM_SAMPLES} samples at 16 kHz (25 ms), found {count}. "
        "Remove it from the manifest."
    )
