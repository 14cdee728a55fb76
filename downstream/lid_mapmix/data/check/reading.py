"""Reads the audio of a corpus with several threads; what is found does not depend on how many.

libsndfile, the Fourier transform and the digest release Python's lock, so threads are enough, and the columns that
they fill are shared.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import numpy as np
import soundfile
from tqdm import tqdm

from ...utils.errors import UserError
from ..audio.opening import open_audio
from .headers import FileFault, read_file_header
from .quality import Quality, measure
from .utterances import Utterances

# So many files are one job: small beside a corpus, large beside what a job costs.
_FILES_A_JOB = 64
_BLOCK_FRAMES = 1 << 17


@dataclass(frozen=True, eq=False)
class Headers:
    """What the headers of all files say, each column (files,).

    Attributes
    ----------
    fault : int8 numbers of :class:`FileFault`.
    frames : int64, samples a channel.
    sample_rate : int32, 0 where the header could not be read; so is `channels`, int16.
    contradicts : bool, whether the header names two rates.
    """

    fault: np.ndarray
    frames: np.ndarray
    sample_rate: np.ndarray
    channels: np.ndarray
    contradicts: np.ndarray


@dataclass(frozen=True, eq=False)
class Samples:
    """What the samples of all utterances say, each column (utterances,); see :class:`Quality`.

    Attributes
    ----------
    read : bool, whether the utterance was read to its end; the other columns mean nothing where it was not.
    """

    read: np.ndarray
    finite: np.ndarray
    level: np.ndarray
    offset: np.ndarray
    deviation: np.ndarray
    clipped: np.ndarray
    edge: np.ndarray
    digest: np.ndarray

    def select(self, kept: np.ndarray) -> "Samples":
        """Return the rows of a (utterances,) bool mask."""
        return Samples(**{name: column[kept] for name, column in vars(self).items()})


def audio_path(utterances: Utterances, file: int) -> Path:
    """Return where a file is."""
    folder = next(iter(utterances.manifests.values())).path.parent
    return folder / str(utterances.file.names[file])


def read_headers(utterances: Utterances, threads: int) -> Headers:
    """Read the header of each file once."""
    count = len(utterances.file.names)
    columns = {"fault": np.int8, "frames": np.int64, "sample_rate": np.int32, "channels": np.int16, "contradicts": bool}
    headers = Headers(**{name: np.zeros(count, dtype) for name, dtype in columns.items()})

    def work(files: Iterable[int]) -> None:
        for file in files:
            header = read_file_header(audio_path(utterances, file))
            for name in columns:
                getattr(headers, name)[file] = getattr(header, name)

    _in_threads(work, count, threads, "headers")
    return headers


def read_samples(
    utterances: Utterances, headers: Headers, starts: np.ndarray, counts: np.ndarray, threads: int
) -> Samples:
    """Read each utterance to its end; the utterances of a file one after the other, with the file opened once.

    Parameters
    ----------
    utterances, headers : what to read.
    starts, counts : (utterances,) int64, first sample and number of samples at the rate of the file.
    threads : how many.
    """
    columns: dict[str, type] = {"finite": bool, "level": np.float32, "offset": np.float32, "deviation": np.float32}
    columns |= {"clipped": np.float32, "edge": np.float32, "digest": np.uint64}
    total = len(utterances)
    samples = Samples(np.zeros(total, bool), **{name: np.zeros(total, dtype) for name, dtype in columns.items()})
    by_file = np.argsort(utterances.file.codes, kind="stable")
    bounds = np.searchsorted(utterances.file.codes[by_file], np.arange(len(utterances.file.names) + 1))

    def work(files: Iterable[int]) -> None:
        for file in files:
            if headers.sample_rate[file] == 0 or headers.fault[file] == FileFault.UNKNOWN_LENGTH:
                continue
            rows = by_file[bounds[file] : bounds[file + 1]]
            path = audio_path(utterances, file)
            parts = zip(starts[rows].tolist(), counts[rows].tolist(), strict=True)
            for row, quality in zip(rows.tolist(), _measure_parts(path, parts), strict=False):
                if quality is None:
                    continue
                samples.read[row] = True
                for name in columns:
                    getattr(samples, name)[row] = getattr(quality, name)

    _in_threads(work, len(utterances.file.names), threads, "samples")
    return samples


def spans(utterances: Utterances, headers: Headers) -> tuple[np.ndarray, np.ndarray]:
    """Return first sample and number of samples of each utterance, (utterances,) int64, at the rate of its file."""
    rate = headers.sample_rate[utterances.file.codes]
    frames = headers.frames[utterances.file.codes]
    start = np.rint(np.nan_to_num(utterances.start, nan=0.0) * rate).astype(np.int64)
    end = np.rint(np.where(np.isnan(utterances.end), 0.0, utterances.end) * rate).astype(np.int64)
    end = np.where(np.isnan(utterances.end), frames, np.minimum(end, frames))
    return start, np.maximum(end - start, 0)


def _measure_parts(path: Path, parts: Iterator[tuple[int, int]]) -> Iterator[Quality | None]:
    """Measure parts of a file: first sample and number of samples; None for one that breaks off."""
    try:
        with open_audio(path) as file:
            for start, count in parts:
                yield _measure_part(file, start, count)
    except (soundfile.SoundFileError, OSError, UserError):
        # It could be opened a moment ago: those that are left count as broken off.
        return


def _measure_part(file: soundfile.SoundFile, start: int, count: int) -> Quality | None:
    def blocks() -> Iterator[np.ndarray]:
        left = count
        while left > 0:
            block = file.read(min(left, _BLOCK_FRAMES), dtype="float32", always_2d=True)
            if len(block) == 0:
                return
            left -= len(block)
            yield block

    try:
        file.seek(start)
        quality = measure(blocks(), file.samplerate)
    except soundfile.SoundFileError:
        return None
    return quality if quality.samples == count else None


def _in_threads(work: Callable[[Iterable[int]], None], count: int, threads: int, what: str) -> None:
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
            # Without this Ctrl-C would wait for all that is left, and then for the jobs that have begun.
            stopped.set()
            pool.shutdown(cancel_futures=True)
            raise
