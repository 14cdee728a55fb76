"""Which segments are cut out of which longer ones, told by their samples where no table tells.

NIST cuts a recording to segments of 30, 10 and 3 s of speech, the shorter within the longer, and gives each a name of
its own. A cut is found by four samples from its liveliest place, and then compared sample by sample.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soundfile
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

from ...utils.errors import UserError

# Samples that are packed into one number of 64 bits.
_KEY_SAMPLES = 4


@dataclass(frozen=True, eq=False)
class _Cut:
    """A segment, and where in it are the four samples that it is looked for by."""

    number: int
    audio: np.ndarray
    place: int
    key: np.uint64

    def is_at(self, place: int, audio: np.ndarray) -> bool:
        """Tell whether it is a part of `audio` that has the four samples at `place`."""
        start = place - self.place
        return start >= 0 and np.array_equal(audio[start : start + len(self.audio)], self.audio)


def group_cuts(paths: Sequence[str] | np.ndarray, seconds: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Find the longest segment that each segment belongs to.

    Parameters
    ----------
    paths : (segments,) audio files.
    seconds : (segments,) nominal durations; only a segment of a longer one is looked into for those of shorter ones.
    classes : (segments,) str; cuts are of the class of what they are cut from.

    Returns
    -------
    (segments,) int : the number of the longest segment that a segment is in, directly or through others; its own
        number where there is none.

    Raises
    ------
    UserError : a file that cannot be read.
    """
    links: list[tuple[int, int]] = []
    with tqdm(total=len(paths), desc="Looking for cuts", unit="segment") as progress:
        for name in sorted(set(classes)):
            members = np.flatnonzero(classes == name)
            members = members[np.argsort(seconds[members], kind="stable")]
            seen: list[_Cut] = []
            for number in members.tolist():
                audio = _read(paths[number])
                # Segments of one duration may overlap and are no cuts of each other.
                shorter = [cut for cut in seen if seconds[cut.number] < seconds[number]]
                links += [(cut.number, number) for cut in _find(shorter, audio)]
                if seconds[number] < seconds[members[-1]] and len(audio) >= _KEY_SAMPLES:
                    seen.append(_Cut(number, audio, *_liveliest(audio)))
                progress.update()
    count = len(paths)
    cuts, wholes = np.array(links, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(cuts), dtype=bool), (cuts, wholes)), shape=(count, count))
    units = connected_components(graph, directed=False)[1]
    longest = np.zeros(count, dtype=np.int64)
    order = np.argsort(seconds, kind="stable")
    # The later write wins, which is the longest segment's.
    longest[units[order]] = order
    return longest[units]


def _read(path: str) -> np.ndarray:
    try:
        return soundfile.read(path, dtype="int16", always_2d=True)[0][:, 0]
    except (soundfile.SoundFileError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({error}). Restore it, or leave the search for cuts out.") from None


def _pack(audio: np.ndarray) -> np.ndarray:
    """Pack each sample and the three after it: (samples,) int16 → (samples - 3,) uint64."""
    windows = np.lib.stride_tricks.sliding_window_view(audio, _KEY_SAMPLES)
    return np.ascontiguousarray(windows).view(np.uint64)[:, 0]


def _liveliest(audio: np.ndarray) -> tuple[int, np.uint64]:
    """Return the place of the four samples that differ most, which silence and tones do not share, and their key."""
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
