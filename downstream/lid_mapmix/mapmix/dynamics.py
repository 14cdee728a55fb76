"""Training dynamics: predictions for the training utterances, recorded epoch by epoch, and their files.

:class:`EpochRecorder` follows Dataset Cartography (arXiv 2009.10795, section 2) and Map-Mix (arXiv 2302.08229,
section 2): it records the probability of the target class and the predicted class, from the forward pass of the
training step.

The file of an epoch, for example ``epoch-0003.npz``, has these arrays:

============== ================== ================================================================
array          shape and type     meaning
============== ================== ================================================================
indices        (count,) int32     row of the training manifest
probabilities  (count,) float32   probability of the target class; -1 where the audio could not be read
predictions    (count,) uint8     the most probable class (uint16 where there are more than 256 classes)
softmax_sums   (C, C) float64     row c: sum of the softmax rows of the utterances of class c
softmax_counts (C,) int64         number of rows in each sum
fingerprint    () str             digest of the manifest and the labels
============== ================== ================================================================
"""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..utils.errors import UserError, is_of_the_system
from ..utils.files import replace_when_complete
from ..utils.run_folder import epoch_path, epoch_paths

# Probability of an utterance whose audio could not be read in an epoch.
NOT_READ = -1.0
_ROUNDING = 1e-5  # a float32 softmax may exceed 1 by this
_OTHER_DATA = "Pass the folder of the recorded data by --data, or record again in another folder."
_REMEDY = "Delete that folder and train the variant datamap again."


class EpochRecorder:
    """The dynamics of one epoch: 9 bytes per utterance, allocated once. Every epoch needs a new recorder.

    `utterance_count`: utterances in the training manifest, the maximum that can be added.
    """

    def __init__(self, utterance_count: int, class_count: int) -> None:
        self.utterance_count = utterance_count
        self.class_count = class_count
        self.count = 0  # utterances added so far
        self._indices = np.zeros(utterance_count, dtype=np.int32)
        self._probabilities = np.zeros(utterance_count, dtype=np.float32)
        self._predictions = np.zeros(utterance_count, dtype=np.min_scalar_type(class_count - 1))
        self._softmax_sums = np.zeros((class_count, class_count), dtype=np.float64)
        self._softmax_counts = np.zeros(class_count, dtype=np.int64)

    def add(
        self,
        indices: torch.Tensor | np.ndarray | Sequence[int],
        target_classes: torch.Tensor | np.ndarray | Sequence[int],
        probabilities: torch.Tensor | np.ndarray,
        is_read: torch.Tensor | np.ndarray | None = None,
    ) -> None:
        """Add one training step.

        `indices`: (batch,) int, rows of the training manifest. `target_classes`: (batch,) int, class number of each.
        `probabilities`: (batch, classes) float32, softmax computed in float32; on any device. `is_read`: (batch,) bool,
        false where the audio could not be read and the probabilities are of another utterance: `NOT_READ` is recorded
        as the probability. None if all were read.
        """
        rows, target_classes = _to_numpy(indices), _to_numpy(target_classes)
        softmax = _to_numpy(probabilities).astype(np.float32, copy=False)
        batch = len(rows)
        new = slice(self.count, self.count + batch)
        self._indices[new] = rows
        own = np.ones(batch, dtype=bool) if is_read is None else _to_numpy(is_read)
        self._probabilities[new] = np.where(own, softmax[np.arange(batch), target_classes], NOT_READ)
        self._predictions[new] = softmax.argmax(axis=1)
        np.add.at(self._softmax_sums, target_classes[own], softmax[own].astype(np.float64))
        np.add.at(self._softmax_counts, target_classes[own], 1)
        self.count += batch

    @property
    def is_complete(self) -> bool:
        """Whether every utterance has been added."""
        return self.count == self.utterance_count

    def state(self) -> dict[str, Any]:
        """Return a copy of everything added so far, for a checkpoint (loads with ``weights_only=True``)."""
        return {
            "utterance_count": self.utterance_count,
            "class_count": self.class_count,
            **{name: torch.from_numpy(array.copy()) for name, array in self.arrays().items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Replace everything added so far by what `state` returned.

        Raises UserError: the state is of a run with another number of utterances or classes.
        """
        found = (state["utterance_count"], state["class_count"])
        if found != (self.utterance_count, self.class_count):
            raise UserError(
                f"expected the dynamics of {self.utterance_count} utterances and {self.class_count} classes, found "
                f"{found[0]} and {found[1]} in the checkpoint. Resume with the manifest and labels it was trained on."
            )
        self.count = len(state["indices"])
        for name, array in self.arrays().items():
            array[...] = state[name].cpu().numpy()

    def arrays(self) -> dict[str, np.ndarray]:
        """Return views of the filled part, as the file of an epoch has it."""
        return {
            "indices": self._indices[: self.count],
            "probabilities": self._probabilities[: self.count],
            "predictions": self._predictions[: self.count],
            "softmax_sums": self._softmax_sums,
            "softmax_counts": self._softmax_counts,
        }


@dataclass(frozen=True, eq=False)
class Dynamics:
    """The complete epochs of a run: E epochs, N utterances and C classes."""

    epochs: np.ndarray  # (E,) int64, ascending
    probabilities: np.ndarray  # (E, N) float32, of the target class; NaN where the audio could not be read
    # (E, N) unsigned int, the most probable class; the target class where the audio could not be read.
    predictions: np.ndarray
    correct: np.ndarray  # (E, N) bool, whether the prediction is the target class and the audio was read
    softmax_sums: np.ndarray  # (C, C) float64, row c the sum of the softmax rows of class c over these epochs
    softmax_counts: np.ndarray  # (C,) int64, number of rows in each sum
    # Epochs that are not used, because they do not have every utterance exactly once.
    incomplete_epochs: tuple[int, ...]


def write_epoch(directory: Path | str, epoch: int, recorder: EpochRecorder, digest: str) -> Path:
    """Write an epoch, complete or not at all; writing it twice changes nothing.

    `directory`: of the dynamics; created if absent. `epoch`: not negative. `recorder`: the dynamics of the epoch.
    `digest`: of manifest and labels, so that epochs of different data are never joined.
    """
    path = epoch_path(directory, epoch)
    with replace_when_complete(path) as temporary, temporary.open("wb") as file:
        np.savez(file, fingerprint=np.array(digest), **recorder.arrays())  # type: ignore[arg-type]
    return path


def read_dynamics(
    directory: Path | str,
    target_classes: np.ndarray,
    class_count: int,
    digest: str,
    *,
    skip_first: int = 0,
    keep_first: int | None = None,
) -> Dynamics:
    """Join the epochs of a run.

    An epoch that does not have every utterance exactly once is not used; its number is returned.

    Raises UserError: there is no complete epoch, or all are skipped; a file is damaged or of other data; a value is not
    a probability.

    `directory`: of the dynamics. `target_classes`: (N,) int, class number of each utterance of the training manifest.
    `digest`: of manifest and labels; every epoch must have it. `skip_first`: number of complete epochs to skip at the
    start, from 0. `keep_first`: maximum number of epochs to use after those, from 1; None for all.
    """
    directory = Path(directory)
    paths = epoch_paths(directory)
    utterance_count = len(target_classes)
    probabilities = np.empty((len(paths), utterance_count), dtype=np.float32)
    predictions = np.empty((len(paths), utterance_count), dtype=np.min_scalar_type(class_count - 1))
    softmax_sums = np.zeros((class_count, class_count), dtype=np.float64)
    softmax_counts = np.zeros(class_count, dtype=np.int64)
    complete = 0
    kept: list[int] = []
    incomplete: list[int] = []
    for epoch, path in paths.items():
        part = read_epoch(path, utterance_count, class_count, digest)
        if not (np.bincount(part["indices"], minlength=utterance_count) == 1).all():
            incomplete.append(epoch)
            continue
        complete += 1
        row = len(kept)
        if complete <= skip_first or row == keep_first:
            continue
        kept.append(epoch)
        probabilities[row], predictions[row] = epoch_rows(part, target_classes)
        softmax_sums += part["softmax_sums"]
        softmax_counts += part["softmax_counts"]
    if not complete:
        found = f"only incomplete epochs ({', '.join(map(str, incomplete))})" if incomplete else "none"
        raise UserError(
            f"{directory}: expected the dynamics of at least one complete epoch over {utterance_count} utterances, "
            f"found {found}. Train the variant datamap for at least one whole epoch."
        )
    if not kept:
        raise UserError(
            f"{directory}: expected an epoch after the first {skip_first}, found {complete} complete epochs. "
            "Lower --skip-first."
        )
    return Dynamics(
        epochs=np.array(kept, dtype=np.int64),
        probabilities=probabilities[: len(kept)],
        predictions=predictions[: len(kept)],
        correct=(predictions[: len(kept)] == target_classes) & ~np.isnan(probabilities[: len(kept)]),
        softmax_sums=softmax_sums,
        softmax_counts=softmax_counts,
        incomplete_epochs=tuple(incomplete),
    )


def epoch_rows(part: Mapping[str, np.ndarray], target_classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the predictions of a complete epoch in the order of the manifest.

    Returns (N,) float32 probabilities, NaN where the audio could not be read, and (N,) predictions, the target class
    there.

    `part`: its arrays, as in its file. `target_classes`: (N,) int, class number of each utterance.
    """
    rows, is_read = part["indices"], part["probabilities"] != NOT_READ
    probabilities = np.empty(len(target_classes), np.float32)
    predictions = np.empty(len(target_classes), part["predictions"].dtype)
    probabilities[rows] = np.where(is_read, part["probabilities"], np.float32(np.nan))
    predictions[rows] = np.where(is_read, part["predictions"], target_classes[rows].astype(predictions.dtype))
    return probabilities, predictions


def read_epoch(path: Path, utterance_count: int, class_count: int, digest: str) -> dict[str, np.ndarray]:
    """Read an epoch. Raises UserError: it is damaged or of other data, or a value is not a probability."""
    try:
        with np.load(path, allow_pickle=False) as file:
            part = {name: file[name] for name in file.files}
        found = str(part["fingerprint"])
        indices, probabilities, predictions = part["indices"], part["probabilities"], part["predictions"]
        counts = part["softmax_counts"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        if is_of_the_system(error):
            raise
        raise UserError(f"{path}: expected an epoch of dynamics, found a damaged file ({error}). {_REMEDY}") from None
    if found != digest:
        raise UserError(
            f"{path}: expected dynamics of this manifest and these labels ({digest}), "
            f"found dynamics of other data ({found}). {_OTHER_DATA}"
        )
    in_range = not len(indices) or (indices.min() >= 0 and indices.max() < utterance_count)
    if not in_range or len(counts) != class_count or predictions.max(initial=0) >= class_count:
        raise UserError(
            f"{path}: expected {utterance_count} utterances and {class_count} classes, found others. {_REMEDY}"
        )
    is_probability = (probabilities >= 0) & (probabilities <= 1 + _ROUNDING)
    if not (is_probability | (probabilities == NOT_READ)).all():  # NaN fails all
        raise UserError(
            f"{path}: expected probabilities from 0 to 1, found other numbers: the training has diverged. "
            "Lower the learning rate, delete that folder and train the variant datamap again."
        )
    return part


def _to_numpy(values: torch.Tensor | np.ndarray | Sequence[int]) -> np.ndarray:
    return torch.as_tensor(values).detach().cpu().numpy()
