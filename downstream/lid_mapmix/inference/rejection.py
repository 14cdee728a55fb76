"""``--reject P``: from which top probability down an answer is "none of these", fitted on dev.

The threshold is the P-quantile of the top calibrated probability of the dev utterances, so that a share P of
utterances of known languages is rejected. Dev is scored by one window of each utterance's middle, not by all windows.
"""

from pathlib import Path

import numpy as np

from ..scoring.calibration import Calibration
from ..scoring.files.own import read_scores
from ..utils.errors import UserError

_POINTS = 1001


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
