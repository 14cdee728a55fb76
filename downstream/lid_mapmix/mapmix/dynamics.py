"""Training dynamics: what every training step says of its utterances, kept per epoch.

Follows Dataset Cartography (arXiv 2009.10795, section 2) and Map-Mix (arXiv 2302.08229, section 2): the probability
of the gold class and the answer, from the training step's own forward pass.

Each epoch is a file, ``epoch-0003.npz``:

============== ================== ================================================================
array          shape and type     meaning
============== ================== ================================================================
indices        (count,) int32     row of the training manifest
probabilities  (count,) float32   probability of the gold class
predictions    (count,) uint8     the most probable class (uint16 where there are more than 256 classes)
softmax_sums   (C, C) float64     row c: sum of the softmax rows of the utterances of class c
softmax_counts (C,) int64         how many rows went into each sum
fingerprint    () str             of the manifest and the labels
============== ================== ================================================================
"""

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import UserError
from ..files import replace_when_complete

_FILE_NAME = re.compile(r"epoch-(\d+)\.npz")
_ROUNDING = 1e-5  # by which a float32 softmax may exceed 1
_REMEDY = "Delete that folder and train the variant datamap again."


@dataclass(frozen=True, eq=False)
class Dynamics:
    """The complete epochs of a run, E of them, over N utterances and C classes.

    Attributes
    ----------
    epochs : (E,) int64, ascending.
    probabilities : (E, N) float32, of the gold class.
    predictions : (E, N) unsigned int, the most probable class.
    correct : (E, N) bool, the prediction is the gold class.
    softmax_sums : (C, C) float64, row c the sum of the softmax rows of class c over these epochs.
    softmax_counts : (C,) int64, how many rows each sum has.
    incomplete_epochs : epochs left out, because they do not have every utterance exactly once.
    """

    epochs: np.ndarray
    probabilities: np.ndarray
    predictions: np.ndarray
    correct: np.ndarray
    softmax_sums: np.ndarray
    softmax_counts: np.ndarray
    incomplete_epochs: tuple[int, ...]


class EpochRecorder:
    """The dynamics of one epoch: 9 bytes an utterance, allocated once; use a new one each epoch.

    Parameters
    ----------
    utterance_count : utterances in the training manifest, the most that can be added.
    class_count : number of classes.
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
        gold: torch.Tensor | np.ndarray | Sequence[int],
        probabilities: torch.Tensor | np.ndarray,
    ) -> None:
        """Add one training step.

        Parameters
        ----------
        indices : (batch,) int, rows of the training manifest.
        gold : (batch,) int, class number of each.
        probabilities : (batch, classes) float32, softmax computed in float32; on any device.
        """
        rows, gold_classes = _to_numpy(indices), _to_numpy(gold)
        softmax = _to_numpy(probabilities).astype(np.float32, copy=False)
        batch = len(rows)
        if gold_classes.shape != (batch,) or softmax.shape != (batch, self.class_count):
            raise ValueError(
                f"expected gold ({batch},) and probabilities ({batch}, {self.class_count}), "
                f"found {gold_classes.shape} and {softmax.shape}"
            )
        if batch == 0:
            return
        for name, values, limit in (("indices", rows, self.utterance_count), ("gold", gold_classes, self.class_count)):
            if values.min() < 0 or values.max() >= limit:
                raise ValueError(f"expected {name} from 0 to {limit - 1}, found {values.min()} to {values.max()}")
        if self.count + batch > self.utterance_count:
            raise ValueError(
                f"expected at most {self.utterance_count} utterances an epoch, found {self.count + batch}; "
                "each is added once, and each epoch has a recorder of its own"
            )
        new = slice(self.count, self.count + batch)
        self._indices[new] = rows
        self._probabilities[new] = softmax[np.arange(batch), gold_classes]
        self._predictions[new] = softmax.argmax(axis=1)
        np.add.at(self._softmax_sums, gold_classes, softmax.astype(np.float64))
        np.add.at(self._softmax_counts, gold_classes, 1)
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
            **{name: torch.from_numpy(array.copy()) for name, array in self._arrays().items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned, in place of what was added here.

        Raises
        ------
        UserError : the state is of a run with another number of utterances or classes.
        """
        found = (state["utterance_count"], state["class_count"])
        if found != (self.utterance_count, self.class_count):
            raise UserError(
                f"expected the dynamics of {self.utterance_count} utterances and {self.class_count} classes, found "
                f"{found[0]} and {found[1]} in the checkpoint. Resume with the manifest and labels it was trained on."
            )
        self.count = len(state["indices"])
        for name, array in self._arrays().items():
            array[...] = state[name].cpu().numpy()

    def write(self, directory: Path | str, epoch: int, fingerprint: str) -> Path:
        """Write the epoch, complete or not at all; writing it twice changes nothing.

        Parameters
        ----------
        directory : of the dynamics; made where absent.
        epoch : not negative.
        fingerprint : names the manifest and labels, so that epochs of different data are never joined.
        """
        path = Path(directory) / f"epoch-{epoch:04d}.npz"
        with replace_when_complete(path) as temporary, temporary.open("wb") as file:
            np.savez(file, fingerprint=np.array(fingerprint), **self._arrays())  # type: ignore[arg-type]
        return path

    def _arrays(self) -> dict[str, np.ndarray]:
        """Return views of the part that is filled."""
        return {
            "indices": self._indices[: self.count],
            "probabilities": self._probabilities[: self.count],
            "predictions": self._predictions[: self.count],
            "softmax_sums": self._softmax_sums,
            "softmax_counts": self._softmax_counts,
        }


def read_dynamics(
    directory: Path | str,
    gold: np.ndarray,
    class_count: int,
    fingerprint: str,
    *,
    skip_first: int = 0,
    keep_first: int | None = None,
) -> Dynamics:
    """Join the epochs of a run.

    An epoch that does not have every utterance exactly once is left out and listed.

    Parameters
    ----------
    directory : where `EpochRecorder.write` put them.
    gold : (N,) int, class number of each utterance of the training manifest.
    class_count : number of classes.
    fingerprint : of manifest and labels; every epoch must have it.
    skip_first : how many of the complete epochs to leave out at the start, from 0 up.
    keep_first : how many of those that follow to take, from 1 up; None for all.

    Raises
    ------
    UserError : no complete epoch, or none but those skipped; a file that is damaged or of other data; probabilities
        that are none.
    """
    if skip_first < 0 or (keep_first is not None and keep_first < 1):
        raise ValueError(f"expected skip_first from 0 up and keep_first from 1 up, found {skip_first}, {keep_first}")
    directory = Path(directory)
    names = {path: _FILE_NAME.fullmatch(path.name) for path in directory.glob("epoch-*.npz")}
    paths = {int(name[1]): path for path, name in names.items() if name}
    utterance_count = len(gold)
    probabilities = np.empty((len(paths), utterance_count), dtype=np.float32)
    predictions = np.empty((len(paths), utterance_count), dtype=np.min_scalar_type(class_count - 1))
    softmax_sums = np.zeros((class_count, class_count), dtype=np.float64)
    softmax_counts = np.zeros(class_count, dtype=np.int64)
    complete: list[int] = []
    kept: list[int] = []
    incomplete: list[int] = []
    for epoch, path in sorted(paths.items()):
        part = _read_epoch(path, utterance_count, class_count, fingerprint)
        if not _has_each_once(part["indices"], utterance_count):
            incomplete.append(epoch)
            continue
        complete.append(epoch)
        row = len(kept)
        if len(complete) <= skip_first or row == keep_first:
            continue
        kept.append(epoch)
        probabilities[row, part["indices"]] = part["probabilities"]
        predictions[row, part["indices"]] = part["predictions"]
        softmax_sums += part["softmax_sums"]
        softmax_counts += part["softmax_counts"]
    if not complete:
        found = f"only incomplete ones ({', '.join(map(str, incomplete))})" if incomplete else "none"
        raise UserError(
            f"{directory}: expected the dynamics of at least one complete epoch over {utterance_count} utterances, "
            f"found {found}. Train the variant datamap for at least one whole epoch first."
        )
    if not kept:
        raise UserError(
            f"{directory}: expected an epoch after the first {skip_first}, found {len(complete)} complete in all. "
            "Skip fewer."
        )
    return Dynamics(
        epochs=np.array(kept, dtype=np.int64),
        probabilities=probabilities[: len(kept)],
        predictions=predictions[: len(kept)],
        correct=predictions[: len(kept)] == gold,
        softmax_sums=softmax_sums,
        softmax_counts=softmax_counts,
        incomplete_epochs=tuple(incomplete),
    )


def _to_numpy(values: torch.Tensor | np.ndarray | Sequence[int]) -> np.ndarray:
    return torch.as_tensor(values).detach().cpu().numpy()


def _has_each_once(indices: np.ndarray, utterance_count: int) -> bool:
    seen = np.zeros(utterance_count, dtype=bool)
    seen[indices] = True
    return len(indices) == utterance_count and bool(seen.all())


def _read_epoch(path: Path, utterance_count: int, class_count: int, fingerprint: str) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            part = {name: file[name] for name in file.files}
        found = str(part["fingerprint"])
        indices, probabilities, predictions = part["indices"], part["probabilities"], part["predictions"]
        counts = part["softmax_counts"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: expected an epoch of dynamics, found a damaged file ({error}). {_REMEDY}") from None
    if found != fingerprint:
        raise UserError(
            f"{path}: expected the dynamics of this manifest and these labels ({fingerprint}), "
            f"found those of others ({found}). {_REMEDY}"
        )
    if len(counts) != class_count:
        raise UserError(f"{path}: expected {class_count} classes, found {len(counts)}. {_REMEDY}")
    if len(indices) and (indices.min() < 0 or indices.max() >= utterance_count):
        raise UserError(
            f"{path}: expected utterances 0 to {utterance_count - 1}, found {indices.min()} to {indices.max()}. "
            f"{_REMEDY}"
        )
    if len(predictions) and predictions.max() >= class_count:
        raise UserError(f"{path}: expected classes 0 to {class_count - 1}, found {predictions.max()}. {_REMEDY}")
    if not ((probabilities >= 0) & (probabilities <= 1 + _ROUNDING)).all():  # NaN fails both
        raise UserError(
            f"{path}: expected probabilities from 0 to 1, found others: the training has diverged. "
            "Lower the learning rate, delete that folder and train the variant datamap again."
        )
    return part
