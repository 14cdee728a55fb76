"""What is spoken when: a label track over a long recording, from the probabilities of overlapping windows.

Time is cut into cells of one hop. A cell's probabilities are the average of the windows that cover it. The most likely
sequence of classes is found by Viterbi's algorithm, in which a change of language costs what it does where languages
change every half minute; as windows overlap, a cell counts for hop / window of an observation. Cells where hardly
anybody speaks are left out of it.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..data.audio.reading import SAMPLE_RATE
from ..data.labels import Labels
from .answer import Outcome
from .speech import FRAME

# Mean time between two changes of language, which the smoothing takes for granted.
_SECONDS_OF_A_LANGUAGE = 30.0
# Speech in a cell, as a share of it, from which it is a cell of speech.
_SPEECH_SHARE = 0.15
_LEAST = 1e-12


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording.

    Attributes
    ----------
    start, end : in seconds.
    outcome : what kind of answer it is.
    label : the class; None where none was identified.
    probability : the mean over the stretch of the class that is likeliest there; NaN where nobody speaks.
    """

    start: float
    end: float
    outcome: Outcome
    label: str | None
    probability: float

    @property
    def answer(self) -> str:
        """The class, or what is said in its place."""
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
    """Return segments that cover a recording, neighbours of different answers.

    Parameters
    ----------
    windows : (W, 2) int64, first sample and number of samples of each.
    probabilities : (W, classes) float64, of each.
    speech : (frames,) bool for each, or None where speech was not looked for in it.
    labels : the classes.
    samples : its length, at 16 kHz.
    hop : length of a cell, in samples.
    threshold : a segment whose probability is below it is none of the classes.
    """
    cells = -(-samples // hop)
    covered = np.zeros(cells)
    posteriors = np.zeros((cells, len(labels.classes)))
    spoken, heard = np.zeros(cells), np.zeros(cells)
    for (start, count), row, frames in zip(windows.tolist(), probabilities, speech, strict=True):
        touched = slice(start // hop, -(-(start + count) // hop))
        posteriors[touched] += row
        covered[touched] += 1
        if frames is not None:
            place = np.minimum((start + np.arange(len(frames)) * FRAME) // hop, cells - 1)
            np.add.at(spoken, place, frames)
            np.add.at(heard, place, 1)
    posteriors /= covered[:, None]
    is_speech = (spoken >= _SPEECH_SHARE * np.maximum(heard, 1)) | (heard == 0)
    path = np.full(cells, -1)
    if is_speech.any():
        weight = min(hop / int(windows[:, 1].max()), 1.0)
        path[is_speech] = smooth(posteriors[is_speech], weight, hop / SAMPLE_RATE / _SECONDS_OF_A_LANGUAGE)
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

    Parameters
    ----------
    posteriors : (cells, classes) float.
    weight : how much of an observation a cell is, from 0 to 1.
    change : probability that the class changes from one cell to the next.
    """
    cells, classes = posteriors.shape
    if classes == 1:
        return np.zeros(cells, dtype=np.int64)
    scores = weight * np.log(np.maximum(posteriors, _LEAST))
    change = min(change, 1 - 1 / classes)
    stays, changes = np.log1p(-change), np.log(change / (classes - 1))
    best, came_from = scores[0], np.zeros((cells, classes), dtype=np.int64)
    for cell in range(1, cells):
        likeliest = int(best.argmax())
        # From itself, or from the best of all: any other way to a class is worse than one of the two.
        is_kept = best + stays >= best[likeliest] + changes
        came_from[cell] = np.where(is_kept, np.arange(classes), likeliest)
        best = np.where(is_kept, best + stays, best[likeliest] + changes) + scores[cell]
    path = np.empty(cells, dtype=np.int64)
    path[-1] = int(best.argmax())
    for cell in range(cells - 1, 0, -1):
        path[cell - 1] = came_from[cell, path[cell]]
    return path


def _merged(segments: Sequence[Segment]) -> list[Segment]:
    """Join neighbours of one answer: two classes may both have been rejected."""
    merged: list[Segment] = []
    for segment in segments:
        if merged and merged[-1].answer == segment.answer:
            before = merged.pop()
            lengths = np.array([before.end - before.start, segment.end - segment.start])
            mean = float(np.average([before.probability, segment.probability], weights=lengths))
            segment = Segment(before.start, segment.end, segment.outcome, segment.label, mean)  # noqa: PLW2901
        merged.append(segment)
    return merged
