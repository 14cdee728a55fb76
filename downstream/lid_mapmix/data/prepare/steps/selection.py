"""Which of a corpus's utterances stay: no leaks between splits, no unknown classes, no more than was asked for."""

import logging

import numpy as np

from ....utils.randomness import keyed_generator
from .corpus import SPLITS
from .tables import enumerate_names

# What may be in one split only.
UNITS = ("speaker", "group")

Columns = dict[str, np.ndarray]

log = logging.getLogger(__name__)


def without_leaks(columns: Columns) -> Columns:
    """Leave a speaker or group in one split only, the last of train, dev and test that it is in.

    Parameters
    ----------
    columns : column name → (utterances,) values, with ``split``, ``speaker`` and ``group``; an empty split counts as
        train.
    """
    rank_of = {"": 0} | {split: rank for rank, split in enumerate(SPLITS)}
    ranks = np.array([rank_of[split] for split in columns["split"]])
    stays = np.ones(len(ranks), dtype=bool)
    for name in UNITS:
        units, unit_of = np.unique(columns[name], return_inverse=True)
        last = np.zeros(len(units), dtype=ranks.dtype)
        np.maximum.at(last, unit_of, ranks)
        stays &= (ranks == last[unit_of]) | (columns[name] == "")
    return select(columns, stays, "utterances whose speaker or recording is in another split as well")


def with_known_classes(columns: Columns) -> Columns:
    """Leave out classes that train does not have, and say which of its classes dev and test do not have."""
    held_out = columns["split"] != SPLITS[0]
    known = set(columns["class"][~held_out])
    unknown = sorted(set(columns["class"]) - known)
    if unknown:
        log.info("no training data of %s", enumerate_names(unknown))
    for split in sorted(set(columns["split"][held_out])):
        absent = sorted(known - set(columns["class"][columns["split"] == split]))
        if absent:
            log.info("%s has nothing of %d classes: %s", split, len(absent), enumerate_names(absent))
    return select(columns, ~np.isin(columns["class"], unknown), "utterances of classes without training data")


def with_most_hours(columns: Columns, hours: float, seed: int) -> Columns:
    """Draw utterances of each class of train up to so many hours; one at least."""
    keep = columns["split"] != SPLITS[0]
    for name in sorted(set(columns["class"])):
        members = np.flatnonzero((columns["class"] == name) & (columns["split"] == SPLITS[0]))
        members = keyed_generator(seed, f"hours of {name}").permutation(members)
        fits = np.cumsum(columns["seconds"][members]) <= hours * 3600
        keep[members[: max(1, np.count_nonzero(fits))]] = True
    return select(columns, keep, f"utterances of train beyond {hours:g} h a class")


def select(columns: Columns, keep: np.ndarray, what: str) -> Columns:
    """Keep some utterances, (utterances,) bool, and say how many of what are left out."""
    if keep.all():
        return columns
    log.info("left out %d of %d %s", np.count_nonzero(~keep), len(keep), what)
    return {name: values[keep] for name, values in columns.items()}
