"""A frozen upstream that is run once: what it makes of a crop is kept on disk and read from there the next time.

S3PRL's runner calls an upstream with waveforms, and its featurizer with what comes back. :class:`CachedUpstream`
takes the upstream's place: told beforehand which slots of a store the next waveforms are, it runs the upstream on
those that are not there yet, and reads the others. All layers are kept, so that the featurizer's weighted sum of them
still learns, in float16.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import nn

from ..utils.errors import UserError
from ..utils.files import replace_when_complete, write_text
from ..utils.randomness import keyed_generator
from .feature_store import FeatureStore, SlotLayout, check_header

_HEADER, _PROBE, _LOCK = "upstream.json", "probe.npy", ".lock"
_FORMAT = 1
_PROBE_SAMPLES = 16_000
# Between devices and thread counts features differ by less; between other features, by far more.
_PROBE_TOLERANCE = 0.02


@dataclass(frozen=True)
class Selection:
    """Which of an upstream's features the featurizer takes.

    Attributes
    ----------
    key : their name, such as hidden_states.
    layer : the only layer it takes, or None for the weighted sum of all.
    """

    key: str
    layer: int | None

    def layers(self, features: Mapping[str, Any]) -> list[torch.Tensor]:
        """Return the layers, (batch, frames, dim) each, as S3PRL's featurizer finds them."""
        selected = features[self.key]
        if isinstance(selected, torch.Tensor):
            return [selected]
        layers = list(selected.values()) if isinstance(selected, dict) else list(selected)
        return layers if self.layer is None or len(layers) == 1 else [layers[self.layer]]


class CachedUpstream(nn.Module):
    """An upstream in training that is frozen, with the features that are kept of it.

    Parameters
    ----------
    upstream : S3PRL's.
    selection : the features its featurizer takes.

    Attributes
    ----------
    computed, read : how many waveforms the upstream was run on, and for how many features were read.
    """

    def __init__(self, upstream: nn.Module, selection: Selection) -> None:
        super().__init__()
        self.upstream = upstream
        self.selection = selection
        self.computed = 0
        self.read = 0
        self._expected: tuple[FeatureStore, list[int]] | None = None

    def announce(self, store: FeatureStore, slots: Sequence[int]) -> None:
        """Say which slots of which store the next waveforms are."""
        self._expected = store, list(slots)

    def forward(self, wavs: Sequence[torch.Tensor]) -> dict[str, Any]:
        """Return the features of waveforms.

        Parameters
        ----------
        wavs : (samples,) each. Of a waveform whose slot is filled only the device and the length are looked at.

        Returns
        -------
        the name of the features → a (batch, frames, dim) float32 torch.Tensor a layer; of waveforms that nobody has
        announced, what the upstream returns.
        """
        expected, self._expected = self._expected, None
        if expected is None:
            return self.upstream(wavs)
        store, slots = expected
        if len(slots) != len(wavs):
            raise ValueError(f"{len(slots)} slots were announced and {len(wavs)} waveforms came")
        missing = {slot: wav for slot, wav in zip(slots, wavs, strict=True) if not store.holds(slot)}
        for group in _groups(missing):
            self._fill(store, group, [missing[slot] for slot in group])
        self.computed += len(missing)
        self.read += len(slots) - len(missing)
        # What was just computed is read as well: a step sees the same numbers whoever has filled its slots, and when.
        return {self.selection.key: _read_layers(store, slots, wavs[0].device)}

    def _fill(self, store: FeatureStore, slots: Sequence[int], wavs: Sequence[torch.Tensor]) -> None:
        layers = self.selection.layers(self.upstream(wavs))
        half = torch.stack(layers, dim=1).half()
        if not half.isfinite().all():
            raise UserError(
                f"{store.folder}: the upstream's features are NaN or above 65504 in places, which the cache's float16 "
                "cannot hold. Train without --cache-features."
            )
        store.write(slots, list(half.cpu().numpy()))


class _Layers(list[torch.Tensor]):
    """The layers of a batch, which are all in one tensor.

    Attributes
    ----------
    stacked : (layers, batch, frames, dim) torch.Tensor.
    """

    def __init__(self, stacked: torch.Tensor) -> None:
        super().__init__(stacked)
        self.stacked = stacked


def quicken_weighted_sum(featurizer: Any) -> None:
    """Let S3PRL's featurizer sum the layers of a cache by one product, as they lie there.

    It stacks and weighs copies of all layers, which takes several times as long as reading them. Features that come
    from elsewhere it sums as ever, and normalised ones as well.
    """
    original = featurizer._weighted_sum

    def weighted_sum(layers: Sequence[torch.Tensor]) -> torch.Tensor:
        if featurizer.normalize or not isinstance(layers, _Layers):
            return original(layers)
        stacked = layers.stacked
        # Mixed precision would round all layers anew.
        with torch.autocast(stacked.device.type, enabled=False):
            weights = featurizer.weights.float().softmax(dim=0)
            return (weights @ stacked.flatten(start_dim=1)).view(stacked.shape[1:])

    featurizer._weighted_sum = weighted_sum


def _groups(missing: Mapping[int, torch.Tensor]) -> list[list[int]]:
    """Return which slots go through the upstream together: those of one length, so that there is no padding.

    On a CPU each goes alone, which takes no longer, and what comes out does not depend in its last bit on the company:
    so a run that was interrupted while the cache was filled ends as one that was not.
    """
    if any(wav.device.type == "cpu" for wav in missing.values()):
        return [[slot] for slot in missing]
    by_length: dict[int, list[int]] = defaultdict(list)
    for slot, wav in missing.items():
        by_length[len(wav)].append(slot)
    return list(by_length.values())


def _read_layers(store: FeatureStore, slots: Sequence[int], device: torch.device) -> _Layers:
    """Return the layers of slots, (slots, frames, dim) float32 each, zeros behind the frames of shorter ones."""
    features = [torch.from_numpy(store.read(slot)) for slot in slots]
    frames = max(each.shape[1] for each in features)
    batch = torch.empty(
        (store.layout.layers, len(slots), frames, store.layout.dim),
        # To another device half the bytes travel.
        dtype=torch.float32 if device.type == "cpu" else torch.float16,
    )
    for row, each in enumerate(features):
        batch[:, row, : each.shape[1]] = each
        batch[:, row, each.shape[1] :] = 0
    return _Layers(batch.to(device).float())


class FeatureCache:
    """The folder of a cache: whose features it keeps, and a store for each split.

    Parameters
    ----------
    folder : made at the first store.
    upstream : in place of S3PRL's.
    names : what the features depend on that the upstream itself does not show, JSON's types, such as its name.
    rate : samples from one frame to the next.
    device : where the upstream is.
    """

    def __init__(
        self, folder: Path, upstream: CachedUpstream, names: Mapping[str, Any], rate: int, device: torch.device | str
    ) -> None:
        self.folder = folder
        self.upstream = upstream
        self._rate = rate
        self._probe = _probe(upstream, device)
        if self._probe.shape[1] > self._capacities(np.array([_PROBE_SAMPLES]))[0]:
            raise UserError(
                f"the upstream gives {self._probe.shape[1]} frames a second, expected {_PROBE_SAMPLES / rate:.0f}, and "
                "its features cannot be cached. Train without --cache-features."
            )
        self._header = {
            "format": _FORMAT,
            **names,
            "features": upstream.selection.key,
            "layer": "all" if upstream.selection.layer is None else upstream.selection.layer,
            "weights": weights_digest(upstream.upstream),
        }

    def layout(self, sizes: np.ndarray) -> SlotLayout:
        """Return the layout of slots of waveforms of `sizes` samples, (slots,) int64."""
        return SlotLayout(self._capacities(sizes), self._probe.shape[0], self._probe.shape[2])

    def open(self, split: str, sizes: np.ndarray, names: Mapping[str, Any]) -> FeatureStore:
        """Open the store of a split, made where absent.

        Parameters
        ----------
        split : its name.
        sizes : (slots,) int64, samples of each waveform.
        names : what the waveforms are, JSON's types.

        Raises
        ------
        UserError : the folder holds the features of another upstream, or of other waveforms.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / _LOCK):
            self._check_upstream()
            return FeatureStore(self.folder / split, self.layout(sizes), names)

    def _check_upstream(self) -> None:
        check_header(self.folder / _HEADER, self._header)
        if not (self.folder / _HEADER).is_file():
            with replace_when_complete(self.folder / _PROBE) as temporary, temporary.open("wb") as file:
                np.save(file, self._probe)
            write_text(self.folder / _HEADER, json.dumps(self._header, indent=1))
        try:
            kept = np.load(self.folder / _PROBE)
        except (OSError, ValueError):
            raise UserError(
                f"{self.folder / _PROBE}: is missing or damaged. Delete the folder {self.folder}."
            ) from None
        # Catches what no name shows: another version of S3PRL, or of a patch of ours, may make other features.
        if kept.shape != self._probe.shape or _distance(kept, self._probe) > _PROBE_TOLERANCE:
            raise UserError(
                f"{self.folder}: expected the features that the upstream now gives for the same audio, found others. "
                "Name another folder by --cache-features, or delete this one."
            )

    def _capacities(self, sizes: np.ndarray) -> np.ndarray:
        return sizes // self._rate + 1


def weights_digest(model: nn.Module) -> str:
    """Return what names a model's weights and buffers, in 16 hex digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if isinstance(tensor, torch.Tensor):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _probe(upstream: CachedUpstream, device: torch.device | str) -> np.ndarray:
    """Return what the upstream makes of a second of noise, (layers, frames, dim) float32."""
    noise = keyed_generator(0, "probe of an upstream").standard_normal(_PROBE_SAMPLES).astype(np.float32)
    upstream.upstream.eval()
    with torch.no_grad():
        features = upstream.upstream([0.1 * torch.from_numpy(noise).to(device)])
    return torch.stack(upstream.selection.layers(features))[:, 0].float().cpu().numpy()


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    """Return the largest difference of a layer, as a share of that layer's size."""
    difference = np.linalg.norm((one - other).reshape(len(one), -1), axis=1)
    return float((difference / (np.linalg.norm(other.reshape(len(other), -1), axis=1) + 1e-12)).max())
