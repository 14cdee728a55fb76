"""The answer for a recording: its class, "none of these", or "no speech".

``--reject P`` sets the top probability below which an answer is "none of these". The threshold is fitted on dev: it is
the P-quantile of the top calibrated probability of the dev utterances, so that a fraction P of the utterances of known
classes is rejected. ``--reject-with`` sets the novelty above which an answer is that (`Identifier.reject_with`).
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from ..scoring.calibration import Calibration
from ..scoring.files.own import read_scores
from ..utils.errors import UserError

_POINTS = 1001


class Outcome(StrEnum):
    """The kind of an answer."""

    IDENTIFIED = "identified"
    REJECTED = "none of these"
    NO_SPEECH = "no speech"


@dataclass(frozen=True, eq=False)
class Identification:
    """The answer for a recording, of C classes.

    Attributes
    ----------
    name : of the recording.
    outcome : kind of the answer.
    classes : (C,) names, most probable first; empty without speech.
    probabilities : (C,) float64, in that order, calibrated if the run has a calibration; they sum to 1.
    cluster : of the most probable class; None unless identified.
    seconds : duration of the recording.
    uncalibrated : (C,) float64, average of the windows' softmax in the order of the labels, as by `-m evaluate`.
    remarks : why the probabilities may not hold.
    novelty : distance from dev; above 1 unlike training data (scoring/open_set.py). None without speech or dev latents.
    """

    name: str
    outcome: Outcome
    classes: tuple[str, ...]
    probabilities: np.ndarray
    cluster: str | None
    seconds: float
    uncalibrated: np.ndarray
    remarks: tuple[str, ...] = ()
    novelty: float | None = None

    @property
    def label(self) -> str | None:
        """The identified class, or None."""
        return self.classes[0] if self.outcome is Outcome.IDENTIFIED else None

    @property
    def answer(self) -> str:
        """The identified class, or the outcome."""
        return self.label or self.outcome.value

    def as_dict(self, top: int | None = None) -> dict[str, Any]:
        """Return the answer for JSON, with the `top` most probable classes; None for all."""
        pairs = zip(self.classes[:top], self.probabilities[:top].tolist(), strict=True)
        return {
            "name": self.name,
            "outcome": self.outcome.value,
            "label": self.label,
            "cluster": self.cluster,
            "seconds": round(self.seconds, 3),
            "probabilities": dict(pairs),
            "novelty": self.novelty,
            "remarks": list(self.remarks),
        }


def dev_confidence(scores: Path, calibration: Calibration | None) -> np.ndarray | None:
    """Return the quantiles 0, 0.001, … 1 of dev's top probability, (1001,) float64, from dev_scores.csv.

    None without dev's scores, or if they are not those that the calibration was fitted on.
    """
    if not scores.is_file():
        return None
    dev = read_scores(scores)
    log_probabilities = dev.log_probabilities
    if calibration is not None:
        found = len(dev.truth), int((dev.predictions != dev.truth).sum())
        if calibration.utterances is not None and found != (calibration.utterances, calibration.errors):
            return None  # of another checkpoint
        log_probabilities = calibration.log_probabilities(log_probabilities, seconds=dev.seconds)
    return np.quantile(np.exp(log_probabilities.max(axis=1)), np.linspace(0, 1, _POINTS))


def rejection_threshold(confidence: np.ndarray | None, fraction: float | None) -> float:
    """Return the top probability below which an answer is rejected; 0 rejects nothing.

    Raises UserError: another fraction, or no dev scores to fit the threshold on.

    `confidence`: by :func:`dev_confidence`. `fraction`: of utterances of known classes to reject; None rejects nothing.
    """
    if fraction is None:
        return 0.0
    if not 0 <= fraction < 1:
        raise UserError(f"reject: expected a fraction from 0 to below 1, such as 0.05, found {fraction}.")
    if confidence is None:
        raise UserError(
            "reject: expected the run's dev_scores.csv to fit the threshold on, found none. Evaluate dev by "
            "-m evaluate -t dev first, or do not reject."
        )
    return float(np.interp(fraction, np.linspace(0, 1, len(confidence)), confidence))
