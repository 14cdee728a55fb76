"""Segments of a long recording by spoken class, from the probabilities of overlapping windows.

Time is divided into cells of one hop. The probabilities of a cell are the average over the windows that cover it. The
Viterbi algorithm finds the most likely sequence of classes, with the probability of a change for a mean of 30 s between
changes. Because windows overlap, a cell counts as hop / window of an observation. Cells with hardly any speech are
excluded.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..data.audio.reading import SAMPLE_RATE
from ..data.labels import Labels
from .answer import Outcome
from .speech import FRAME

# Assumed mean time between two changes of class.
_SECONDS_PER_CLASS = 30.0
# Minimum fraction of speech in a cell with speech.
_SPEECH_FRACTION = 0.15
_MIN_PROBABILITY = 1e-12


@dataclass(frozen=True)
class Segment:
    """A segment of a recording.

    Attributes
    ----------
    start, end : in seconds.
    outcome : kind of the answer.
    label : the identified class, or None.
    probability : mean over the segment of the probability of its most probable class; NaN without speech.
    """

    start: float
    end: float
    outcome: Outcome
    label: str | None
    probability: float

    @property
    def answer(self) -> str:
        """The identified class, or the outcome."""
        return self.label or self.outcome.value


def find_segments(
    windows: np.ndarray,
    probabilities: np.ndarray,
    speech: Sequence[np.ndarray | None],
    labels: Labels,
    *,
    samples: int,
    hop: int,
    threshold: float = 0.0,
) -> list[Segment]:
    """Return consecutive segments that cover a recording; neighbours have different answers.

    `windows`: (W, 2) int64, first sample and number of samples. `probabilities`: (W, classes) float64. `speech`:
    (frames,) bool per window, or None where it was not computed. `samples`, `hop`: length of the recording at 16 kHz,
    and of a cell. `threshold`: a segment with a lower probability is rejected.
    """
    cells = -(-samples // hop)
    covered = np.zeros(cells)
    posteriors = np.zeros((cells, len(labels.classes)))
    spoken, frame_counts = np.zeros(cells), np.zeros(cells)
    for (start, count), row, frames in zip(windows.tolist(), probabilities, speech, strict=True):
        touched = slice(start // hop, -(-(start + count) // hop))
        posteriors[touched] += row
        covered[touched] += 1
        if frames is not None:
            place = np.minimum((start + np.arange(len(frames)) * FRAME) // hop, cells - 1)
            np.add.at(spoken, place, frames)
            np.add.at(frame_counts, place, 1)
    posteriors /= covered[:, None]
    is_speech = (spoken >= _SPEECH_FRACTION * np.maximum(frame_counts, 1)) | (frame_counts == 0)
    path = np.full(cells, -1)
    if is_speech.any():
        weight = min(hop / int(windows[:, 1].max()), 1.0)
        path[is_speech] = smooth(posteriors[is_speech], weight, hop / SAMPLE_RATE / _SECONDS_PER_CLASS)
    segments = []
    edges = [0, *(np.flatnonzero(np.diff(path)) + 1).tolist(), cells]
    for first, last in itertools.pairwise(edges):
        ends = first * hop / SAMPLE_RATE, min(last * hop, samples) / SAMPLE_RATE
        if path[first] < 0:
            segments.append(Segment(*ends, Outcome.NO_SPEECH, None, float("nan")))
            continue
        probability = float(posteriors[first:last, path[first]].mean())
        is_rejected = probability < threshold
        outcome = Outcome.REJECTED if is_rejected else Outcome.IDENTIFIED
        segments.append(Segment(*ends, outcome, None if is_rejected else labels.classes[path[first]], probability))
    return _merged(segments)


def smooth(posteriors: np.ndarray, weight: float, change: float) -> np.ndarray:
    """Return the most likely sequence of classes, (cells,) int64.

    `posteriors`: (cells, classes) float. `weight`: fraction of an observation that a cell counts as, in [0, 1].
    `change`: probability of a change of class from one cell to the next.
    """
    cells, classes = posteriors.shape
    if classes == 1:
        return np.zeros(cells, dtype=np.int64)
    scores = weight * np.log(np.maximum(posteriors, _MIN_PROBABILITY))
    change = min(change, 1 - 1 / classes)
    stays, changes = np.log1p(-change), np.log(change / (classes - 1))
    best, came_from = scores[0], np.zeros((cells, classes), dtype=np.int64)
    for cell in range(1, cells):
        top = int(best.argmax())
        # From the same class, or from the best of all: no other predecessor can be better than both.
        is_kept = best + stays >= best[top] + changes
        came_from[cell] = np.where(is_kept, np.arange(classes), top)
        best = np.where(is_kept, best + stays, best[top] + changes) + scores[cell]
    path = np.empty(cells, dtype=np.int64)
    path[-1] = int(best.argmax())
    for cell in range(cells - 1, 0, -1):
        path[cell - 1] = came_from[cell, path[cell]]
    return path


def _merged(segments: Sequence[Segment]) -> list[Segment]:
    """Merge neighbours with the same answer: two classes may both be rejected."""
    merged: list[Segment] = []
    for segment in segments:
        if merged and merged[-1].answer == segment.answer:
            before = merged.pop()
            lengths = np.array([before.end - before.start, segment.end - segment.start])
            mean = float(np.average([before.probability, segment.probability], weights=lengths))
            segment = Segment(before.start, segment.end, segment.outcome, segment.label, mean)  # noqa: PLW2901
        merged.append(segment)
    return merged
