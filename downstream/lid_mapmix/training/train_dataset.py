"""Training data for S3PRL's runner: waveforms of random crops, and a batch that describes them."""

from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from ..data.augment.augmenter import Augmenter
from ..data.crops import NO_SLOT, Crops
from ..data.dataset import Split, Waveforms
from ..mapmix.mixup import MixSpace, mix_waveforms
from ..utils.errors import BadAudioError, UserError
from ..utils.randomness import keyed_generator
from .sampler import NO_PARTNER, Draw

# Roles of an utterance, which key its crops; a replacement has other crops than the same utterance when it is drawn.
_ANCHOR, _PARTNER, _REPLACEMENT = 0, 1, 2


class Fault(NamedTuple):
    """Why the audio of an utterance could not be read."""

    utterance: int  # its number
    reason: str  # in one line


@dataclass(frozen=True, eq=False)
class Replacements:
    """Draws replacements for bad audio: other utterances of the same class, drawn by a key.

    A batch keeps its size and its classes, and a resumed run draws the same replacements without any stored state.
    """

    seed: int
    target_classes: np.ndarray  # (utterances,) int64 class numbers
    pools: tuple[np.ndarray, ...]  # (members,) int64 each, per role, what anchors and partners are drawn from

    def draw(self, utterance: int, role: int, *key: int) -> Iterator[int]:
        """Return all other utterances of the class in a random order, those of the role's pool first.

        `role`: 0 for an anchor, 1 for a partner. `key`: epoch and other parts of the key of the draw.
        """
        generator = keyed_generator(self.seed, "stand-in", utterance, role, *key)
        alike = np.flatnonzero(self.target_classes == self.target_classes[utterance])
        inside = np.isin(alike, self.pools[role])
        for members in (alike[inside], alike[~inside]):
            yield from generator.permutation(members[members != utterance]).tolist()


@dataclass
class TrainBatch:
    """Describes the waveforms of a training step: anchors, then (for latent mixup) one partner per anchor."""

    drawn: torch.Tensor  # (batch,) int64 numbers of the drawn utterances
    anchor: torch.Tensor  # (batch,) int64 numbers of the anchors, which differ where the drawn one was replaced
    # anchor_classes, partner_classes: (batch,) int64 class numbers; None where nothing is mixed.
    anchor_classes: torch.Tensor
    partner_classes: torch.Tensor | None
    weight: torch.Tensor  # (batch,) float32, λ
    loss_weight: torch.Tensor  # (batch,) float32, weight of each row's loss (see `Draw`)
    waveforms: Waveforms  # of anchors and partners, (2 · batch,), or one per row of the batch
    faults: list[Fault]  # of the replaced utterances


@dataclass(eq=False)
class TrainDataset(Dataset):
    """Random crops of anchors and partners, all of one length (docs/method.md, "Model").

    A :class:`Draw` selects an item. For mixup of the input, anchor and partner become one waveform here; otherwise the
    item has both.
    """

    split: Split
    crops: Crops  # draws the crops
    seed: int
    mix_space: MixSpace = MixSpace.NONE  # where anchor and partner are mixed
    _: KW_ONLY
    # Returns for a crop's number whether its features are cached; its audio is then not read, and the waveform is all
    # zeros.
    is_kept: Callable[[int], bool] | None = None
    augmenter: Augmenter | None = None  # augments the audio of a crop
    replacements: Replacements | None = None  # draws a replacement for bad audio; None where bad audio is an error

    def __getitem__(self, draw: Draw) -> "_Item":
        faults: list[Fault] = []
        # The first repeat has the same key as in an epoch without repeats.
        turn = (draw.repeat,) if draw.repeat else ()
        anchor, crop = self._read(draw.anchor, faults, draw.epoch, _ANCHOR, *turn)
        partner, crops = NO_PARTNER, [crop]
        if draw.partner != NO_PARTNER:
            partner, crop = self._read(draw.partner, faults, draw.epoch, _PARTNER)
            crops.append(crop)
        if self.mix_space is MixSpace.INPUT:
            crops = [_mixed(crops[0], crops[1], draw.weight)]
        return _Item(draw, crops, anchor, partner, faults)

    def _read(self, utterance: int, faults: list[Fault], epoch: int, role: int, *turn: int) -> tuple[int, "_Cut"]:
        """Return an utterance and its crop, or, where its audio is bad, its replacement and the replacement's crop."""
        try:
            return utterance, self._crop(utterance, epoch, role, *turn)
        except BadAudioError as error:
            if self.replacements is None:
                raise
            faults.append(Fault(utterance, str(error)))
        for other in self.replacements.draw(utterance, role, epoch, *turn):
            try:
                return other, self._crop(other, epoch, role + _REPLACEMENT, *turn)
            except BadAudioError as error:
                faults.append(Fault(other, str(error)))
        raise UserError(
            f"{faults[0].reason} No other utterance of its class {self.split.manifest.columns['class'][utterance]} can "
            "replace it (data.on_bad_audio: skip). Correct the audio, or remove the class."
        )

    def _crop(self, utterance: int, epoch: int, *role: int) -> "_Cut":
        augmenter, key = self.augmenter, (epoch, utterance, *role)
        speed = 1.0 if augmenter is None else augmenter.draw_speed(int(self.split.counts[utterance]), *key)
        crop = self.crops.draw(self.seed, utterance, epoch, *role, speed=speed)
        if self.is_kept is not None and self.is_kept(crop.slot):
            silence = np.broadcast_to(np.zeros(1, dtype=np.float32), self.crops.samples)  # takes no memory
            return _Cut(silence, crop.first, crop.count, crop.slot)
        waveform = np.zeros(self.crops.samples, dtype=np.float32)
        audio = self.split.read(utterance, crop.start, crop.count)
        if augmenter is not None:
            # At another speed its length is rounded up and may exceed the space by a sample or two.
            audio = augmenter.augment(audio, speed, *key)[: len(waveform) - crop.first]
        waveform[crop.first : crop.first + len(audio)] = audio
        return _Cut(waveform, crop.first, len(audio), crop.slot)

    def collate(self, items: list["_Item"]) -> tuple[torch.Tensor, TrainBatch]:
        """Return (waveforms, crop_samples) float32, anchors first, and their batch."""
        draws = [item.draw for item in items]
        # Transposing the rows of (anchor, partner) puts all anchors before all partners.
        crops = [crop for column in zip(*(item.crops for item in items), strict=True) for crop in column]
        anchor = torch.tensor([item.anchor for item in items])
        target_classes = torch.from_numpy(self.split.target_classes)
        return torch.from_numpy(np.stack([crop.waveform for crop in crops])), TrainBatch(
            drawn=torch.tensor([draw.anchor for draw in draws]),
            anchor=anchor,
            anchor_classes=target_classes[anchor],
            partner_classes=None
            if items[0].partner == NO_PARTNER
            else target_classes[torch.tensor([item.partner for item in items])],
            weight=torch.tensor([draw.weight for draw in draws], dtype=torch.float32),
            loss_weight=torch.tensor([draw.loss_weight for draw in draws], dtype=torch.float32),
            waveforms=Waveforms(
                first=torch.tensor([crop.first for crop in crops]),
                count=torch.tensor([crop.samples for crop in crops]),
                slot=torch.tensor([crop.slot for crop in crops]),
            ),
            faults=[fault for item in items for fault in item.faults],
        )


class _Cut(NamedTuple):
    """A (crop samples,) waveform, its first real sample, its number of real samples, and the crop's number."""

    waveform: np.ndarray
    first: int
    samples: int
    slot: int


class _Item(NamedTuple):
    """The draw, the crops of anchor and partner, their utterance numbers, and the faults of replaced utterances."""

    draw: Draw
    crops: list[_Cut]
    anchor: int
    partner: int
    faults: list[Fault]


def _mixed(anchor: _Cut, partner: _Cut, weight: float) -> _Cut:
    """Mix two crops into one, whose real audio starts at the first real sample of either and ends at the last."""
    ends = anchor.first + anchor.samples, partner.first + partner.samples
    real = slice(anchor.first, ends[0]), slice(partner.first, ends[1])
    first = min(anchor.first, partner.first)
    waveform = mix_waveforms(anchor.waveform, partner.waveform, weight, real=real)
    return _Cut(waveform, first, max(ends) - first, NO_SLOT)
