"""Suspects: the utterances whose label is most likely wrong, by how the model kept refusing it while it learnt.

Dataset Cartography (arXiv 2009.10795, section 5) finds label errors among the utterances that are hard to learn. Here
they are ranked by surprise: the mean over the epochs of ``-log p`` of the label, less its mean over the utterances of
that label. The logarithm parts a label that the model holds for impossible from one that is merely not its first
choice, which a mean of probabilities does not; taking off the mean of the class keeps a class that is learnt late
from filling the list, as in confident learning (arXiv 1911.00068). On labels swapped on purpose
(``bench/suspects.py``) it is about as good as the plain mean of probabilities, and far better than that less its
class's mean, or than the last epoch alone.

suspects.csv has a row a suspect, the most suspicious first:

=============== ==========================================================================
column          meaning
=============== ==========================================================================
rank            from 1 up
id, audiopath   of the utterance, as in the training manifest
class           its label
preferred       the other class that the model answered most often; empty where it never did
preferred_share fraction of the epochs in which it did
surprise        in nats, above the mean of the class
confidence, variability, correctness, region    as in datamap.csv
=============== ==========================================================================
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..utils.files import replace_when_complete
from .datamap import Measures

NO_CLASS = -1
_CHUNK_UTTERANCES = 65536
# What a float32 softmax can tell from 0 beside a 1; below it, one odd epoch would outweigh all others.
_LEAST_PROBABILITY = float(np.finfo(np.float32).eps)


@dataclass(frozen=True, eq=False)
class Suspects:
    """Utterances whose labels are doubtful, the most doubtful first; every array is (K,).

    Attributes
    ----------
    utterances : int64, rows of the training manifest.
    preferred : int64, the class the model preferred, or `NO_CLASS`.
    shares : float64, fraction of the epochs in which it was the answer.
    surprise : float64, see `surprise`.
    """

    utterances: np.ndarray
    preferred: np.ndarray
    shares: np.ndarray
    surprise: np.ndarray


def find_suspects(
    probabilities: np.ndarray, predictions: np.ndarray, gold: np.ndarray, class_count: int, count: int
) -> Suspects:
    """Rank the utterances by how doubtful their label is.

    Parameters
    ----------
    probabilities : (E, N) float, of the label, an epoch a row; NaN where the audio could not be read. Who was never
        heard is no suspect.
    predictions : (E, N) int, the most probable class.
    gold : (N,) int, class number of each label.
    class_count : number of classes.
    count : how many to return, K at most.
    """
    doubt = surprise(probabilities, gold, class_count)
    # Stable, so that equally doubtful ones stay in the order of the manifest.
    first = np.argsort(-doubt, kind="stable")[:count]
    first = first[~np.isnan(doubt[first])]
    preferred, shares = preferred_classes(predictions[:, first], gold[first], class_count)
    return Suspects(utterances=first, preferred=preferred, shares=shares, surprise=doubt[first])


def surprise(probabilities: np.ndarray, gold: np.ndarray, class_count: int) -> np.ndarray:
    """Return how much less likely than its class's mean each label was to the model, (N,) float64 in nats.

    It is over the epochs in which the audio was read; NaN where it was in none.

    Parameters
    ----------
    probabilities : (E, N) float, of the label; NaN where not read.
    gold : (N,) int.
    class_count : number of classes.
    """
    if probabilities.ndim != 2 or probabilities.shape[1:] != gold.shape:  # noqa: PLR2004
        raise ValueError(f"expected probabilities (epochs, utterances) and gold (utterances,), found {gold.shape}")
    total, epochs = np.zeros((2, len(gold)))
    for row in probabilities:
        heard = ~np.isnan(row)
        total -= np.log(np.maximum(np.where(heard, row, 1).astype(np.float64), _LEAST_PROBABILITY))
        epochs += heard
    heard = epochs > 0
    mean = total / np.maximum(epochs, 1)
    sizes = np.bincount(gold[heard], minlength=class_count)
    of_class = np.bincount(gold[heard], weights=mean[heard], minlength=class_count) / np.maximum(sizes, 1)
    return np.where(heard, mean - of_class[gold], np.nan)


def preferred_classes(predictions: np.ndarray, gold: np.ndarray, class_count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the other class that was the answer most often, and in which fraction of the epochs.

    Parameters
    ----------
    predictions : (E, N) int; epochs in the order of training.
    gold : (N,) int, which is not counted.
    class_count : number of classes.

    Returns
    -------
    preferred (N,) int64, `NO_CLASS` where every answer was the label; among equally frequent ones, the one answered
    last. shares (N,) float64.
    """
    epoch_count, utterance_count = predictions.shape
    preferred = np.full(utterance_count, NO_CLASS, dtype=np.int64)
    shares = np.zeros(utterance_count)
    for start in range(0, utterance_count, _CHUNK_UTTERANCES):
        chunk = slice(start, start + _CHUNK_UTTERANCES)
        answers, labels = predictions[:, chunk], gold[chunk]
        rows = np.arange(len(labels))
        counts, last = np.zeros((2, len(labels), class_count), dtype=np.int64)
        for epoch, answer in enumerate(answers, start=1):
            counts[rows, answer] += 1
            last[rows, answer] = epoch
        counts[rows, labels] = last[rows, labels] = 0
        # By count, then by the epoch of the last such answer, which no two classes share.
        best = (counts * (epoch_count + 1) + last).argmax(axis=1)
        found = counts[rows, best]
        preferred[chunk] = np.where(found > 0, best, NO_CLASS)
        shares[chunk] = found / epoch_count
    return preferred, shares


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

    Parameters
    ----------
    path : the CSV to write.
    suspects : in the order to write.
    manifest_columns : column name → (N,) values; id, audiopath and class are needed.
    classes : names of the classes.
    measures, regions : of the N utterances.
    """
    rows = suspects.utterances
    columns: dict[str, Sequence] = {"rank": range(1, len(rows) + 1)}
    columns |= {name: manifest_columns[name][rows].tolist() for name in ("id", "audiopath", "class")}
    columns["preferred"] = ["" if number == NO_CLASS else classes[number] for number in suspects.preferred.tolist()]
    decimals = {"preferred_share": suspects.shares, "surprise": suspects.surprise}
    decimals |= {name: getattr(measures, name)[rows] for name in ("confidence", "variability", "correctness")}
    columns |= {name: [f"{value:.6f}" for value in values.tolist()] for name, values in decimals.items()}
    columns["region"] = regions[rows].tolist()
    with replace_when_complete(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
