"""Segments of LRE 2017: groups of segments cut from one recording, and the small training sets of the paper.

NIST cuts a recording of dev or test to segments of 30, 10 and 3 s of speech, the shorter within the longer, each with
its own name. A cut is found by four consecutive samples with large differences, and then compared sample by sample.

For the sets, the calls of a class are put in a random order that depends only on the seed. Dev takes calls from its
end, the sets take calls from its start, one set after the other, so that no two share a call if a class has enough.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import soundfile
from tqdm import tqdm

from ...utils.errors import UserError
from ...utils.randomness import keyed_generator
from .lre17 import SETS, Draw
from .steps.listed_audio import read_seconds
from .steps.splits import Columns, connected, select

# Number of samples packed into a 64-bit number.
_KEY_SAMPLES = 4
# Maximum fraction of a class for dev.
_MAX_DEV_FRACTION = 0.2

log = logging.getLogger(__name__)


def arrange_segments(columns: Columns, *, cuts: Collection[str], draw: Draw, seed: int) -> Columns:
    """Group segments by recording, cut and draw the training data, and drop long files of dev and test.

    Raises UserError: an unreadable file.

    `columns`: column name → (utterances,) values; ``group`` is the call. `cuts`: ids of the segments of dev and test to
    find in longer ones; they get the group of the longer one. `draw`: what to draw from the training data. `seed`: of
    the draws of the sets.
    """
    if cuts:
        numbers = np.flatnonzero([name in cuts for name in columns["id"]])
        # Dev and test are searched separately.
        classes = columns["split"][numbers] + "/" + columns["class"][numbers]
        longest = group_cuts(columns["audiopath"][numbers], columns["seconds"][numbers], classes)
        columns["group"][numbers] = columns["id"][numbers[longest]]
        inner = np.count_nonzero(longest != np.arange(len(longest)))
        log.info("%d of %d cut segments are part of a longer one and get its group", inner, len(longest))
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
    """Cut recordings into equal pieces of about a given duration.

    Returns (pieces,) each: recording number, and start and end in it in seconds.

    `seconds`: (recordings,) durations. `piece_seconds`: duration of a piece; a recording of up to one and a half times
    this stays whole.
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
    """Draw train, and dev if requested, from pieces of calls.

    Returns (pieces,) str, ``train``, ``dev``, or empty for neither.

    Parameters
    ----------
    classes, calls : (pieces,) str; the pieces of a call are consecutive.
    seconds : (pieces,) durations.
    hours : hours per class for train; None for all except dev.
    number : number of the set, from 1 to 3.
    dev_hours : hours per class for dev, but at most a fifth of the class; 0 for none.
    seed : of the draws of the sets.
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
        # The last call is longer than needed: its last pieces are in no split, because no other may have them.
        wanted = np.inf if hours is None else hours * 3600
        splits[pieces[np.cumsum(seconds[pieces]) - seconds[pieces] / 2 <= wanted]] = "train"
    return splits


def _shuffled_calls(pieces: np.ndarray, calls: np.ndarray, generator: np.random.Generator) -> list[np.ndarray]:
    """Return the pieces of each call, with the calls in random order."""
    _, call_of, counts = np.unique(calls, return_inverse=True, return_counts=True)
    by_call = np.split(pieces[np.argsort(call_of, kind="stable")], np.cumsum(counts)[:-1])
    return [by_call[number] for number in generator.permutation(len(by_call))]


def _count_for_dev(lengths: np.ndarray, hours: float, name: str) -> int:
    """Return the number of calls, counted from the end, that dev takes."""
    if not hours:
        return 0
    total = lengths.sum() / 3600
    wanted = min(hours, _MAX_DEV_FRACTION * total)
    if wanted < hours:
        log.info("%s has %.2f h, of which dev takes %.0f %%, not %.2f h", name, total, 100 * _MAX_DEV_FRACTION, hours)
    return min(int(np.searchsorted(np.cumsum(lengths[::-1]), wanted * 3600)) + 1, len(lengths) - 1)


def _choose_calls(lengths: np.ndarray, wanted: float, number: int, name: str) -> Sequence[int]:
    """Return the calls of one set, with a total of at least `wanted` seconds."""
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
    """Return the call after the last of a set that starts at call `first`; beyond the end if there are too few."""
    before = ends[first - 1] if 0 < first <= len(ends) else 0.0
    if first >= len(ends):
        return len(ends) + 1
    return int(np.searchsorted(ends, before + wanted - 1e-6)) + 1


@dataclass(frozen=True, eq=False)
class _Cut:
    """A segment, and the place of the four samples that it is searched by."""

    number: int
    audio: np.ndarray
    place: int
    key: np.uint64

    def is_at(self, place: int, audio: np.ndarray) -> bool:
        """Return whether it is a part of `audio`, which has the four samples at `place`."""
        start = place - self.place
        return start >= 0 and np.array_equal(audio[start : start + len(self.audio)], self.audio)


def group_cuts(paths: Sequence[str] | np.ndarray, seconds: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Find the longest segment that each segment is a part of.

    Raises UserError: an unreadable file.

    Returns (segments,) int, number of the longest segment that a segment is part of, directly or through others; its
    own number if there is none.

    `paths`: (segments,) audio files. `seconds`: (segments,) nominal durations; shorter segments are searched in longer
    ones. `classes`: (segments,) str; a cut has the class of its recording.
    """
    links: list[tuple[int, int]] = []
    with tqdm(total=len(paths), desc="Looking for cuts", unit="segment") as progress:
        for name in sorted(set(classes)):
            members = np.flatnonzero(classes == name)
            members = members[np.argsort(seconds[members], kind="stable")]
            seen: list[_Cut] = []
            for number in members.tolist():
                audio = _read(paths[number])
                # Segments of equal duration may overlap and are not cuts of each other.
                shorter = [cut for cut in seen if seconds[cut.number] < seconds[number]]
                links += [(cut.number, number) for cut in _find(shorter, audio)]
                if seconds[number] < seconds[members[-1]] and len(audio) >= _KEY_SAMPLES:
                    seen.append(_Cut(number, audio, *_liveliest(audio)))
                progress.update()
    count = len(paths)
    cuts, wholes = np.array(links, dtype=np.int64).reshape(-1, 2).T
    units = connected(cuts, wholes, count)
    longest = np.zeros(count, dtype=np.int64)
    order = np.argsort(seconds, kind="stable")
    # The last write counts, which is the longest segment's.
    longest[units[order]] = order
    return longest[units]


def _read(path: str) -> np.ndarray:
    try:
        return soundfile.read(path, dtype="int16", always_2d=True)[0][:, 0]
    except (soundfile.SoundFileError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({error}). Restore it, or add --no-cut-search.") from None


def _pack(audio: np.ndarray) -> np.ndarray:
    """Pack each sample and the three after it: (samples,) int16 → (samples - 3,) uint64."""
    windows = np.lib.stride_tricks.sliding_window_view(audio, _KEY_SAMPLES)
    return np.ascontiguousarray(windows).view(np.uint64)[:, 0]


def _liveliest(audio: np.ndarray) -> tuple[int, np.uint64]:
    """Return the place of the four samples with the largest differences, unlike silence and tones, and their key."""
    changes = np.convolve(np.abs(np.diff(audio.astype(np.int32))), np.ones(_KEY_SAMPLES - 1, dtype=np.int32), "valid")
    place = int(np.argmax(changes))
    return place, _pack(audio[place : place + _KEY_SAMPLES])[0]


def _find(cuts: Sequence[_Cut], audio: np.ndarray) -> list[_Cut]:
    """Return the cuts that are a part of this audio, (samples,) int16."""
    if not cuts or len(audio) < _KEY_SAMPLES:
        return []
    keys = np.array([cut.key for cut in cuts])
    order = np.argsort(keys, kind="stable")
    packed = _pack(audio)
    first, last = (np.searchsorted(keys[order], packed, side=side) for side in ("left", "right"))
    found: dict[int, _Cut] = {}
    for place in np.flatnonzero(first < last).tolist():
        for candidate in order[first[place] : last[place]].tolist():
            if candidate not in found and cuts[candidate].is_at(place, audio):
                found[candidate] = cuts[candidate]
    return list(found.values())
