"""Pieces of the training recordings of LRE 2017, and the small training sets of the paper.

For the sets, the calls of a class are put in a random order that depends only on the seed. Dev takes calls from its
end, the sets take calls from its start, one set after the other, so that no two share a call if a class has enough.
"""

import logging
from argparse import Namespace
from collections.abc import Collection, Sequence

import numpy as np

from ...utils.randomness import keyed_generator
from .lre17 import SETS
from .nist_cuts import group_with_whole
from .steps.listed_audio import read_seconds
from .steps.splits import Columns, select

# Maximum fraction of a class for dev.
_MAX_DEV_FRACTION = 0.2

log = logging.getLogger(__name__)


def arrange_segments(columns: Columns, *, cuts: Collection[str], draw: Namespace) -> Columns:
    """Group segments by recording, cut and draw the training data, and drop long files of dev and test.

    Raises UserError: an unreadable file.

    `columns`: with the call as ``group``. `cuts`: ids of the segments of dev and test to find in longer ones. `draw`:
    the flags of the command.
    """
    if cuts:
        columns = group_with_whole(columns, ids=cuts)
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
    pieces["split"] = draw_pieces(pieces, draw)
    kept = pieces["split"] != ""
    return {name: np.concatenate([pieces[name][kept], held_out[name]]) for name in columns}


def cut_evenly(seconds: np.ndarray, piece_seconds: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut recordings, of (recordings,) seconds, into equal pieces of about a given duration.

    Returns (pieces,) each: recording number, and start and end in it in seconds. A recording of up to one and a half
    times the duration stays whole.
    """
    counts = np.maximum(np.rint(seconds / piece_seconds).astype(np.int64), 1)
    recordings = np.repeat(np.arange(len(seconds)), counts)
    number = np.arange(len(recordings)) - np.repeat(np.cumsum(counts) - counts, counts)
    lengths = (seconds / counts)[recordings]
    return recordings, np.round(number * lengths, 3), np.round((number + 1) * lengths, 3)


def draw_pieces(pieces: Columns, draw: Namespace) -> np.ndarray:
    """Draw train, and dev if requested, from pieces of calls.

    Returns (pieces,) str, ``train``, ``dev``, or empty for neither.

    `pieces`: column name → (pieces,) values; those of a call, which is the ``group``, are consecutive. `draw`: the
    flags of the command; dev takes at most a fifth of a class.
    """
    classes, calls, seconds = (pieces[name] for name in ("class", "group", "seconds"))
    splits = np.full(len(classes), "", dtype=object)
    wanted = np.inf if draw.subset_hours is None else draw.subset_hours * 3600
    for name in sorted(set(classes)):
        members = np.flatnonzero(classes == name)
        _, call_of, counts = np.unique(calls[members], return_inverse=True, return_counts=True)
        by_call = np.split(members[np.argsort(call_of, kind="stable")], np.cumsum(counts)[:-1])
        ordered = [by_call[call] for call in keyed_generator(draw.seed, f"calls of {name}").permutation(len(by_call))]
        lengths = np.array([seconds[call].sum() for call in ordered])
        rest = len(ordered) - _count_for_dev(lengths, draw.dev_hours, name)
        for call in ordered[rest:]:
            splits[call] = "dev"
        own = np.concatenate([ordered[call] for call in _choose_calls(lengths[:rest], wanted, draw.number, name)])
        # The last call is longer than needed: its last pieces are in no split, because no other may have them.
        splits[own[np.cumsum(seconds[own]) - seconds[own] / 2 <= wanted]] = "train"
    return splits


def _count_for_dev(lengths: np.ndarray, hours: float | None, name: str) -> int:
    """Return the number of calls, counted from the end, that dev takes."""
    if not hours:
        return 0
    total = lengths.sum() / 3600
    wanted = min(hours, _MAX_DEV_FRACTION * total)
    if wanted < hours:
        log.info("%s has %.2f h, of which dev takes %.0f %%, not %.2f h", name, total, 100 * _MAX_DEV_FRACTION, hours)
    return min(int(np.searchsorted(np.cumsum(lengths[::-1]), wanted * 3600)) + 1, len(lengths) - 1)


def _choose_calls(lengths: np.ndarray, wanted: float, number: int, name: str) -> Sequence[int]:
    """Return the calls of one set, with a total of at least `wanted` seconds; infinity for all."""
    count = len(lengths)
    if wanted == np.inf:
        return range(count)
    ends = np.concatenate([[0.0], np.cumsum(lengths)])
    # The first call of each set, and the one after the last set; beyond the end if there are too few.
    bounds = [0]
    for _ in range(SETS):
        bounds.append(int(np.searchsorted(ends, ends[min(bounds[-1], count)] + wanted - 1e-6)))
    if bounds[-1] <= count:
        return range(bounds[number - 1], bounds[number])
    log.info(
        "%s has %.2f h, too little for %d sets of %.2f h without a call in common: %s",
        name,
        ends[-1] / 3600,
        SETS,
        wanted / 3600,
        "each has all of it" if ends[-1] <= wanted else "they overlap",
    )
    first = int(np.searchsorted(ends, (number - 1) * ends[-1] / SETS, side="right")) - 1
    turned = (first + np.arange(count)) % count
    return turned[: int(np.searchsorted(np.cumsum(lengths[turned]), wanted)) + 1].tolist()
