"""Training curves, read from the TensorBoard events that S3PRL's runner writes."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_MOST_POINTS = 300


@dataclass(frozen=True, eq=False)
class Curve:
    """A score over training: (N,) int64 optimizer steps, ascending, and (N,) float64 values."""

    steps: np.ndarray
    values: np.ndarray


def read_curves(expdir: Path) -> dict[str, Curve]:
    """Return the curves of a run, ``train-loss``, ``dev-acc`` and so on → curve; none where it has left no events."""
    if not any(expdir.glob("events.out.tfevents.*")):
        return {}
    # tensorboard takes a fifth of a second, for what few runs lack.
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415

    events = EventAccumulator(str(expdir), size_guidance={"scalars": 0}, purge_orphaned_data=False)
    events.Reload()
    return {
        tag.rpartition("/")[2]: last_course((event.step, event.value) for event in events.Scalars(tag))
        for tag in events.Tags()["scalars"]
    }


def last_course(points: Iterable[tuple[int, float]]) -> Curve:
    """Return the curve of (step, value) in the order of writing; a run that goes on from a step takes those after it.

    A run that was stopped writes some steps again when it goes on, and one that starts anew writes all of them.
    """
    course: list[tuple[int, float]] = []
    for step, value in points:
        while course and course[-1][0] >= step:
            course.pop()
        course.append((step, value))
    return Curve(
        np.array([step for step, _ in course], dtype=np.int64), np.array([value for _, value in course], np.float64)
    )


def thinned(curve: Curve, most: int = _MOST_POINTS) -> Curve:
    """Return means of neighbouring points, where a curve has more than `most`, which no screen shows."""
    if len(curve.steps) <= most:
        return curve
    starts = np.linspace(0, len(curve.steps), most, endpoint=False).astype(np.int64)
    sizes = np.diff(np.append(starts, len(curve.steps)))
    last = starts + sizes - 1
    return Curve(curve.steps[last], np.add.reduceat(curve.values, starts) / sizes)
