"""The calibration of a run: fitted on dev as test is scored, at several durations, with its best checkpoint."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..data.audio.reading import SAMPLE_RATE
from ..data.dataset import Split
from ..data.labels import Labels
from ..scoring.calibration import Calibration, read_calibration_of
from ..scoring.calibration_fit import fit, fit_duration, mean_duration
from ..scoring.choices import Kind
from ..scoring.metrics import logarithms
from ..utils.errors import UserError
from ..utils.run_folder import BEST_CHECKPOINT, RunFolder


def calibrate_on_dev(
    kind: Kind,
    split: Split,
    labels: Labels,
    probabilities: np.ndarray,
    cuts: Mapping[float, np.ndarray],
    *,
    class_prior: Sequence[float] | None = None,
) -> Calibration:
    """Return the calibration of whole utterances, and how it changes with duration.

    Raises UserError: too few utterances for this kind.

    `probabilities`: (utterances, classes) float64. `cuts`: seconds → the same of utterances truncated to them; only
    those of longer utterances are used. `class_prior`: (classes,) float, the class priors of training; None: equal.
    """
    truth = split.target_classes
    calibration = fit(kind, logarithms(probabilities), truth, labels.classes, class_prior)
    scores, truths, seconds = [logarithms(probabilities)], [truth], [split.seconds]
    for limit, truncated in cuts.items():
        longer = split.counts > limit * SAMPLE_RATE
        scores.append(logarithms(truncated[longer]))
        truths.append(truth[longer])
        seconds.append(np.full(int(longer.sum()), limit))
    together, truth = np.concatenate(scores), np.concatenate(truths)
    return fit_duration(calibration, together, truth, np.concatenate(seconds), mean_duration(split.seconds))


def calibration_of(checkpoint: Path, folder: RunFolder, best_accuracy: float, classes: Sequence[str]) -> Calibration:
    """Return the calibration of a checkpoint: that of the folder of this evaluation, else of the checkpoint's folder.

    Raises UserError: not the best checkpoint; there is none; or it is damaged, or of another checkpoint.

    `best_accuracy`: as stored in the checkpoint. `classes`: of the model, in order.
    """
    if checkpoint.name != BEST_CHECKPOINT:
        raise UserError(f"expected {BEST_CHECKPOINT}, the checkpoint of the calibration, found {checkpoint}. Use that.")
    own, other = folder.calibration, RunFolder(checkpoint.parent).calibration
    path = own if own.is_file() or not other.is_file() else other
    if not path.is_file():
        raise UserError(
            f"{path}: expected the calibration of {checkpoint.name}, found none. Fit it by -m evaluate -t dev -e "
            f"{checkpoint}."
        )
    return read_calibration_of(path, classes, best_accuracy)
