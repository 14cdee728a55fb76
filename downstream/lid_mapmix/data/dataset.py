"""From utterances to what S3PRL's runner takes: waveforms, and a batch that says what they are.

What is evaluated is here, what is trained on in train_dataset.py.
"""

import hashlib
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.utils.data import Dataset

from ..utils.errors import BadAudioError, UserError
from .audio.reading import read_audio
from .audio.shards import holding_file
from .audio.spans import Length, utterance_spans
from .labels import Labels
from .manifest.manifest import Manifest


@dataclass(frozen=True, eq=False)
class Split:
    """A manifest with what its labels and its audio headers say.

    Attributes
    ----------
    manifest : the utterances.
    target_classes : (utterances,) int64 class numbers.
    starts, counts : (utterances,) int64, the part of its file each utterance is, in samples at 16 kHz.
    faults : what is wrong with audio that is to be skipped, by the number of the utterance.
    """

    manifest: Manifest
    target_classes: np.ndarray
    starts: np.ndarray
    counts: np.ndarray
    faults: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def open(
        cls,
        manifest: Manifest,
        labels: Labels,
        *,
        skips_bad_audio: bool = False,
        lengths: MutableMapping[str, Length] | None = None,
    ) -> "Split":
        """Check a manifest against the labels and against its audio files.

        Parameters
        ----------
        manifest, labels : of the split.
        skips_bad_audio : whether what is wrong with audio is noted rather than raised.
        lengths : of files, shared among splits; see :func:`.audio.spans.utterance_spans`.

        Raises
        ------
        UserError : an unknown class, or, unless it is to be skipped, audio that is missing, broken or too short.
        """
        faults: dict[int, str] = {}
        target_classes = labels.class_indices(manifest)
        spans = utterance_spans(manifest, faults if skips_bad_audio else None, lengths)
        return cls(manifest, target_classes, *spans, dict(sorted(faults.items())))

    def read(self, utterance: int, start: int, count: int) -> np.ndarray:
        """Read (count,) samples of an utterance from its sample `start` on.

        Raises
        ------
        BadAudioError : its audio is unreadable, truncated, or holds samples that are no numbers.
        """
        if utterance in self.faults:
            raise BadAudioError(self.faults[utterance])
        try:
            return read_audio(self.manifest.audio_path(utterance), int(self.starts[utterance]) + start, count)
        except UserError as error:
            raise BadAudioError(str(error)) from None

    def audio_digest(self, windows: np.ndarray) -> str:
        """Return what names windows, and the audio they are cut from, in 16 hex digits.

        Parameters
        ----------
        windows : (windows, 3) int64: utterance number, first sample, number of samples.
        """
        digest = hashlib.sha256()
        for numbers in (self.starts, self.counts, windows):
            digest.update(np.ascontiguousarray(numbers, dtype="<i8").data)
        for index, name in enumerate(self.manifest.columns["audiopath"]):
            # Of audio that was made anew nothing else may have changed.
            state = holding_file(self.manifest.audio_path(index)).stat()
            digest.update(f"{name}\0{state.st_size}\0{state.st_mtime_ns}\0".encode())
        return digest.hexdigest()[:16]


@dataclass
class Waveforms:
    """Where the real audio is in each waveform of a batch, in samples; the rest is zeros.

    Attributes
    ----------
    first, count : (waveforms,) int64.
    slot : (waveforms,) int64, the number of each crop or window within its split; -1 where it has none.
    """

    first: torch.Tensor
    count: torch.Tensor
    slot: torch.Tensor


@dataclass
class EvaluationBatch:
    """What the waveforms of an evaluation step are: windows of utterances.

    Attributes
    ----------
    utterance : (windows,) int64 utterance numbers.
    waveforms : of the windows.
    """

    utterance: torch.Tensor
    waveforms: Waveforms


class EvaluationDataset(Dataset):
    """Windows of utterances; an item is drawn by its window number (see :mod:`.windows`).

    Parameters
    ----------
    split : whose utterances they are.
    windows : (windows, 3) int64: utterance number, first sample, number of samples.
    is_kept : says of a window's number whether its audio need not be read; see :class:`TrainDataset`.
    """

    def __init__(self, split: Split, windows: np.ndarray, is_kept: Callable[[int], bool] | None = None) -> None:
        self.split = split
        self.windows = windows
        self.is_kept = is_kept

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
