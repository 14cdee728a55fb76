"""Lengths of audio files: read from their headers, or recorded beside a manifest by ``lid-mapmix check``.

SPLIT.lengths.npz has two arrays: ``manifest``, the SHA-256 of the manifest, and ``samples``, (utterances,) int64, the
length of each utterance's file at 16 kHz; 0 where the file has a fault. It may have come with the corpus of others,
and audio may have changed since, so it is not trusted: some headers are read when the manifest is opened, and the
length of each file is compared when its audio is read. Sizes and times of files are not recorded. To compare them needs
a call per file, which takes minutes for millions of files on a network disk, and says less: copying changes times, and
another program may have written all three.
"""

import logging
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
from tqdm import tqdm

from ...utils.errors import UserError
from ...utils.files import replace_when_complete, warn_if_not_written
from ..manifest.manifest import Manifest
from .reading import read_header

# Headers that are read to test a record; a manifest of no more utterances has none.
TESTED = 1_000
_THREADS = 8
# Files per job: few compared with a corpus, many compared with the cost of a job.
_FILES_A_JOB = 64

# Of a file: its number of samples at 16 kHz, or its fault.
Length = int | UserError

logger = logging.getLogger(__name__)


def lengths_path(manifest: Path) -> Path:
    """Return the path of the record beside a manifest, which may be absent."""
    return manifest.with_suffix(".lengths.npz")


def record_lengths(manifest: Manifest, samples: np.ndarray) -> None:
    """Write the record of a manifest of many utterances; a folder that cannot be written is a warning only.

    `samples`: (utterances,) int64, the length of each file at 16 kHz, 0 where it has a fault.
    """
    if len(manifest) <= TESTED:
        return
    path = lengths_path(manifest.path)
    with warn_if_not_written(path), replace_when_complete(path) as temporary, temporary.open("wb") as file:
        np.savez(file, manifest=np.array(manifest.digest), samples=samples)


def recorded_lengths(manifest: Manifest) -> np.ndarray | None:
    """Return the recorded lengths, (utterances,) int64, 0 where one is not known; None without a valid record.

    A record of another manifest, or with a length that differs from a header that is read to test it, is a warning.
    """
    path = lengths_path(manifest.path)
    if not manifest.digest or len(manifest) <= TESTED or not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            digest, samples = str(file["manifest"]), file["samples"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        digest, samples = "", np.zeros(0)
    if digest != manifest.digest or samples.shape != (len(manifest),) or samples.dtype != np.int64:
        found = f"expected the lengths of {manifest.path.name}, found those of another manifest"
    elif (changed := _changed(manifest, samples)) is not None:
        found = f"expected the length of {changed}, found another"
    else:
        return samples
    logger.warning("%s: %s. All headers are read; 'lid-mapmix check' records their lengths again.", path, found)
    return None


def _changed(manifest: Manifest, samples: np.ndarray) -> str | None:
    """Return a file whose length is not the recorded one, by the headers of some; None if there is none."""
    # Evenly spaced, so that no large part of the corpus has none.
    rows = np.unique(np.arange(TESTED) * len(manifest) // TESTED)
    rows = rows[samples[rows] > 0]
    recorded = {str(manifest.audio_path(row)): int(samples[row]) for row in rows.tolist()}
    found = read_lengths(list(recorded), {}, "test of recorded lengths")
    return next((path for path, length in zip(recorded, found, strict=True) if length != recorded[path]), None)


def read_lengths(paths: Sequence[str], known: Mapping[str, Length], purpose: str) -> list[Length]:
    """Return the length of each file; the headers of files without a known length are read, in several threads.

    `paths`: the files, each once. `known`: path → length of some of them. `purpose`: for the progress bar.
    """
    unknown = [path for path in paths if path not in known] if known else list(paths)
    read: list[Length] = [0] * len(unknown)

    def work(numbers: Iterable[int]) -> None:
        for number in numbers:
            try:
                read[number] = read_header(Path(unknown[number])).samples
            except UserError as error:
                read[number] = error

    in_threads(work, len(unknown), _THREADS, purpose)
    if len(unknown) == len(paths):
        return read
    lengths = {**known, **dict(zip(unknown, read, strict=True))}
    return [lengths[path] for path in paths]


def in_threads(work: Callable[[Iterable[int]], None], count: int, threads: int, what: str) -> None:
    """Call `work` in several threads with numbers from 0 to `count`; Ctrl-C waits for the file at hand only.

    `what`: for the progress bar.
    """
    stopped = Event()

    def until_stopped(files: range) -> int:
        work(file for file in files if not stopped.is_set())
        return len(files)

    jobs = [range(first, min(first + _FILES_A_JOB, count)) for first in range(0, count, _FILES_A_JOB)]
    with (
        ThreadPoolExecutor(threads) as pool,
        tqdm(total=count, desc=what, unit=" files", leave=False, delay=1) as progress,
    ):
        try:
            for done in pool.map(until_stopped, jobs):
                progress.update(done)
        except BaseException:
            # Without this, Ctrl-C would wait for all remaining jobs.
            stopped.set()
            pool.shutdown(cancel_futures=True)
            raise
