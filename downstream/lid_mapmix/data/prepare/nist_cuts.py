"""Segments of NIST's evaluations that are cut from one recording.

NIST cuts a recording to segments of 30, 10 and 3 s of speech, the shorter within the longer, each with its own name. A
cut is found by four consecutive samples with large differences, and then compared sample by sample.
"""

import logging
from collections.abc import Collection

import numpy as np
import soundfile
from tqdm import tqdm

from ...utils.errors import UserError
from .steps.splits import Columns, connected

# Number of samples packed into a 64-bit number.
_KEY_SAMPLES = 4

# Four packed samples → the segments that are searched by them: number, duration, samples, and place of the four.
_Cuts = dict[int, list[tuple[int, float, np.ndarray, int]]]

log = logging.getLogger(__name__)


def group_with_whole(columns: Columns, *, ids: Collection[str]) -> Columns:
    """Give segments the group of the longest one that they are part of, directly or through others.

    Shorter segments, by their ``seconds``, which may be nominal, are searched in longer ones of their split and class.

    Raises UserError: an unreadable file. `ids`: of the segments to search for and in.
    """
    numbers = np.flatnonzero([name in ids for name in columns["id"]])
    numbers = numbers[np.argsort(columns["seconds"][numbers], kind="stable")]
    paths, seconds, splits, classes = (columns[name][numbers] for name in ("audiopath", "seconds", "split", "class"))
    count, parts = len(numbers), splits + "/" + classes
    links: list[tuple[int, int]] = []
    with tqdm(total=count, desc="Looking for cuts", unit="segment") as progress:
        for part in sorted(set(parts)):
            cuts: _Cuts = {}
            members = np.flatnonzero(parts == part)
            for number in members.tolist():
                audio = _read(paths[number])
                progress.update()
                if len(audio) < _KEY_SAMPLES:
                    continue
                # Each sample and the three after it, packed: (samples - 3,) uint64.
                windows = np.lib.stride_tricks.sliding_window_view(audio, _KEY_SAMPLES)
                keys = np.ascontiguousarray(windows).view(np.uint64)[:, 0]
                links += [(cut, number) for cut in _find(cuts, keys, audio, seconds[number])]
                if seconds[number] < seconds[members[-1]]:
                    place = _liveliest(audio)
                    cuts.setdefault(int(keys[place]), []).append((number, seconds[number], audio, place))
    inner, outer = np.array(links, dtype=np.int64).reshape(-1, 2).T
    units = connected(inner, outer, count)
    longest = np.zeros(count, dtype=np.int64)
    # The last write counts, which is the longest segment's.
    longest[units] = np.arange(count)
    columns["group"][numbers] = columns["group"][numbers[longest[units]]]
    contained = np.count_nonzero(longest[units] != np.arange(count))
    log.info("%d of %d cut segments are part of a longer one and get its group", contained, count)
    return columns


def _read(path: str) -> np.ndarray:
    try:
        return soundfile.read(path, dtype="int16", always_2d=True)[0][:, 0]
    except (soundfile.SoundFileError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({error}). Restore it, or add --no-cut-search.") from None


def _liveliest(audio: np.ndarray) -> int:
    """Return the place of the four samples with the largest differences, unlike silence and tones."""
    changes = np.convolve(np.abs(np.diff(audio.astype(np.int32))), np.ones(_KEY_SAMPLES - 1, dtype=np.int32), "valid")
    return int(np.argmax(changes))


def _find(cuts: _Cuts, keys: np.ndarray, audio: np.ndarray, seconds: float) -> set[int]:
    """Return the cuts that are a part of this audio, (samples,) int16, with its packed samples and its duration."""
    found: set[int] = set()
    for place in np.flatnonzero(np.isin(keys, np.fromiter(cuts, np.uint64, len(cuts)))).tolist():
        for number, cut_seconds, cut, place_in_cut in cuts[int(keys[place])]:
            start = place - place_in_cut
            # Segments of equal duration may overlap and are not cuts of each other.
            if number in found or start < 0 or cut_seconds >= seconds:
                continue
            if np.array_equal(audio[start : start + len(cut)], cut):
                found.add(number)
    return found
