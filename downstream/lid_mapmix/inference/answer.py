"""What is said of a recording: its language, or that it is none of those known, or that nobody speaks."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from ..data.labels import Labels


class Outcome(StrEnum):
    """What kind of answer it is."""

    IDENTIFIED = "identified"
    REJECTED = "none of these"
    NO_SPEECH = "no speech"


@dataclass(frozen=True, eq=False)
class Identification:
    """The answer for a recording, of C classes.

    Attributes
    ----------
    name : of the recording.
    outcome : what kind of answer this is.
    classes : (C,) names, the likeliest first; empty where nobody speaks.
    probabilities : (C,) float64, theirs, in that order, calibrated where the run is; they sum to 1.
    cluster : of the likeliest class; None unless identified.
    seconds : length of the recording.
    uncalibrated : (C,) float64, average of the windows' softmax in the order of the labels, as `-m evaluate` has it.
    """

    name: str
    outcome: Outcome
    classes: tuple[str, ...]
    probabilities: np.ndarray
    cluster: str | None
    seconds: float
    uncalibrated: np.ndarray

    @property
    def label(self) -> str | None:
        """The class that was identified; None where there is no such answer."""
        return self.classes[0] if self.outcome is Outcome.IDENTIFIED else None

    @property
    def answer(self) -> str:
        """The class, or what is said in its place."""
        return self.label or self.outcome.value

    def as_dict(self, top: int | None = None) -> dict[str, Any]:
        """Return it for JSON, with the `top` likeliest classes; all by default."""
        pairs = zip(self.classes[:top], self.probabilities[:top].tolist(), strict=True)
        return {
            "name": self.name,
            "outcome": self.outcome.value,
            "label": self.label,
            "cluster": self.cluster,
            "seconds": round(self.seconds, 3),
            "probabilities": dict(pairs),
        }


def make_answer(
    name: str,
    seconds: float,
    labels: Labels,
    uncalibrated: np.ndarray,
    calibrated: np.ndarray,
    *,
    is_speech: bool,
    threshold: float,
) -> Identification:
    """Return the answer for a recording.

    Parameters
    ----------
    name, seconds : of the recording.
    labels : the classes.
    uncalibrated, calibrated : (C,) float64 probabilities.
    is_speech : whether somebody speaks.
    threshold : a top probability below it is rejected.
    """
    if not is_speech:
        return Identification(name, Outcome.NO_SPEECH, (), np.empty(0), None, seconds, uncalibrated)
    order = np.argsort(-calibrated, kind="stable")
    top = int(order[0])
    is_rejected = bool(calibrated[top] < threshold)
    return Identification(
        name,
        Outcome.REJECTED if is_rejected else Outcome.IDENTIFIED,
        tuple(labels.classes[number] for number in order),
        calibrated[order],
        None if is_rejected else _cluster_of(labels, top),
        seconds,
        uncalibrated,
    )


def _cluster_of(labels: Labels, number: int) -> str:
    return list(labels.clusters)[int(labels.cluster_indices[number])]
