"""Splits of utterances: speakers and recordings are not divided; classes and hours are limited to those of train.

Utterances without a split are drawn (:func:`split_units`). Speakers and groups of dev or test are removed from train
(:func:`without_leaks`), classes without training data are dropped, and the hours of train are limited.
"""

import logging

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ....utils.errors import UserError
from ....utils.randomness import keyed_generator
from ... import SPLITS
from .tables import enumerate_names

# Columns whose values may occur in one split only.
UNITS = ("speaker", "group")
# Number of random divisions, of which the one nearest to the wanted fractions is used.
_DRAWS = 64
_TRAIN, _DEV, _TEST = range(len(SPLITS))

Columns = dict[str, np.ndarray]

log = logging.getLogger(__name__)


def check_fractions(dev_fraction: float, test_fraction: float) -> None:
    """Raise a UserError for fractions that are not between 0 and 1, or leave nothing for train."""
    if not (0 < dev_fraction < 1 and 0 < test_fraction < 1 and dev_fraction + test_fraction < 1):
        raise UserError(
            f"--dev-fraction {dev_fraction} and --test-fraction {test_fraction}: expected two fractions above 0 with a "
            "sum below 1. Use for example 0.1 and 0.1."
        )


def split_units(
    units: np.ndarray,
    classes: np.ndarray,
    seconds: np.ndarray,
    *,
    unit_name: str,
    dev_fraction: float,
    test_fraction: float,
    seed: int,
) -> np.ndarray:
    """Draw the split of each recording so that each unit (a speaker, a prompt) is in one split only.

    Each class is divided separately, by duration. A unit that occurs in several classes is not divided either.

    Raises UserError: a class has too few units for the splits.

    Returns (recordings,) str, ``train``, ``dev`` or ``test``.

    `units`: (recordings,) str or int, the units that must not be divided. `classes`: (recordings,) str. `seconds`:
    (recordings,) float. `unit_name`: name of a unit, for errors: ``speaker``. `dev_fraction`, `test_fraction`: wanted
    fractions of each class's duration.
    """
    check_fractions(dev_fraction, test_fraction)
    class_names, class_of = np.unique(classes, return_inverse=True)
    unit_names, unit_of = np.unique(units, return_inverse=True)
    pairs = np.unique(np.stack([class_of, unit_of]), axis=1)
    counts = np.bincount(pairs[0], minlength=len(class_names))
    if (counts < len(SPLITS)).any():
        short = int(np.argmax(counts < len(SPLITS)))
        number = f"{counts[short]} {unit_name}" + ("" if counts[short] == 1 else "s")
        raise UserError(
            f"class {class_names[short]}: expected at least 3 {unit_name}s, one each for train, dev and test, found "
            f"{number}. {_remedy(unit_name)}"
        )

    # (classes, 3) and (units,): the wanted seconds, and the class that a unit is divided with: its most frequent one.
    totals = np.bincount(class_of, seconds, minlength=len(class_names))
    wanted = totals[:, None] * np.array([1 - dev_fraction - test_fraction, dev_fraction, test_fraction])
    home = _home_classes(unit_of, class_of, seconds, len(unit_names))
    unit_seconds = np.bincount(unit_of, seconds, minlength=len(unit_names))

    best_cost, best = np.inf, np.zeros(len(unit_names), dtype=np.int64)
    for draw in range(_DRAWS):
        generator = keyed_generator(seed, "split", draw)
        drawn = np.zeros(len(unit_names), dtype=np.int64)
        for class_number in range(len(class_names)):
            members = generator.permutation(np.flatnonzero(home == class_number))
            drawn[members] = _cut(unit_seconds[members], dev_fraction, test_fraction, generator)
        cell = class_of * len(SPLITS) + drawn[unit_of]
        shape = wanted.shape
        found = np.bincount(cell, seconds, minlength=wanted.size).reshape(shape)
        empty = np.bincount(cell, minlength=wanted.size).reshape(shape) == 0
        # A deviation is at most 2 per class, so an empty split is worse than any imbalance.
        cost = (np.abs(found - wanted).sum(axis=1) / totals).sum() + empty.sum() * 2 * (len(class_names) + 1)
        if cost < best_cost:
            best_cost, best = cost, drawn
            empty_classes = class_names[empty.any(axis=1)]
    if len(empty_classes):
        raise UserError(
            f"class {empty_classes[0]}: shares {unit_name}s with other classes, and no division was found that "
            f"keeps each in one split and leaves no split empty. {_remedy(unit_name)}"
        )
    return np.array(SPLITS)[best[unit_of]]


def join_units(*columns: np.ndarray) -> np.ndarray:
    """Number recordings so that any two with a common value in a column, directly or through others, share a number.

    Returns (recordings,) int, the unit of each recording.

    `columns`: (recordings,) str each, such as speakers and groups; an empty string is not a common value.
    """
    count = len(columns[0])
    recordings, values, total = [], [], count
    for column in columns:
        present = np.flatnonzero(column != "")
        names, value_of = np.unique(column[present], return_inverse=True)
        recordings.append(present)
        values.append(total + value_of)
        total += len(names)
    rows, cells = np.concatenate(recordings), np.concatenate(values)
    return connected(rows, cells, total)[:count]


def connected(first: np.ndarray, second: np.ndarray, count: int) -> np.ndarray:
    """Return the component of each node, (nodes,) int, of a graph with edges from `first` to `second`, (edges,) int."""
    graph = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def _remedy(unit_name: str) -> str:
    remedy = f"Add {unit_name}s to it, or remove the class"
    if unit_name == "speaker":
        remedy += ", or use --split-by file (scores then do not measure unseen speakers)"
    return f"{remedy}."


def _home_classes(unit_of: np.ndarray, class_of: np.ndarray, seconds: np.ndarray, count: int) -> np.ndarray:
    pairs, pair_of = np.unique(np.stack([unit_of, class_of]), axis=1, return_inverse=True)
    order = np.argsort(np.bincount(pair_of.ravel(), seconds), kind="stable")
    home = np.zeros(count, dtype=np.int64)
    # The last write counts, which is the class with most of the unit.
    home[pairs[0, order]] = pairs[1, order]
    return home


def _cut(seconds: np.ndarray, dev_fraction: float, test_fraction: float, generator: np.random.Generator) -> np.ndarray:
    """Assign the first units to dev, the next to test, the rest to train: (units,) int64."""
    if len(seconds) < len(SPLITS):
        # Possible if the class's other units count for another class. The cost selects a suitable draw.
        return generator.integers(0, len(SPLITS), len(seconds))
    splits = np.full(len(seconds), _TRAIN, dtype=np.int64)
    reached = np.concatenate([[0.0], np.cumsum(seconds)])
    dev_end = int(np.argmin(np.abs(reached - dev_fraction * reached[-1])))
    dev_end = min(max(dev_end, 1), len(seconds) - 2)
    test_end = int(np.argmin(np.abs(reached - (reached[dev_end] + test_fraction * reached[-1]))))
    test_end = min(max(test_end, dev_end + 1), len(seconds) - 1)
    splits[:dev_end] = _DEV
    splits[dev_end:test_end] = _TEST
    return splits


def without_leaks(columns: Columns) -> Columns:
    """Keep each speaker and group in one split only: in test if it occurs there, else in dev; no split is train."""
    rank_of = {"": 0} | {split: rank for rank, split in enumerate(SPLITS)}
    ranks = np.array([rank_of[split] for split in columns["split"]])
    stays = np.ones(len(ranks), dtype=bool)
    for name in UNITS:
        units, unit_of = np.unique(columns[name], return_inverse=True)
        last = np.zeros(len(units), dtype=ranks.dtype)
        np.maximum.at(last, unit_of, ranks)
        stays &= (ranks == last[unit_of]) | (columns[name] == "")
    return select(columns, stays, "utterances whose speaker or recording is also in another split")


def with_known_classes(columns: Columns) -> Columns:
    """Drop classes that train does not have, and log which of its classes dev and test do not have."""
    held_out = columns["split"] != SPLITS[0]
    known = set(columns["class"][~held_out])
    unknown = sorted(set(columns["class"]) - known)
    if unknown:
        log.info("no training data for %s", enumerate_names(unknown))
    for split in sorted(set(columns["split"][held_out])):
        absent = sorted(known - set(columns["class"][columns["split"] == split]))
        if absent:
            log.info("%s has no utterance of %d classes: %s", split, len(absent), enumerate_names(absent))
    return select(columns, ~np.isin(columns["class"], unknown), "utterances of classes without training data")


def limit_hours(columns: Columns, hours: float, seed: int) -> Columns:
    """Draw utterances of each class of train up to a number of hours, but at least one."""
    keep = columns["split"] != SPLITS[0]
    for name in sorted(set(columns["class"])):
        members = np.flatnonzero((columns["class"] == name) & (columns["split"] == SPLITS[0]))
        members = keyed_generator(seed, f"hours of {name}").permutation(members)
        fits = np.cumsum(columns["seconds"][members]) <= hours * 3600
        keep[members[: max(1, np.count_nonzero(fits))]] = True
    return select(columns, keep, f"utterances of train beyond {hours:g} h per class")


def select(columns: Columns, keep: np.ndarray, what: str) -> Columns:
    """Keep some utterances, (utterances,) bool, and log how many others are dropped."""
    if keep.all():
        return columns
    log.info("dropped %d of %d %s", np.count_nonzero(~keep), len(keep), what)
    return {name: values[keep] for name, values in columns.items()}


def divide(columns: Columns, splits: np.ndarray) -> dict[str, Columns]:
    """Return the columns of each split; `splits`, (utterances,) str, is the split of each utterance."""
    return {split: {name: values[splits == split] for name, values in columns.items()} for split in SPLITS}
