"""Suspects: the utterances whose label is most likely wrong, by the model's predictions during training.

Dataset Cartography (arXiv 2009.10795, section 5) finds label errors among the utterances that are hard to learn. Here
they are ranked by the probability that the label is right, of a model that also knows which classes are learnt late and
which are confused (label_noise.py); ``bench/suspects.py`` compares rankings on labels that were swapped on purpose.

suspects.csv has one row per suspect, the most suspicious first:

=============================================== ===========================================================
column                                          meaning
=============================================== ===========================================================
rank                                            from 1
id, audiopath                                   of the utterance, as in the training manifest
class                                           its label
right                                           probability that the label is right
preferred                                       the most probable other class
preferred_fraction                              fraction of the epochs in which it was predicted
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


@dataclass(frozen=True, eq=False)
class Suspects:
    """Utterances whose label is suspicious, the most suspicious first; every array is (K,)."""

    utterances: np.ndarray  # int64, rows of the training manifest
    right: np.ndarray  # float64, probability that the label is right
    preferred: np.ndarray  # int64, the most probable other class
    fractions: np.ndarray  # float64, fraction of the epochs in which it was predicted


def find_suspects(noise: LabelNoise, predictions: np.ndarray, count: int | None = None) -> Suspects:
    """Rank the utterances by the probability that their label is right; one that was never read is not ranked.

    `predictions`: (E, N) int, the most probable class, one row per epoch. `count`: maximum number of suspects to
    return; None: those whose label is probably wrong.
    """
    # Stable, so that ties keep the order of the manifest; NaN is last.
    first = np.argsort(noise.right, kind="stable")[: np.count_nonzero(noise.is_wrong) if count is None else count]
    first = first[~np.isnan(noise.right[first])]
    preferred = noise.preferred[first]
    return Suspects(first, noise.right[first], preferred, (predictions[:, first] == preferred).mean(axis=0))


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
    decimals = {"right": suspects.right, "preferred": suspects.preferred, "preferred_fraction": suspects.fractions}
    decimals |= {name: getattr(measures, name)[rows] for name in ("confidence", "variability", "correctness")}
    columns |= {name: [f"{value:.6f}" for value in values.tolist()] for name, values in decimals.items()}
    columns |= {"preferred": [classes[number] for number in suspects.preferred.tolist()]}
    columns["region"] = regions[rows].tolist()
    write_csv(path, columns, zip(*columns.values(), strict=True))
