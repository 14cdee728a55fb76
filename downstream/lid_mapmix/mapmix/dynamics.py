"""Training dynamics: predictions for the training utterances, of one epoch.

:class:`EpochRecorder` follows Dataset Cartography (arXiv 2009.10795, section 2) and Map-Mix (arXiv 2302.08229,
section 2): it records the probability of the target class and the predicted class, from the forward pass of the
training step.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..utils.errors import UserError

# Probability of an utterance whose audio could not be read in an epoch.
NOT_READ = -1.0


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

        Parameters
        ----------
        indices : (batch,) int, rows of the training manifest.
        target_classes : (batch,) int, class number of each.
        probabilities : (batch, classes) float32, softmax computed in float32; on any device.
        is_read : (batch,) bool, false where the audio could not be read and the probabilities are of another
            utterance: `NOT_READ` is recorded as the probability. None if all were read.
        """
        rows, target_classes = _to_numpy(indices), _to_numpy(target_classes)
        softmax = _to_numpy(probabilities).astype(np.float32, copy=False)
        batch = len(rows)
        if target_classes.shape != (batch,) or softmax.shape != (batch, self.class_count):
            raise ValueError(
                f"expected target_classes ({batch},) and probabilities ({batch}, {self.class_count}), "
                f"found {target_classes.shape} and {softmax.shape}"
            )
        if batch == 0:
            return
        for name, values, limit in (
            ("indices", rows, self.utterance_count),
            ("target_classes", target_classes, self.class_count),
        ):
            if values.min() < 0 or values.max() >= limit:
                raise ValueError(f"expected {name} from 0 to {limit - 1}, found {values.min()} to {values.max()}")
        if self.count + batch > self.utterance_count:
            raise ValueError(
                f"expected at most {self.utterance_count} utterances per epoch, found {self.count + batch}; "
                "add each utterance once, and make a new recorder for each epoch"
            )
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
        """Return views of the filled part, as :mod:`.dynamics_files` writes it."""
        return {
            "indices": self._indices[: self.count],
            "probabilities": self._probabilities[: self.count],
            "predictions": self._predictions[: self.count],
            "softmax_sums": self._softmax_sums,
            "softmax_counts": self._softmax_counts,
        }


def _to_numpy(values: torch.Tensor | np.ndarray | Sequence[int]) -> np.ndarray:
    return torch.as_tensor(values).detach().cpu().numpy()
