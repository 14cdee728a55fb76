"""What is said of a recording: its language, or that it is none of those known, or that nobody speaks.

``--reject P`` says from which top probability down an answer is "none of these", fitted on dev: the threshold is the
P-quantile of the top calibrated probability of the dev utterances, so that a share P of utterances of known languages
is rejected. Dev is scored by one window of each utterance's middle, not by all windows.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from ..data.labels import Labels
from ..scoring.calibration import Calibration
from ..scoring.files.own import read_scores
from ..utils.errors import UserError

_POINTS = 1001


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
        None if is_rejected else list(labels.clusters)[int(labels.cluster_indices[top])],
        seconds,
        uncalibrated,
    )


def dev_confidence(scores: Path, calibration: Calibration | None) -> np.ndarray | None:
    """Return the quantiles 0, 0.001, … 1 of dev's top probability, (1001,) float64; None without dev's scores.

    Parameters
    ----------
    scores : dev_scores.csv.
    calibration : what probabilities are calibrated by.
    """
    if not scores.is_file():
        return None
    log_probabilities = read_scores(scores).log_probabilities
    if calibration is not None:
        log_probabilities = calibration.log_probabilities(log_probabilities)
    return np.quantile(np.exp(log_probabilities.max(axis=1)), np.linspace(0, 1, _POINTS))


def rejection_threshold(confidence: np.ndarray | None, share: float | None) -> float:
    """Return the top probability below which an answer is rejected; 0 where nothing is to be.

    Parameters
    ----------
    confidence : what :func:`dev_confidence` returns.
    share : of utterances of known languages that may be rejected, from 0 to 1; None to reject nothing.

    Raises
    ------
    UserError : another share, or no dev scores to fit it on.
    """
    if share is None:
        return 0.0
    if not 0 <= share < 1:
        raise UserError(f"reject: expected a share from 0 up to 1, such as 0.05, found {share}.")
    if confidence is None:
        raise UserError(
            "reject: needs the run's dev_scores.csv to fit a threshold on, found none. Evaluate dev by -m evaluate -t "
            "dev first, or reject nothing."
        )
    return float(np.interp(share, np.linspace(0, 1, len(confidence)), confidence))
