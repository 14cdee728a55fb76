"""Latents of a split's utterances: of dev for novelties, of others for plots in RUN/SPLIT_latents.npz.

========== ==================== ==============================================================
key        form                 content
========== ==================== ==============================================================
ids        (n,) str             ids of the utterances, in the order of the manifest
latents    (n, dim) float16     the mean of each utterance's windows, before the classifier
========== ==================== ==============================================================

Read the file with ``numpy.load(path, allow_pickle=False)``.
"""

import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from ..data.dataset import Split
from ..scoring.bootstrap import sampling_units
from ..scoring.open_set import Novelty, fit_novelty
from ..utils.files import replace_when_complete
from ..utils.randomness import keyed_generator


def choose_utterances(total: int, max_count: int, seed: int, split: str) -> np.ndarray:
    """Draw the utterances of a split whose latents are written; the same arguments give the same utterances.

    Returns (min(total, max_count),) int64, ascending.

    `total`: number of utterances in the split.
    """
    generator = keyed_generator(seed, "latents", zlib.crc32(split.encode()))
    return np.sort(generator.choice(total, size=min(total, max_count), replace=False)).astype(np.int64)


class KeptLatents:
    """Means of the latents of some utterances' windows; memory does not depend on the number of windows.

    `utterances`: (n,) int64, ascending, numbers of these utterances.
    """

    def __init__(self, utterances: np.ndarray) -> None:
        self.utterances = utterances
        self._sums: np.ndarray | None = None
        self._counts = np.zeros(len(utterances), dtype=np.int64)

    def add(self, utterances: torch.Tensor, latents: torch.Tensor) -> None:
        """Add a batch.

        `utterances`: (windows,) int64 torch.Tensor, the utterance of each. `latents`: (windows, dim) torch.Tensor;
        those of other utterances are ignored.
        """
        numbers = utterances.numpy()
        place = np.searchsorted(self.utterances, numbers)
        rows = np.flatnonzero(self.utterances[np.minimum(place, len(self.utterances) - 1)] == numbers)
        if self._sums is None:
            self._sums = np.zeros((len(self.utterances), latents.shape[1]))
        if len(rows):
            chosen = latents[torch.from_numpy(rows).to(latents.device)]
            np.add.at(self._sums, place[rows], chosen.double().cpu().numpy())
            np.add.at(self._counts, place[rows], 1)

    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the n utterances of which there are windows, (n,) int64, and their means, (n, dim) float64."""
        seen = np.flatnonzero(self._counts)
        sums = np.zeros((0, 0)) if self._sums is None else self._sums
        return self.utterances[seen], sums[seen] / self._counts[seen, None]

    def write(self, path: Path, ids: np.ndarray) -> None:
        """Write the means, complete or not at all. `ids`: (utterances of the split,) str."""
        seen, means = self.means()
        largest = float(np.finfo(np.float16).max)
        with replace_when_complete(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                ids=np.array(ids[seen].tolist(), dtype=str),
                latents=means.clip(-largest, largest).astype(np.float16),
            )


def novelty_of(dev: Split, kept: Mapping[float, KeptLatents]) -> Novelty | None:
    """Return what novelty is computed from, or None without two utterances.

    `kept`: seconds that utterances were truncated to → latents of the same utterances; infinity, not truncated, first.
    """
    latents, utterance, seconds = [], [], []
    for limit, one in kept.items():
        chosen, means = one.means()
        used = np.isinf(limit) | (dev.seconds[chosen] > limit)
        latents.append(means[used])
        utterance.append(np.flatnonzero(used))
        seconds.append(np.minimum(dev.seconds[chosen[used]], limit))
    truth = dev.target_classes[chosen]
    units = sampling_units(truth, *(dev.manifest.text_column(name)[chosen] for name in ("group", "speaker")))
    return fit_novelty(np.concatenate(latents), np.concatenate(utterance), np.concatenate(seconds), truth, units.member)
