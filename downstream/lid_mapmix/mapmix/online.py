"""Dynamics of a run that needs them while it trains: running means, so that regions can be drawn anew each epoch.

The data map of Map-Mix (arXiv 2302.08229) takes a run of its own. Here the same run watches itself: latent mixup has
the latents of anchors and partners at hand, and the classifier's answer to each, unmixed, costs next to nothing.
"""

from typing import Any

import numpy as np
import torch

from ..utils.errors import UserError


class RunningDynamics:
    """Means over all observations of each utterance so far; 20 bytes an utterance, allocated once.

    Parameters
    ----------
    utterance_count : utterances in the training manifest.
    class_count : number of classes.
    """

    def __init__(self, utterance_count: int, class_count: int) -> None:
        self._counts = np.zeros(utterance_count, dtype=np.int32)
        self._sums = np.zeros(utterance_count, dtype=np.float64)
        self._squares = np.zeros(utterance_count, dtype=np.float64)
        self._softmax_sums = np.zeros((class_count, class_count), dtype=np.float64)

    def add(self, indices: np.ndarray, gold: np.ndarray, softmax: np.ndarray) -> None:
        """Add observations; an utterance may be among them several times.

        Parameters
        ----------
        indices : (rows,) int, rows of the training manifest.
        gold : (rows,) int, class number of each.
        softmax : (rows, classes) float, the model's answer to each, unmixed.
        """
        probabilities = softmax[np.arange(len(gold)), gold].astype(np.float64)
        np.add.at(self._counts, indices, 1)
        np.add.at(self._sums, indices, probabilities)
        np.add.at(self._squares, indices, probabilities**2)
        np.add.at(self._softmax_sums, gold, softmax.astype(np.float64))

    @property
    def confidence(self) -> np.ndarray:
        """Mean probability of the gold class, (utterances,) float64; NaN where never heard."""
        return self._sums / self._heard

    @property
    def variability(self) -> np.ndarray:
        """Standard deviation of that probability, population, (utterances,) float64; NaN where never heard."""
        return np.sqrt(np.maximum(self._squares / self._heard - self.confidence**2, 0))

    @property
    def likeness(self) -> np.ndarray:
        """Sum of the softmax rows of each class, (classes, classes) float64; confidence labels read it as likeness."""
        return self._softmax_sums.copy()

    def state(self) -> dict[str, Any]:
        """Return a copy of everything added so far, for a checkpoint (loads with ``weights_only=True``)."""
        return {name: torch.from_numpy(array.copy()) for name, array in self._arrays().items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned, in place of what was added here.

        Raises
        ------
        UserError : the state is of a run with another number of utterances or classes.
        """
        for name, array in self._arrays().items():
            if (found := tuple(state[name].shape)) != array.shape:
                raise UserError(
                    f"expected the running dynamics {array.shape} of this manifest, found {found} in the checkpoint. "
                    "Resume with the manifest and labels it was trained on."
                )
        for name, array in self._arrays().items():
            array[...] = state[name].numpy()

    @property
    def _heard(self) -> np.ndarray:
        """How often each has been heard, (utterances,) float64; NaN for never, which is no measure of any."""
        return np.where(self._counts > 0, self._counts, np.nan)

    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            "counts": self._counts,
            "sums": self._sums,
            "squares": self._squares,
            "softmax_sums": self._softmax_sums,
        }
