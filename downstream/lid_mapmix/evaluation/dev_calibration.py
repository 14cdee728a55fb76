"""The calibration of a run: fitted on the dev scores of its best checkpoint.

Dev is scored in one crop from the middle of each utterance, other splits in windows (config.yaml, `evaluation`). The
fit therefore assumes that dev crops are similar to the audio of the other splits.
"""

from collections.abc import Sequence
from pathlib import Path

from ..scoring.calibration import Calibration, Kind, fit
from ..scoring.files.own import read_scores
from ..utils.errors import UserError
from ..utils.run_folder import BEST_CHECKPOINT, RunFolder

# Maximum difference in dev accuracy that rounding on another device may cause.
_ROUNDING = 0.005


def fit_on_dev(
    checkpoint: Path, accuracy: float, classes: Sequence[str], kind: Kind, *, class_prior: Sequence[float] | None = None
) -> Calibration:
    """Return the calibration of the best checkpoint of a run.

    Raises UserError: it is not the best checkpoint; or its dev scores are missing, damaged, of other classes or of
    another checkpoint, or too few for this kind of calibration.

    `checkpoint`: the one in use; its dev scores are in the same folder. `accuracy`: the dev accuracy stored in it.
    `classes`: of the model, in order. `class_prior`: (classes,) float, the class priors of training; None: equal.
    """
    path = RunFolder(checkpoint.parent).scores("dev")
    remedy = f"Score dev again with -m evaluate -t dev -e {checkpoint}."
    if checkpoint.name != BEST_CHECKPOINT:
        raise UserError(
            f"{checkpoint}: expected {BEST_CHECKPOINT}, the checkpoint of the dev scores, found another one. Use "
            f"{BEST_CHECKPOINT}; training writes it if runner.eval_dataloaders has dev."
        )
    scores = read_scores(path)
    if scores.classes != tuple(classes):
        raise UserError(
            f"{path}: expected the classes {', '.join(classes)}, found {', '.join(scores.classes)}. {remedy}"
        )
    found = float((scores.predictions == scores.truth).mean())
    if abs(found - accuracy) > _ROUNDING:
        raise UserError(
            f"{path}: expected the dev scores of {checkpoint.name} with accuracy {accuracy:.4f}, found {found:.4f}. "
            f"{remedy}"
        )
    return fit(kind, scores.log_probabilities, scores.truth_indices, scores.classes, class_prior)
