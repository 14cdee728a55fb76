"""Evaluation data for S3PRL's runner: waveforms, and a batch that describes them.

Training data is in training/train_dataset.py.
"""

import hashlib
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.utils.data import Dataset

from ..utils.errors import BadAudioError, UserError
from .audio.lengths import Length, recorded_lengths
from .audio.reading import SAMPLE_RATE, read_audio
from .audio.shards import holding_file
from .audio.spans import utterance_spans
from .labels import Labels
from .manifest.manifest import Manifest


@dataclass(frozen=True, eq=False)
class Split:
    """A manifest with the class numbers and audio spans of its utterances."""

    manifest: Manifest  # the utterances
    target_classes: np.ndarray  # (utterances,) int64 class numbers
    # starts, counts: (utterances,) int64, first sample and number of samples of each in its file, at 16 kHz.
    starts: np.ndarray
    counts: np.ndarray
    faults: Mapping[int, str] = field(default_factory=dict)  # utterance number → fault of audio that is skipped
    # (utterances,) int64, the recorded lengths of their files, compared when audio is read; None if headers were read.
    recorded: np.ndarray | None = None

    @classmethod
    def open(
        cls,
        manifest: Manifest,
        labels: Labels,
        *,
        skips_bad_audio: bool = False,
        lengths: MutableMapping[str, Length] | None = None,
    ) -> "Split":
        """Check a manifest against the labels and against its audio files, or the lengths that `check` has recorded.

        Raises UserError: an unknown class, or audio that is missing, damaged or too short and not skipped.

        `manifest`, `labels`: of the split. `skips_bad_audio`: whether faults of audio are recorded rather than raised.
        `lengths`: of files, shared between splits; see :func:`.audio.spans.utterance_spans`.
        """
        faults: dict[int, str] = {}
        target_classes = labels.class_indices(manifest)
        recorded = recorded_lengths(manifest)
        spans = utterance_spans(manifest, faults if skips_bad_audio else None, lengths, recorded)
        return cls(manifest, target_classes, *spans, dict(sorted(faults.items())), recorded)

    @property
    def seconds(self) -> np.ndarray:
        """Durations, (utterances,) float64."""
        return self.counts / SAMPLE_RATE

    def read(self, utterance: int, start: int, count: int) -> np.ndarray:
        """Read (count,) samples of an utterance, starting at its sample `start`.

        Raises BadAudioError: its audio is unreadable, truncated, not of its recorded length, or has an invalid sample.
        """
        if utterance in self.faults:
            raise BadAudioError(self.faults[utterance])
        length = 0 if self.recorded is None else int(self.recorded[utterance])
        try:
            path, first = self.manifest.audio_path(utterance), int(self.starts[utterance]) + start
            return read_audio(path, first, count, length or None)
        except UserError as error:
            raise BadAudioError(str(error)) from None

    def audio_digest(self, windows: np.ndarray) -> str:
        """Return a digest of windows and the audio they are cut from, 16 hex digits.

        `windows`: (windows, 3) int64: utterance number, first sample, number of samples.
        """
        digest = hashlib.sha256()
        for numbers in (self.starts, self.counts, windows):
            digest.update(np.ascontiguousarray(numbers, dtype="<i8").data)
        for index, name in enumerate(self.manifest.columns["audiopath"]):
            # The modification time, because rewritten audio may have the same size.
            state = holding_file(self.manifest.audio_path(index)).stat()
            digest.update(f"{name}\0{state.st_size}\0{state.st_mtime_ns}\0".encode())
        return digest.hexdigest()[:16]


@dataclass
class Waveforms:
    """Where the real audio is in each waveform of a batch, in samples; the rest is zeros."""

    # first, count: (waveforms,) int64.
    first: torch.Tensor
    count: torch.Tensor
    slot: torch.Tensor  # (waveforms,) int64, the number of each crop or window in its split; -1 for none


@dataclass
class EvaluationBatch:
    """Describes the waveforms of an evaluation step: windows of utterances."""

    utterance: torch.Tensor  # (windows,) int64 utterance numbers
    waveforms: Waveforms  # of the windows


@dataclass(eq=False)
class EvaluationDataset(Dataset):
    """Windows of utterances; a window number selects an item (see :mod:`.windows`)."""

    split: Split
    windows: np.ndarray  # (windows, 3) int64: utterance number, first sample, number of samples
    # Returns whether the audio of a window need not be read; see :class:`TrainDataset`.
    is_kept: Callable[[int], bool] | None = None

    def __getitem__(self, number: int) -> tuple[int, np.ndarray]:
        utterance, start, count = map(int, self.windows[number])
        if self.is_kept is not None and self.is_kept(number):
            return number, np.zeros(count, dtype=np.float32)
        return number, self.split.read(utterance, start, count)

    def collate(self, items: list[tuple[int, np.ndarray]]) -> tuple[list[torch.Tensor], EvaluationBatch]:
        """Return a list of (samples,) float32 windows and their batch."""
        counts = torch.tensor([len(audio) for _, audio in items])
        slots = torch.tensor([number for number, _ in items])
        return [torch.from_numpy(audio) for _, audio in items], EvaluationBatch(
            utterance=torch.from_numpy(self.windows[:, 0])[slots],
            waveforms=Waveforms(first=torch.zeros_like(counts), count=counts, slot=slots),
        )
