"""Suspects: the utterances whose label is most likely wrong, by the model's predictions during training.

Dataset Cartography (arXiv 2009.10795, section 5) finds label errors among the utterances that are hard to learn. Here
they are ranked by surprise: the mean over the epochs of ``-log p`` of the label, minus its mean over the utterances of
that label. A mean of probabilities hardly separates a label with a probability near 0 from one that is merely not the
most probable; the logarithm does. Subtracting the mean of the class keeps a class that is learnt late from filling the
list, as in confident learning (arXiv 1911.00068). On labels that were swapped on purpose (``bench/suspects.py``) it is
about as good as the mean of probabilities. It is far better than that mean minus the mean of the class, and than the
last epoch only. Which labels are probably wrong, and so how many, is estimated by another model (label_noise.py).

suspects.csv has one row per suspect, the most suspicious first:

=============================================== ===========================================================
column                                          meaning
=============================================== ===========================================================
rank                                            from 1
id, audiopath                                   of the utterance, as in the training manifest
class                                           its label
preferred                                       the other class predicted most often; empty if there is none
preferred_fraction                              fraction of the epochs in which it was predicted
surprise                                        in nats, above the mean of the class
confidence, variability, correctness, region    as in datamap.csv
=============================================== ===========================================================
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..utils.files import write_csv
from .datamap import Measures
from .label_noise import LabelNoise

NO_CLASS = -1
# The precision of a float32 softmax; below it, a single epoch would outweigh all others.
_MIN_PROBABILITY = float(np.finfo(np.float32).eps)


@dataclass(frozen=True, eq=False)
class Suspects:
    """Utterances whose label is suspicious, the most suspicious first; every array is (K,)."""

    utterances: np.ndarray  # int64, rows of the training manifest
    preferred: np.ndarray  # int64, the other class predicted most often, or `NO_CLASS`
    fractions: np.ndarray  # float64, fraction of the epochs in which it was predicted
    surprise: np.ndarray  # float64, see `surprise`


def find_suspects(
    probabilities: np.ndarray, predictions: np.ndarray, target_classes: np.ndarray, class_count: int, count: int
) -> Suspects:
    """Rank the utterances by surprise.

    `probabilities`: (E, N) float, of the label, one row per epoch; NaN where the audio could not be read. An utterance
    that was never read is not ranked. `predictions`: (E, N) int, the most probable class. `target_classes`: (N,) int,
    class number of each label. `count`: maximum number of suspects to return.
    """
    scores = surprise(probabilities, target_classes, class_count)
    # Stable, so that ties keep the order of the manifest.
    first = np.argsort(-scores, kind="stable")[:count]
    first = first[~np.isnan(scores[first])]
    preferred, fractions = preferred_classes(predictions[:, first], target_classes[first], class_count)
    return Suspects(utterances=first, preferred=preferred, fractions=fractions, surprise=scores[first])


def estimated_suspects(
    noise: LabelNoise, probabilities: np.ndarray, predictions: np.ndarray, target_classes: np.ndarray, class_count: int
) -> Suspects:
    """Return the utterances whose label is probably wrong, with the most probable class; see `find_suspects`."""
    first = np.argsort(noise.right, kind="stable")[: np.count_nonzero(noise.is_wrong)]
    preferred = noise.preferred[first]
    scores = surprise(probabilities, target_classes, class_count)
    return Suspects(first, preferred, (predictions[:, first] == preferred).mean(axis=0), scores[first])


def surprise(probabilities: np.ndarray, target_classes: np.ndarray, class_count: int) -> np.ndarray:
    """Return the mean ``-log p`` of each label, minus its mean over the class, (N,) float64 in nats.

    The mean is over the epochs in which the audio was read; NaN if there is none.

    `probabilities`: (E, N) float, of the label; NaN where not read. `target_classes`: (N,) int.
    """
    total, epochs = np.zeros((2, len(target_classes)))
    for row in probabilities:
        is_read = ~np.isnan(row)
        total -= np.log(np.maximum(np.where(is_read, row, 1).astype(np.float64), _MIN_PROBABILITY))
        epochs += is_read
    is_read = epochs > 0
    mean = total / np.maximum(epochs, 1)
    sizes = np.bincount(target_classes[is_read], minlength=class_count)
    of_class = np.bincount(target_classes[is_read], weights=mean[is_read], minlength=class_count) / np.maximum(sizes, 1)
    return np.where(is_read, mean - of_class[target_classes], np.nan)


def preferred_classes(
    predictions: np.ndarray, target_classes: np.ndarray, class_count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the other class that was predicted most often, and the fraction of the epochs in which it was.

    Returns the class, (N,) int64, `NO_CLASS` where every prediction was the label; ties go to the class predicted last;
    and the fraction, (N,) float64.

    `predictions`: (E, N) int; epochs in the order of training. `target_classes`: (N,) int; these predictions are not
    counted.
    """
    epoch_count, utterance_count = predictions.shape
    rows = np.arange(utterance_count)
    counts, last = np.zeros((2, utterance_count, class_count), dtype=np.int64)
    for epoch, prediction in enumerate(predictions, start=1):
        counts[rows, prediction] += 1
        last[rows, prediction] = epoch
    counts[rows, target_classes] = last[rows, target_classes] = 0
    # By count, then by the last epoch of such a prediction, which differs between classes.
    best = (counts * (epoch_count + 1) + last).argmax(axis=1)
    found = counts[rows, best]
    return np.where(found > 0, best, NO_CLASS), found / epoch_count


def write_suspects(
    path: Path | str,
    suspects: Suspects,
    *,
    manifest_columns: Mapping[str, np.ndarray],
    classes: Sequence[str],
    measures: Measures,
    regions: np.ndarray,
) -> None:
    """Write suspects.csv, complete or not at all.

    `manifest_columns`: column name → (N,) values; id, audiopath and class are needed. `measures`, `regions`: of the N
    utterances.
    """
    rows = suspects.utterances
    columns: dict[str, Sequence] = {"rank": range(1, len(rows) + 1)}
    columns |= {name: manifest_columns[name][rows].tolist() for name in ("id", "audiopath", "class")}
    columns["preferred"] = ["" if number == NO_CLASS else classes[number] for number in suspects.preferred.tolist()]
    decimals = {"preferred_fraction": suspects.fractions, "surprise": suspects.surprise}
    decimals |= {name: getattr(measures, name)[rows] for name in ("confidence", "variability", "correctness")}
    columns |= {name: [f"{value:.6f}" for value in values.tolist()] for name, values in decimals.items()}
    columns["region"] = regions[rows].tolist()
    write_csv(path, columns, zip(*columns.values(), strict=True))
