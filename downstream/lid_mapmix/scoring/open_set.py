"""Open set: recordings of none of the classes, and recordings unlike all that a model was trained on.

The novelty of a recording is the cosine distance of its latent to the nearest latent of dev (Sun et al., "Out-of-
Distribution Detection with Deep Nearest Neighbors", arXiv 2204.06507, with one neighbour), divided by the distance that
5 % of dev exceed at about its duration. Above 1 the recording is unlike training data, for which dev stands: latents
of training utterances are nearer to each other than those of new ones. The distance of a dev utterance is that to other
speakers, as if its own were unknown. bench/unlike.py compares it with other scores.

The cost is that of NIST LRE09 (evaluation plan, section 3), on the scale of detection.py. Each class is a target with
prior 0.5; out-of-set recordings have the prior P_oos, and the other classes equal parts of the rest.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..utils.errors import UserError, is_of_the_system
from ..utils.files import replace_when_complete
from .choices import P_OOS

_QUANTILE = 0.95
# Number of dev distances, at similar durations, that the quantile is one of.
_NEAR = 100
_FORMAT = "lid_mapmix novelty 1"


@dataclass(frozen=True, eq=False)
class Novelty:
    """The latents of n dev utterances, and m of their distances to others."""

    latents: np.ndarray  # (n, dim) float32, of length 1
    # (m,) float32 each: distances of dev utterances, those n and then truncated ones, and their durations, above 0.
    distances: np.ndarray
    seconds: np.ndarray

    def __call__(self, latents: np.ndarray, seconds: np.ndarray) -> np.ndarray:
        """Return novelties, (N,) float64, of latents (N, dim) float and durations (N,) float."""
        nearest = (_normalised(latents) @ self.latents.T).max(axis=1)
        return np.maximum(1 - nearest, 0) / self.usual(seconds)

    @property
    def of_dev(self) -> np.ndarray:
        """Novelties of the whole dev utterances, (n,) float64."""
        count = len(self.latents)
        return self.distances[:count] / self.usual(self.seconds[:count])

    def usual(self, seconds: np.ndarray) -> np.ndarray:
        """Return the distances that few dev utterances of about these durations exceed, (N,) float64."""
        count, found = min(_NEAR, len(self.seconds)), []
        for duration in np.asarray(seconds).tolist():
            gaps = np.abs(np.log(self.seconds) - np.log(duration))
            near = self.distances[gaps <= np.partition(gaps, count - 1)[count - 1]]
            found.append(np.quantile(near, _QUANTILE, method="higher"))
        return np.maximum(np.array(found, dtype=np.float64), 1e-6)


def fit_novelty(
    latents: np.ndarray, utterance: np.ndarray, seconds: np.ndarray, truth: np.ndarray, units: np.ndarray
) -> Novelty | None:
    """Return what novelty is computed from, or None without two utterances.

    `latents`: (T, dim) float, of the n whole dev utterances in order, then of truncated ones. `utterance`, `seconds`:
    (T,), the number of each one's utterance, 0 … n − 1, and its duration. `truth`: (n,) int, class numbers. `units`:
    (n,) int; utterances of one unit, a speaker for example, are not compared. Those of a class of one unit are: then
    no distance to other speakers is known.
    """
    count = len(truth)
    if count <= 1:
        return None
    is_alone = np.bincount(np.unique(np.stack([truth, units]), axis=1)[0])[truth] == 1
    rows = _normalised(latents)
    whole, distances = rows[:count], np.empty(len(rows), dtype=np.float32)
    for number in range(count):
        others = np.arange(count) != number if is_alone[number] else units != units[number]
        own = utterance == number
        distances[own] = 1 - (rows[own] @ whole.T)[:, others].max(axis=1)
    return Novelty(whole, distances, np.asarray(seconds, dtype=np.float32))


def write_novelty(path: Path, novelty: Novelty) -> None:
    """Write safetensors, complete or not at all; latents in float16."""
    from safetensors.numpy import save  # noqa: PLC0415 - most commands do not need it

    tensors = {**vars(novelty), "latents": novelty.latents.astype(np.float16)}
    with replace_when_complete(path) as temporary:
        # safetensors itself writes files that only their owner can read.
        temporary.write_bytes(save(tensors, metadata={"format": _FORMAT}))


def read_novelty(path: Path, dim: int) -> Novelty | None:
    """Read what `write_novelty` wrote; None if there is no such file.

    Raises UserError: the file is damaged, or of latents of another size. `dim`: size of the model's latents.
    """
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415

    if not path.is_file():
        return None
    try:
        with safe_open(path, "numpy") as file:
            if (file.metadata() or {}).get("format") != _FORMAT:
                raise ValueError("another format")
            values = [file.get_tensor(name).astype(np.float32) for name in ("latents", "distances", "seconds")]
        latents, distances, seconds = values
        is_flat = distances.ndim == 1 and distances.shape == seconds.shape
        fits = is_flat and latents.shape[1:] == (dim,) and len(latents) <= len(distances)
        if not fits or not all(each.size and np.isfinite(each).all() for each in values) or (seconds <= 0).any():
            raise ValueError(f"numbers that do not match, are not finite, or are not of latents of size {dim}")
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        if is_of_the_system(error):
            raise
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: expected the latents of dev, found: {reason}. Evaluate dev again.") from None
    return Novelty(_normalised(latents), distances, seconds)


def auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    """Return the probability that an out-of-set recording scores higher than an in-set one; equal scores count half.

    This is the area under the ROC curve; NaN if either is empty. `inside`, `outside`: (N,) and (M,) float.
    """
    if not len(inside) or not len(outside):
        return float("nan")
    below, not_above = (np.searchsorted(np.sort(inside), outside, side=side).mean() for side in ("left", "right"))
    return float((below + not_above) / 2 / len(inside))


def best_threshold(inside: np.ndarray, outside: np.ndarray, p_oos: float = P_OOS) -> float:
    """Return the score above which to reject: the one of least cost (1 − P_oos) P_rejected + P_oos P_accepted.

    `inside`, `outside`: (N,) and (M,) float, not empty. `p_oos`: prior of out-of-set recordings.
    """
    candidates = np.concatenate([[-np.inf], np.unique(np.concatenate([inside, outside]))])
    rejected = 1 - np.searchsorted(np.sort(inside), candidates, side="right") / len(inside)
    accepted = np.searchsorted(np.sort(outside), candidates, side="right") / len(outside)
    return float(candidates[np.argmin((1 - p_oos) * rejected + p_oos * accepted)])


def open_set_cost(answers: np.ndarray, truth: np.ndarray, p_oos: float = P_OOS) -> float:
    """Return the cost of answers; rejecting everything costs 1. NaN without two classes or out-of-set recordings.

    `answers`, `truth`: (N,) int, class numbers; −1 for a rejected and for an out-of-set recording. Classes absent from
    the truth are not targets.
    """
    answers, truth = np.asarray(answers), np.asarray(truth)
    present = np.unique(truth[truth >= 0])
    if len(present) <= 1 or (truth >= 0).all():
        return float("nan")
    # The fraction of each class, and of what is of none, that is answered by each class.
    *accepted, outside = ((answers[truth == name][:, None] == present).mean(axis=0) for name in (*present, -1))
    right = np.diagonal(accepted)
    others = (np.sum(accepted, axis=0) - right) / (len(present) - 1)
    return float((0.5 * (1 - right) + max(0.0, 0.5 - p_oos) * others + p_oos * outside).mean() / 0.5)


def _normalised(latents: np.ndarray) -> np.ndarray:
    values = np.asarray(latents, dtype=np.float64)
    return (values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)).astype(np.float32)
