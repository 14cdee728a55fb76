"""A corpus under check: its utterances as columns for millions of rows, and the measures of their audio.

Several threads read the files; the result does not depend on their number. libsndfile, the Fourier transform and the
digest release Python's lock, so threads suffice, and they share the columns that they fill.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from ...utils.errors import UserError
from .. import LABELS_FILE, SPLITS
from ..audio.faults import AudioFileError, FileFault
from ..audio.lengths import in_threads
from ..audio.reading import SAMPLE_RATE, open_audio, read_frames, read_header
from ..audio.spans import in_samples
from ..labels import Labels, read_labels
from ..manifest.columns import TEXT, Names
from ..manifest.manifest import Manifest, read_manifests
from .quality import Quality, measure
from .thresholds import SILENT_DECIBELS

_BLOCK_FRAMES = 1 << 17
# Of an utterance; see :class:`Quality`. If it was not `read` to its end, the others are invalid.
_MEASURES = np.dtype(
    [("read", bool), ("finite", bool), ("level", "f4"), ("channel", "i2"), ("edge", "f4"), ("digest", "u8")]
)


@dataclass(frozen=True, eq=False)
class Utterances:
    """The utterances of all splits."""

    manifests: dict[str, Manifest]  # split → its manifest, in the order of :data:`SPLITS`, all in one folder
    split: np.ndarray  # (utterances,) int64, the number of the split in :data:`SPLITS`
    row: np.ndarray  # (utterances,) int64, the row in its manifest
    file: Names  # audio files
    # classes, speaker, group: likewise; an empty name is no speaker and no group.
    classes: Names
    speaker: Names
    group: Names
    # seconds, start, end: (utterances,) float64; NaN for the start or end of the file.
    seconds: np.ndarray
    start: np.ndarray
    end: np.ndarray

    @classmethod
    def of(cls, manifests: Mapping[str, Manifest]) -> "Utterances":
        """Join manifests, split → manifest."""
        ordered = {split: manifests[split] for split in SPLITS if split in manifests}

        def texts(name: str) -> Names:
            return Names.of(np.concatenate([manifest.text_column(name) for manifest in ordered.values()]))

        def numbers(name: str) -> np.ndarray:
            return np.concatenate([manifest.number_column(name) for manifest in ordered.values()])

        return cls(
            manifests=ordered,
            split=np.concatenate([np.full(len(manifest), SPLITS.index(split)) for split, manifest in ordered.items()]),
            row=np.concatenate([np.arange(len(manifest)) for manifest in ordered.values()]),
            file=texts("audiopath"),
            classes=texts("class"),
            speaker=texts("speaker"),
            group=texts("group"),
            seconds=numbers("seconds"),
            start=numbers("start"),
            end=numbers("end"),
        )

    def __len__(self) -> int:
        return len(self.split)

    def audio_path(self, file: int) -> Path:
        """Return the path of a file by its number."""
        return next(iter(self.manifests.values())).path.parent / str(self.file.names[file])

    def name(self, index: int) -> str:
        """Return split and id of an utterance, as text."""
        return " ".join(self.split_and_id(index))

    def split_and_id(self, index: int) -> tuple[str, str]:
        """Return the split and the id of an utterance."""
        split = SPLITS[self.split[index]]
        return split, str(self.manifests[split].columns["id"][self.row[index]])

    def ids(self, rows: np.ndarray) -> dict[str, list[str]]:
        """Return split → the ids of the utterances in `rows`, (n,) int64."""
        found = {}
        for number, split in enumerate(SPLITS):
            mine = self.row[rows[self.split[rows] == number]]
            if len(mine):
                found[split] = self.manifests[split].columns["id"][mine].tolist()
        return found

    def class_counts(self) -> dict[str, int]:
        """Return class → number of utterances, for classes that have any."""
        counts = np.bincount(self.classes.codes, minlength=len(self.classes.names)).tolist()
        return {name: count for name, count in zip(self.classes.names.tolist(), counts, strict=True) if count}

    def select(self, kept: np.ndarray) -> "Utterances":
        """Return the utterances of a (utterances,) bool mask; files and names keep their numbers."""
        columns: dict[str, Any] = {
            name: Names(value.names, value.codes[kept]) if isinstance(value, Names) else value[kept]
            for name, value in vars(self).items()
            if name != "manifests"
        }
        return replace(self, **columns)

    def rename_classes(self, renamed: Mapping[str, str]) -> "Utterances":
        """Rename classes, name → new name; several may get the same name."""
        names = [renamed.get(name, name) for name in self.classes.names.tolist()]
        number_of = {name: number for number, name in enumerate(dict.fromkeys(names))}
        codes = np.array([number_of[name] for name in names], dtype=np.int64)[self.classes.codes]
        return replace(self, classes=Names(np.array(list(number_of), dtype=TEXT), codes))


@dataclass(frozen=True, eq=False)
class Headers:
    """The headers of all files, each column (files,)."""

    fault: np.ndarray  # int8 numbers of :class:`FileFault`
    frames: np.ndarray  # int64, samples per channel
    sample_rate: np.ndarray  # int32, 0 if the header could not be read; so is `channels`, int16
    channels: np.ndarray
    contradicts: np.ndarray  # bool, whether the header has two rates

    @property
    def samples(self) -> np.ndarray:
        """Lengths in samples at 16 kHz, (files,) int64; 0 where the file has a fault."""
        return -(-self.frames * SAMPLE_RATE // np.maximum(self.sample_rate, 1).astype(np.int64))


@dataclass(frozen=True, eq=False)
class Subject:
    """A corpus and the measures of its audio."""

    utterances: Utterances  # of all splits
    labels: Labels | None  # of labels.yaml; None if there is none
    headers: Headers  # of all files
    samples: np.recarray | None = None  # (utterances,) of `_MEASURES`; None if only headers were read

    @classmethod
    def read(cls, folder: Path, *, deep: bool, threads: int) -> "Subject":
        """Read the manifests of a folder and the headers of their audio; with `deep`, all samples too.

        Raises UserError: no such folder, no manifest in it, or a fault in one.
        """
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder. Use a folder with train.csv, dev.csv and test.csv.")
        manifests = read_manifests(folder, SPLITS, ids_may_repeat=True)
        labels = read_labels(folder / LABELS_FILE) if (folder / LABELS_FILE).exists() else None
        utterances = Utterances.of(manifests)
        headers = read_headers(utterances, threads)
        return cls(utterances, labels, headers, read_samples(utterances, headers, threads) if deep else None)

    def select(self, kept: np.ndarray) -> "Subject":
        """Return the utterances of a (utterances,) bool mask, and their measures."""
        samples = None if self.samples is None else self.samples[kept]
        return replace(self, utterances=self.utterances.select(kept), samples=samples)

    def content_numbers(self) -> np.ndarray:
        """Number the audio of the utterances, (utterances,) int64: equal for equal audio, -1 if unknown.

        Without samples, the same part of the same file is the same audio. Silent utterances are not compared.
        """
        if self.samples is not None:
            number = np.unique(self.samples.digest, return_inverse=True)[1].astype(np.int64)
            return np.where(self.samples.read & ~are_silent(self.samples), number, -1)
        starts, counts = spans(self.utterances, self.headers)
        file = self.utterances.file.codes
        order = np.lexsort((counts, starts, file))
        parts = np.stack([file, starts, counts])[:, order]
        number = np.zeros(len(self.utterances), dtype=np.int64)
        number[order] = np.concatenate([[0], np.cumsum((parts[:, 1:] != parts[:, :-1]).any(axis=0))])
        return np.where(self.headers.sample_rate[file] > 0, number, -1)


def are_silent(samples: np.recarray) -> np.ndarray:
    """Return whether utterances are silent, (utterances,) bool, by their `_MEASURES`."""
    return samples.read & samples.finite & (samples.level < SILENT_DECIBELS)


def spans(utterances: Utterances, headers: Headers) -> tuple[np.ndarray, np.ndarray]:
    """Return first sample and number of samples of each utterance, (utterances,) int64, at the rate of its file."""
    rate = headers.sample_rate[utterances.file.codes]
    frames = headers.frames[utterances.file.codes]
    start, end = in_samples(utterances.start, 0, rate), in_samples(utterances.end, frames, rate)
    return start, np.maximum(np.minimum(end, frames) - start, 0)


def read_headers(utterances: Utterances, threads: int) -> Headers:
    """Read the header of each file once."""
    count = len(utterances.file.names)
    columns = {"fault": np.int8, "frames": np.int64, "sample_rate": np.int32, "channels": np.int16, "contradicts": bool}
    headers = Headers(**{name: np.zeros(count, dtype) for name, dtype in columns.items()})

    def work(files: Iterable[int]) -> None:
        for file in files:
            try:
                header = read_header(utterances.audio_path(file))
            except UserError as error:
                headers.fault[file] = error.fault if isinstance(error, AudioFileError) else FileFault.UNREADABLE
            else:
                headers.frames[file], headers.sample_rate[file] = header.frames, header.sample_rate
                headers.channels[file], headers.contradicts[file] = header.channels, bool(header.contradiction)

    in_threads(work, count, threads, "headers")
    return headers


def read_samples(utterances: Utterances, headers: Headers, threads: int) -> np.recarray:
    """Read each utterance to its end; each file is opened once for all its utterances."""
    samples = np.recarray(len(utterances), _MEASURES)
    samples.fill(0)
    starts, counts = spans(utterances, headers)
    by_file = np.argsort(utterances.file.codes, kind="stable")
    bounds = np.searchsorted(utterances.file.codes[by_file], np.arange(len(utterances.file.names) + 1))

    def work(files: Iterable[int]) -> None:
        for file in files:
            if headers.fault[file] != FileFault.NONE:
                continue
            rows = by_file[bounds[file] : bounds[file + 1]]
            parts = zip(starts[rows].tolist(), counts[rows].tolist(), strict=True)
            measured = _measure_parts(utterances.audio_path(file), parts)
            for row, quality in zip(rows.tolist(), measured, strict=False):
                if quality is not None:
                    samples[row] = (True, quality.finite, quality.level, quality.channel, quality.edge, quality.digest)

    in_threads(work, len(utterances.file.names), threads, "samples")
    return samples


def _measure_parts(path: Path, parts: Iterator[tuple[int, int]]) -> Iterator[Quality | None]:
    """Measure parts of a file: first sample and number of samples; None for a part that cannot be read to its end."""
    try:
        with open_audio(path) as file:
            for start, count in parts:
                yield _measure_part(file, start, count)
    except (soundfile.SoundFileError, OSError, UserError):
        # The file could be opened before: the remaining parts count as unreadable.
        return


def _measure_part(file: soundfile.SoundFile, start: int, count: int) -> Quality | None:
    def blocks() -> Iterator[np.ndarray]:
        at, end = start, start + count
        while at < end and len(block := read_frames(file, at, min(end - at, _BLOCK_FRAMES))):
            at += len(block)
            yield block

    try:
        quality = measure(blocks(), file.samplerate)
        if quality.channel >= 0:
            file.seek(start)
            quality = measure(blocks(), file.samplerate, quality.channel)
    except soundfile.SoundFileError:
        return None
    return quality if quality.samples == count else None
