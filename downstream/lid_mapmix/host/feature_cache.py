"""A frozen upstream whose features are cached on disk: each crop is computed once and read afterwards.

S3PRL's runner calls an upstream with waveforms, and its featurizer with the result. :class:`CachedUpstream` replaces
the upstream: given the slots of the next waveforms in a store, it computes those that are not filled yet, and reads the
others. All layers are stored in float16, so that the featurizer's weighted sum of them can still be trained.
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

from ..utils.errors import UserError, is_of_the_system
from ..utils.files import replace_when_complete, write_text
from ..utils.randomness import keyed_generator
from .feature_store import FeatureStore, SlotLayout, check_header

_HEADER, _PROBE, _LOCK = "upstream.json", "probe.npy", ".lock"
_FORMAT = 1
_PROBE_SAMPLES = 16_000
# Features differ less than this between devices and thread counts, and far more between different features.
_PROBE_TOLERANCE = 0.02


@dataclass(frozen=True)
class Selection:
    """The features of an upstream that the featurizer uses."""

    key: str  # their name, such as hidden_states
    layer: int | None  # the only layer that is used, or None for the weighted sum of all

    def layers(self, features: Mapping[str, Any]) -> list[torch.Tensor]:
        """Return the layers, (batch, frames, dim) each, as S3PRL's featurizer finds them."""
        selected = features[self.key]
        if isinstance(selected, torch.Tensor):
            return [selected]
        layers = list(selected.values()) if isinstance(selected, dict) else list(selected)
        return layers if self.layer is None or len(layers) == 1 else [layers[self.layer]]


class CachedUpstream(nn.Module):
    """A frozen upstream with cached features.

    `upstream`: S3PRL's. `selection`: the features that the featurizer uses.
    """

    def __init__(self, upstream: nn.Module, selection: Selection) -> None:
        super().__init__()
        self.upstream = upstream
        self.selection = selection
        self.computed = self.read = 0  # number of waveforms whose features were computed, and read
        self._expected: tuple[FeatureStore, list[int]] | None = None

    def announce(self, store: FeatureStore, slots: Sequence[int]) -> None:
        """Set the store and the slots of the next waveforms."""
        self._expected = store, list(slots)

    def forward(self, wavs: Sequence[torch.Tensor]) -> dict[str, Any]:
        """Return the features of waveforms.

        Returns the name of the features → one (batch, frames, dim) float32 torch.Tensor per layer; for waveforms that
        were not announced, the upstream's own result.

        `wavs`: (samples,) each. Of a waveform with a filled slot, only device and length are used.
        """
        expected, self._expected = self._expected, None
        if expected is None:
            return self.upstream(wavs)
        store, slots = expected
        if len(slots) != len(wavs):
            raise ValueError(f"expected {len(slots)} waveforms, as announced, found {len(wavs)}")
        missing = {slot: wav for slot, wav in zip(slots, wavs, strict=True) if not store.holds(slot)}
        for group in _groups(missing):
            self._fill(store, group, [missing[slot] for slot in group])
        self.computed += len(missing)
        self.read += len(slots) - len(missing)
        # Computed features are read back too, so that a step does not depend on who has filled its slots, and when.
        return {self.selection.key: _read_layers(store, slots, wavs[0].device)}

    def _fill(self, store: FeatureStore, slots: Sequence[int], wavs: Sequence[torch.Tensor]) -> None:
        layers = self.selection.layers(self.upstream(wavs))
        half = torch.stack(layers, dim=1).half()
        if not half.isfinite().all():
            raise UserError(
                f"{store.folder}: expected features that float16 can hold, found NaN or values above 65504. Train "
                "without --cache-features."
            )
        store.write(slots, list(half.cpu().numpy()))


class _Layers(list[torch.Tensor]):
    """The layers of a batch as slices of one (layers, batch, frames, dim) torch.Tensor, `stacked`."""

    def __init__(self, stacked: torch.Tensor) -> None:
        super().__init__(stacked)
        self.stacked = stacked


def quicken_weighted_sum(featurizer: Any) -> None:
    """Let S3PRL's featurizer sum the layers of a cache by one matrix product.

    It stacks and weights copies of all layers, which takes several times as long as reading them. Other features, and
    normalised ones, are summed as before.
    """
    original = featurizer._weighted_sum

    def weighted_sum(layers: Sequence[torch.Tensor]) -> torch.Tensor:
        if featurizer.normalize or not isinstance(layers, _Layers):
            return original(layers)
        stacked = layers.stacked
        # Mixed precision would round all layers again.
        with torch.autocast(stacked.device.type, enabled=False):
            weights = featurizer.weights.float().softmax(dim=0)
            return (weights @ stacked.flatten(start_dim=1)).view(stacked.shape[1:])

    featurizer._weighted_sum = weighted_sum


def _groups(missing: Mapping[int, torch.Tensor]) -> list[list[int]]:
    """Return the slots to compute together: those of one length, so that there is no padding.

    On a CPU each is computed separately, which takes no longer, and makes the last bit independent of batching: a run
    that was interrupted while the cache was filled ends like one that was not.
    """
    if any(wav.device.type == "cpu" for wav in missing.values()):
        return [[slot] for slot in missing]
    by_length: dict[int, list[int]] = defaultdict(list)
    for slot, wav in missing.items():
        by_length[len(wav)].append(slot)
    return list(by_length.values())


def _read_layers(store: FeatureStore, slots: Sequence[int], device: torch.device) -> _Layers:
    """Return the layers of slots, (slots, frames, dim) float32 each, with zeros after the frames of shorter ones."""
    features = [torch.from_numpy(store.read(slot)) for slot in slots]
    frames = max(each.shape[1] for each in features)
    batch = torch.empty(
        (store.layout.layers, len(slots), frames, store.layout.dim),
        # For another device, only half the bytes are sent.
        dtype=torch.float32 if device.type == "cpu" else torch.float16,
    )
    for row, each in enumerate(features):
        batch[:, row, : each.shape[1]] = each
        batch[:, row, each.shape[1] :] = 0
    return _Layers(batch.to(device).float())


class FeatureCache:
    """The folder of a cache: a description of the upstream, and a store for each split.

    `folder`: created with the first store. `upstream`: the replaced upstream. `names`: what else the features depend
    on, such as the upstream's name, in JSON types. `rate`: samples from one frame to the next. `device`: of the
    upstream.
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
                f"--cache-features: expected an upstream with {_PROBE_SAMPLES / rate:.0f} frames per second, found "
                f"{self._probe.shape[1]}. Train without --cache-features."
            )
        self._header = {
            "format": _FORMAT,
            **names,
            "features": upstream.selection.key,
            "layer": "all" if upstream.selection.layer is None else upstream.selection.layer,
            "weights": weights_digest(upstream.upstream),
        }

    def layout(self, sizes: np.ndarray) -> SlotLayout:
        """Return the layout of slots for waveforms of `sizes` samples, (slots,) int64."""
        return SlotLayout(self._capacities(sizes), self._probe.shape[0], self._probe.shape[2])

    def open(self, split: str, sizes: np.ndarray, names: Mapping[str, Any]) -> FeatureStore:
        """Open the store of a split; create it if absent.

        Raises UserError: the folder has features of another upstream, or of other waveforms.

        `split`: its name. `sizes`: (slots,) int64, samples of each waveform. `names`: description of the waveforms, in
        JSON types.
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
        except (OSError, ValueError) as error:
            if is_of_the_system(error) and not isinstance(error, FileNotFoundError):
                raise
            raise UserError(
                f"{self.folder / _PROBE}: is missing or damaged. Delete the folder {self.folder}."
            ) from None
        # Detects what the description cannot show: another version of S3PRL, or of a patch, with other features.
        if kept.shape != self._probe.shape or _distance(kept, self._probe) > _PROBE_TOLERANCE:
            raise UserError(
                f"{self.folder}: expected the features that the upstream now computes for this audio, found others. "
                "Use another folder by --cache-features, or delete this one."
            )

    def _capacities(self, sizes: np.ndarray) -> np.ndarray:
        return sizes // self._rate + 1


def weights_digest(model: nn.Module) -> str:
    """Return a digest of a model's weights and buffers, 16 hex digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if isinstance(tensor, torch.Tensor):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _probe(upstream: CachedUpstream, device: torch.device | str) -> np.ndarray:
    """Return the upstream's features for one second of noise, (layers, frames, dim) float32."""
    noise = keyed_generator(0, "probe of an upstream").standard_normal(_PROBE_SAMPLES).astype(np.float32)
    upstream.upstream.eval()
    with torch.no_grad():
        features = upstream.upstream([0.1 * torch.from_numpy(noise).to(device)])
    return torch.stack(upstream.selection.layers(features))[:, 0].float().cpu().numpy()


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    """Return the maximum relative difference of a layer."""
    difference = np.linalg.norm((one - other).reshape(len(one), -1), axis=1)
    return float((difference / (np.linalg.norm(other.reshape(len(other), -1), axis=1) + 1e-12)).max())
