"""How often answers of a probability are right, before calibration and after it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...scoring.calibration import Calibration, Kind, fit, read_calibration
from ...scoring.files.own import Scores, read_scores
from ...scoring.metrics import reliability_curve
from ...utils.run_folder import RunFolder
from .missing import Missing, evaluate_command


@dataclass(frozen=True, eq=False)
class Reliability:
    """The points of reliability diagrams, as `scoring.metrics.reliability_curve` returns them.

    Attributes
    ----------
    before : of the probabilities as they are.
    after : of the calibrated ones.
    kind : of the calibration.
    """

    before: list[dict[str, float]]
    after: list[dict[str, float]] | Missing
    kind: str


def find_reliability(folder: RunFolder, split: str, scores: Scores, metrics: Mapping[str, Any]) -> Reliability:
    """Return the diagrams that the metrics hold, or else those of the scores and of the run's calibration.

    Parameters
    ----------
    folder, split, scores : of the run.
    metrics : what SPLIT_metrics.json holds.

    Raises
    ------
    UserError : the calibration, or the dev scores to fit one on, cannot be read.
    """
    kind = (metrics.get("calibrated") or {}).get("kind", "")
    given = metrics.get("reliability") or {}
    before = given.get("before") or reliability_curve(scores.probabilities, scores.truth_indices)
    if given.get("after"):
        return Reliability(before, given["after"], kind)
    calibration = _calibration(folder, split, scores)
    if calibration is None:
        reason = "No calibration was fitted: that takes scores of dev, and is shown on another split."
        return Reliability(before, Missing(reason, evaluate_command(folder.path, "dev")), "")
    calibrated = np.exp(calibration.log_probabilities(scores.log_probabilities))
    return Reliability(before, reliability_curve(calibrated, scores.truth_indices), calibration.kind.value)


def _calibration(folder: RunFolder, split: str, scores: Scores) -> Calibration | None:
    """Return the run's calibration, or a temperature fitted on its dev scores; None without either, and for dev."""
    if split == "dev":  # on what it was fitted on a calibration looks better than it is
        return None
    if folder.calibration.is_file():
        calibration = read_calibration(folder.calibration)
        return calibration if calibration.classes == scores.classes else None
    if not folder.scores("dev").is_file():
        return None
    dev = read_scores(folder.scores("dev"))
    if dev.classes != scores.classes:
        return None
    return fit(Kind.TEMPERATURE, dev.log_probabilities, dev.truth_indices, dev.classes)
