"""Small training sets drawn out of a large one, call by call: the low-resource sets of the paper.

The calls of a class are put into a random order that depends on the seed alone. Dev takes calls from its end, the sets
take calls from its beginning, one set after the other, so that no two have a call in common where a class has enough.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...utils.randomness import keyed_generator
from .steps.listed_audio import read_seconds
from .steps.selection import Columns, select

SETS = 3
PIECE_SECONDS = 10.0
# Where a class is small, this is the most that dev takes of it.
_LARGEST_DEV_SHARE = 0.2

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Draw:
    """What is drawn of the training data.

    Attributes
    ----------
    subset_hours : wanted of each dialect; None for all.
    number : which of the three sets.
    dev_hours : wanted of each dialect for dev, from the training data, in place of NIST's development set; None for it.
    piece_seconds : duration of the pieces; 0 leaves recordings whole.
    max_seconds : longer files of NIST's development set and test are left out; the paper's are of 60 s at most.
    """

    subset_hours: float | None = None
    number: int = 1
    dev_hours: float | None = None
    piece_seconds: float = PIECE_SECONDS
    max_seconds: float | None = None


WHOLE = Draw()


def arrange_pieces(columns: Columns, *, draw: Draw, seed: int) -> Columns:
    """Cut and draw the training data, and leave out long files of dev and test.

    Parameters
    ----------
    columns : column name → (utterances,) values; ``group`` is the call.
    draw : what is wanted.
    seed : another seed, other sets.
    """
    train = columns["split"] == "train"
    pieces = {name: values[train] for name, values in columns.items()}
    held_out = {name: values[~train] for name, values in columns.items()}
    if draw.max_seconds is not None and not train.all():
        seconds = read_seconds(held_out["audiopath"])
        held_out = select(held_out, seconds <= draw.max_seconds, f"segments longer than {draw.max_seconds:g} s")
    if draw.piece_seconds:
        recordings, starts, ends = cut_evenly(pieces["seconds"], draw.piece_seconds)
        pieces = {name: values[recordings] for name, values in pieces.items()}
        pieces |= {"start": starts, "end": ends, "seconds": np.round(ends - starts, 3)}
        pieces["id"] = np.array(
            [f"{name}/{start:.2f}" for name, start in zip(pieces["id"], starts, strict=True)], dtype=object
        )
    pieces["split"] = draw_pieces(
        pieces["class"],
        pieces["group"],
        pieces["seconds"],
        hours=draw.subset_hours,
        number=draw.number,
        dev_hours=draw.dev_hours or 0.0,
        seed=seed,
    )
    kept = pieces["split"] != ""
    return {name: np.concatenate([pieces[name][kept], held_out[name]]) for name in columns}


def cut_evenly(seconds: np.ndarray, piece_seconds: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut recordings into equal pieces of about a wanted duration.

    Parameters
    ----------
    seconds : (recordings,) durations.
    piece_seconds : wanted duration of a piece; a recording of up to one and a half of it stays whole.

    Returns
    -------
    recordings, starts, ends : (pieces,) each, the recording that a piece is from, and where it lies there in seconds.
    """
    counts = np.maximum(np.rint(seconds / piece_seconds).astype(np.int64), 1)
    recordings = np.repeat(np.arange(len(seconds)), counts)
    number = np.arange(len(recordings)) - np.repeat(np.cumsum(counts) - counts, counts)
    lengths = (seconds / counts)[recordings]
    return recordings, np.round(number * lengths, 3), np.round((number + 1) * lengths, 3)


def draw_pieces(
    classes: np.ndarray,
    calls: np.ndarray,
    seconds: np.ndarray,
    *,
    hours: float | None,
    number: int,
    dev_hours: float,
    seed: int,
) -> np.ndarray:
    """Draw train, and dev where it is wanted, out of pieces of calls.

    Parameters
    ----------
    classes, calls : (pieces,) str; the pieces of a call follow each other.
    seconds : (pieces,) durations.
    hours : wanted of each class for train; None for all that dev leaves.
    number : which of the three sets, from 1 on.
    dev_hours : wanted of each class for dev; 0 for none, a fifth of the class at most.
    seed : another seed, other sets.

    Returns
    -------
    (pieces,) str : ``train``, ``dev``, or empty for what is in neither.
    """
    splits = np.full(len(classes), "", dtype=object)
    for name in sorted(set(classes)):
        members = np.flatnonzero(classes == name)
        ordered = _shuffled_calls(members, calls[members], keyed_generator(seed, f"calls of {name}"))
        lengths = np.array([seconds[pieces].sum() for pieces in ordered])
        for_dev = _count_for_dev(lengths, dev_hours, name)
        for pieces in ordered[len(ordered) - for_dev :]:
            splits[pieces] = "dev"
        rest, lengths = ordered[: len(ordered) - for_dev], lengths[: len(ordered) - for_dev]
        chosen = range(len(rest)) if hours is None else _choose_calls(lengths, hours * 3600, number, name)
        pieces = np.concatenate([rest[call] for call in chosen])
        # The last call reaches beyond what is wanted: its last pieces are in no split, as nobody else may have them.
        wanted = np.inf if hours is None else hours * 3600
        splits[pieces[np.cumsum(seconds[pieces]) - seconds[pieces] / 2 <= wanted]] = "train"
    return splits


def _shuffled_calls(pieces: np.ndarray, calls: np.ndarray, generator: np.random.Generator) -> list[np.ndarray]:
    """Return the pieces of each call, the calls in random order."""
    _, call_of, counts = np.unique(calls, return_inverse=True, return_counts=True)
    by_call = np.split(pieces[np.argsort(call_of, kind="stable")], np.cumsum(counts)[:-1])
    return [by_call[number] for number in generator.permutation(len(by_call))]


def _count_for_dev(lengths: np.ndarray, hours: float, name: str) -> int:
    """Return how many calls, from the last on, dev takes."""
    if not hours:
        return 0
    total = lengths.sum() / 3600
    wanted = min(hours, _LARGEST_DEV_SHARE * total)
    if wanted < hours:
        log.info("%s has %.2f h, of which dev takes %.0f %%, not %.2f h", name, total, 100 * _LARGEST_DEV_SHARE, hours)
    return min(int(np.searchsorted(np.cumsum(lengths[::-1]), wanted * 3600)) + 1, len(lengths) - 1)


def _choose_calls(lengths: np.ndarray, wanted: float, number: int, name: str) -> Sequence[int]:
    """Return the calls of one set, so many that it has `wanted` seconds."""
    ends = np.cumsum(lengths)
    first = 0
    for _ in range(number - 1):
        first = _end_of_set(ends, first, wanted)
    if _end_of_set(ends, _end_of_set(ends, _end_of_set(ends, 0, wanted), wanted), wanted) <= len(lengths):
        return range(first, _end_of_set(ends, first, wanted))
    total = ends[-1] / 3600
    log.info(
        "%s has %.2f h, too little for %d sets of %.2f h without a call in common: %s",
        name,
        total,
        SETS,
        wanted / 3600,
        "each has all of it" if total * 3600 <= wanted else "they overlap",
    )
    first = int(np.searchsorted(ends, (number - 1) * ends[-1] / SETS, side="right"))
    turned = (first + np.arange(len(lengths))) % len(lengths)
    return turned[: int(np.searchsorted(np.cumsum(lengths[turned]), wanted)) + 1].tolist()


def _end_of_set(ends: np.ndarray, first: int, wanted: float) -> int:
    """Return the call after the last of a set that begins with call `first`; beyond the end where there are too few."""
    before = ends[first - 1] if 0 < first <= len(ends) else 0.0
    if first >= len(ends):
        return len(ends) + 1
    return int(np.searchsorted(ends, before + wanted - 1e-6)) + 1
