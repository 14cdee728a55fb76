"""From utterances to what S3PRL's runner takes: waveforms, and a batch that says what they are."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from ..mapmix.mixup import MixSpace, mix_waveforms
from .audio import read_audio, utterance_spans
from .crops import NO_SLOT, Crops
from .labels import Labels
from .manifest import Manifest
from .sampler import NO_PARTNER, Draw
from .shards import holding_file

_ANCHOR, _PARTNER = 0, 1


@dataclass(frozen=True, eq=False)
class Split:
    """A manifest with what its labels and its audio headers say.

    Attributes
    ----------
    manifest : the utterances.
    gold : (utterances,) int64 class numbers.
    starts, counts : (utterances,) int64, the part of its file each utterance is, in samples at 16 kHz.
    """

    manifest: Manifest
    gold: np.ndarray
    starts: np.ndarray
    counts: np.ndarray

    @classmethod
    def open(cls, manifest: Manifest, labels: Labels) -> "Split":
        """Check a manifest against the labels and against its audio files.

        Raises
        ------
        UserError : an unknown class, or audio that is missing, broken or too short.
        """
        return cls(manifest, labels.class_indices(manifest), *utterance_spans(manifest))

    def read(self, utterance: int, start: int, count: int) -> np.ndarray:
        """Read (count,) samples of an utterance from its sample `start` on."""
        return read_audio(self.manifest.audio_path(utterance), int(self.starts[utterance]) + start, count)

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
class TrainBatch:
    """What the waveforms of a training step are: anchors, then (for latent mixup) a partner for each.

    Attributes
    ----------
    anchor, partner : (batch,) int64 utterance numbers; partner is None where nothing is mixed.
    anchor_gold, partner_gold : (batch,) int64 class numbers.
    weight : (batch,) float32, λ.
    share : (batch,) float32, what the loss of each row counts for (see `Draw`).
    waveforms : of anchors and partners, (2 · batch,), or one a row of the batch.
    """

    anchor: torch.Tensor
    anchor_gold: torch.Tensor
    partner: torch.Tensor | None
    partner_gold: torch.Tensor | None
    weight: torch.Tensor
    share: torch.Tensor
    waveforms: Waveforms


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


class TrainDataset(Dataset):
    """Random crops of anchors and partners, all of one length (method.md, "Model").

    An item is drawn by a :class:`Draw`. Where the input is mixed, anchor and partner become one waveform here;
    otherwise both are handed on.

    Parameters
    ----------
    split : whose utterances they are.
    crops : where in them.
    seed : of the draws.
    mix_space : what is mixed.
    is_kept : says of a crop's number whether its audio need not be read, since its features are kept; the waveform is
        all zeros then.
    """

    def __init__(
        self,
        split: Split,
        crops: Crops,
        seed: int,
        mix_space: MixSpace = MixSpace.NONE,
        is_kept: Callable[[int], bool] | None = None,
    ) -> None:
        self.split = split
        self.crops = crops
        self.seed = seed
        self.mix_space = mix_space
        self.is_kept = is_kept

    def __getitem__(self, draw: Draw) -> tuple[Draw, list["_Cut"]]:
        crops = [self._crop(draw.anchor, draw.epoch, _ANCHOR)]
        if draw.partner != NO_PARTNER:
            crops.append(self._crop(draw.partner, draw.epoch, _PARTNER))
        if self.mix_space is MixSpace.INPUT:
            crops = [_mixed(crops[0], crops[1], draw.weight)]
        return draw, crops

    def _crop(self, utterance: int, epoch: int, role: int) -> "_Cut":
        crop = self.crops.draw(self.seed, utterance, epoch, role)
        if self.is_kept is not None and self.is_kept(crop.slot):
            return _Cut(_silence(self.crops.samples), crop.first, crop.count, crop.slot)
        waveform = np.zeros(self.crops.samples, dtype=np.float32)
        waveform[crop.first : crop.first + crop.count] = self.split.read(utterance, crop.start, crop.count)
        return _Cut(waveform, crop.first, crop.count, crop.slot)

    def collate(self, items: list[tuple[Draw, list["_Cut"]]]) -> tuple[torch.Tensor, TrainBatch]:
        """Return (waveforms, crop_samples) float32, anchors first, and their batch."""
        draws = [draw for draw, _ in items]
        # Turning the rows of (anchor, partner) into columns puts all anchors before all partners.
        crops = [crop for column in zip(*(crops for _, crops in items), strict=True) for crop in column]
        anchor = torch.tensor([draw.anchor for draw in draws])
        partner = None if draws[0].partner == NO_PARTNER else torch.tensor([draw.partner for draw in draws])
        gold = torch.from_numpy(self.split.gold)
        return torch.from_numpy(np.stack([crop.waveform for crop in crops])), TrainBatch(
            anchor=anchor,
            anchor_gold=gold[anchor],
            partner=partner,
            partner_gold=None if partner is None else gold[partner],
            weight=torch.tensor([draw.weight for draw in draws], dtype=torch.float32),
            share=torch.tensor([draw.share for draw in draws], dtype=torch.float32),
            waveforms=Waveforms(
                first=torch.tensor([crop.first for crop in crops]),
                count=torch.tensor([crop.samples for crop in crops]),
                slot=torch.tensor([crop.slot for crop in crops]),
            ),
        )


class _Cut(NamedTuple):
    """A (crop samples,) waveform, its first real sample, the number of real samples, and the crop's number."""

    waveform: np.ndarray
    first: int
    samples: int
    slot: int


def _mixed(anchor: _Cut, partner: _Cut, weight: float) -> _Cut:
    """Mix two crops into one, whose real audio reaches from the first real sample of both to the last."""
    ends = anchor.first + anchor.samples, partner.first + partner.samples
    real = slice(anchor.first, ends[0]), slice(partner.first, ends[1])
    first = min(anchor.first, partner.first)
    waveform = mix_waveforms(anchor.waveform, partner.waveform, weight, real=real)
    return _Cut(waveform, first, max(ends) - first, NO_SLOT)


def _silence(samples: int) -> np.ndarray:
    """Return (samples,) float32 zeros that take no memory."""
    return np.broadcast_to(np.zeros(1, dtype=np.float32), samples)


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
