"""From utterances to what S3PRL's runner takes: waveforms, and a batch that says what they are."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from ..mapmix.mixup import MixSpace, mix_waveforms
from ..randomness import keyed_generator
from .audio import SAMPLE_RATE, read_audio, utterance_spans
from .labels import Labels
from .manifest import Manifest
from .sampler import NO_PARTNER, Draw

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


@dataclass
class Waveforms:
    """Where the real audio is in each waveform of a batch, in samples; the rest is zeros.

    Attributes
    ----------
    first, count : (waveforms,) int64.
    """

    first: torch.Tensor
    count: torch.Tensor


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

    An item is drawn by a :class:`Draw`. Audio shorter than the crop is zero-padded at a random position. Where the
    input is mixed, anchor and partner become one waveform here; otherwise both are handed on.
    """

    def __init__(self, split: Split, crop_seconds: float, seed: int, mix_space: MixSpace = MixSpace.NONE) -> None:
        self.split = split
        self.crop_samples = round(crop_seconds * SAMPLE_RATE)
        self.seed = seed
        self.mix_space = mix_space

    def __getitem__(self, draw: Draw) -> tuple[Draw, list[tuple[np.ndarray, int, int]]]:
        crops = [self._crop(draw.anchor, draw.epoch, _ANCHOR)]
        if draw.partner != NO_PARTNER:
            crops.append(self._crop(draw.partner, draw.epoch, _PARTNER))
        if self.mix_space is MixSpace.INPUT:
            crops = [_mixed(crops[0], crops[1], draw.weight)]
        return draw, crops

    def _crop(self, utterance: int, epoch: int, role: int) -> tuple[np.ndarray, int, int]:
        """Return a (crop_samples,) waveform, its first real sample and the number of real samples."""
        generator = keyed_generator(self.seed, "crop", epoch, utterance, role)
        available = int(self.split.counts[utterance])
        count = min(available, self.crop_samples)
        audio = self.split.read(utterance, int(generator.integers(available - count + 1)), count)
        waveform = np.zeros(self.crop_samples, dtype=np.float32)
        first = int(generator.integers(self.crop_samples - count + 1))
        waveform[first : first + count] = audio
        return waveform, first, count

    def collate(self, items: list[tuple[Draw, list[tuple[np.ndarray, int, int]]]]) -> tuple[torch.Tensor, TrainBatch]:
        """Return (waveforms, crop_samples) float32, anchors first, and their batch."""
        draws = [draw for draw, _ in items]
        # Turning the rows of (anchor, partner) into columns puts all anchors before all partners.
        crops = [crop for column in zip(*(crops for _, crops in items), strict=True) for crop in column]
        anchor = torch.tensor([draw.anchor for draw in draws])
        partner = None if draws[0].partner == NO_PARTNER else torch.tensor([draw.partner for draw in draws])
        gold = torch.from_numpy(self.split.gold)
        return torch.from_numpy(np.stack([waveform for waveform, _, _ in crops])), TrainBatch(
            anchor=anchor,
            anchor_gold=gold[anchor],
            partner=partner,
            partner_gold=None if partner is None else gold[partner],
            weight=torch.tensor([draw.weight for draw in draws], dtype=torch.float32),
            share=torch.tensor([draw.share for draw in draws], dtype=torch.float32),
            waveforms=Waveforms(
                first=torch.tensor([first for _, first, _ in crops]),
                count=torch.tensor([count for _, _, count in crops]),
            ),
        )


def _mixed(
    anchor: tuple[np.ndarray, int, int], partner: tuple[np.ndarray, int, int], weight: float
) -> tuple[np.ndarray, int, int]:
    """Mix two crops into one, whose real audio reaches from the first real sample of both to the last."""
    starts = anchor[1], partner[1]
    ends = anchor[1] + anchor[2], partner[1] + partner[2]
    waveform = mix_waveforms(anchor[0], partner[0], weight, real=(slice(starts[0], ends[0]), slice(starts[1], ends[1])))
    return waveform, min(starts), max(ends) - min(starts)


class EvaluationDataset(Dataset):
    """Windows of utterances; an item is drawn by its window number (see :mod:`.windows`)."""

    def __init__(self, split: Split, windows: np.ndarray) -> None:
        self.split = split
        self.windows = windows

    def __getitem__(self, number: int) -> tuple[int, np.ndarray]:
        utterance, start, count = map(int, self.windows[number])
        return utterance, self.split.read(utterance, start, count)

    def collate(self, items: list[tuple[int, np.ndarray]]) -> tuple[list[torch.Tensor], EvaluationBatch]:
        """Return a list of (samples,) float32 windows and their batch."""
        counts = torch.tensor([len(audio) for _, audio in items])
        return [torch.from_numpy(audio) for _, audio in items], EvaluationBatch(
            utterance=torch.tensor([utterance for utterance, _ in items]),
            waveforms=Waveforms(first=torch.zeros_like(counts), count=counts),
        )
