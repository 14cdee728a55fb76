from types import SimpleNamespace

import numpy as np
import pytest
from helpers.scored import scored
from lid_mapmix.data.dataset import Split
from lid_mapmix.data.labels import labels_from_names
from lid_mapmix.evaluation.dev_calibration import calibrate_on_dev, calibration_of
from lid_mapmix.scoring.calibration import Calibration, write_calibration
from lid_mapmix.scoring.calibration_fit import fit, fit_duration, mean_duration
from lid_mapmix.scoring.choices import Kind
from lid_mapmix.utils.errors import UserError
from lid_mapmix.utils.run_folder import RunFolder
from scipy.special import softmax

CLASSES = ("a", "b", "c", "d")
ACCURACY = 0.8125


def dev(count=80, seconds=(2.0, 8.0)):
    """Return a split of utterances of these durations in turn, and their probabilities."""
    values, truth = scored(1, count=count)
    counts = np.resize(np.array(seconds) * 16_000, count).astype(np.int64)
    return Split(SimpleNamespace(), truth, np.zeros(count, np.int64), counts), softmax(values, axis=1)


def test_it_is_that_of_whole_utterances_with_the_durations_of_cuts():
    split, probabilities = dev()
    flat = np.full_like(probabilities, 0.25) * 0.5 + probabilities[::-1] * 0.5  # cuts say little
    found = calibrate_on_dev(Kind.AFFINE, split, labels_from_names(CLASSES), probabilities, {1.0: flat, 3.0: flat})
    whole = fit("affine", np.log(probabilities), split.target_classes, CLASSES)
    assert (found.matrix, found.offset, found.utterances) == (whole.matrix, whole.offset, 80)
    assert found.exponent > 0.1
    assert found.seconds == pytest.approx((4.0, 1.0, 8.0))
    # Of cuts of 3 s only those of longer utterances count.
    longer = split.seconds > 3
    scores = np.log(np.concatenate([probabilities, flat, flat[longer]]))
    truth = np.concatenate([split.target_classes] * 2 + [split.target_classes[longer]])
    seconds = np.concatenate([split.seconds, np.full(80, 1.0), np.full(40, 3.0)])
    assert found == fit_duration(whole, scores, truth, seconds, mean_duration(split.seconds))
    assert "errors, at durations of 1 to 8 s" in found.basis


def test_too_few_utterances_for_a_full_calibration():
    split, probabilities = dev(count=19)
    with pytest.raises(UserError, match="at least 20 utterances"):
        calibrate_on_dev(Kind.FULL, split, labels_from_names(CLASSES), probabilities, {})


def stored(folder, best_accuracy=ACCURACY, classes=CLASSES):
    numbers = np.eye(len(classes)), np.zeros(len(classes)), np.full(len(classes), 1 / len(classes))
    calibration = Calibration.of(Kind.TEMPERATURE, classes, *numbers, best_accuracy=best_accuracy)
    folder.mkdir(exist_ok=True)
    write_calibration(folder / "calibration.json", calibration)
    return calibration


def test_the_folder_of_the_evaluation_comes_first_then_that_of_the_checkpoint(tmp_path):
    checkpoint, folder = tmp_path / "run" / "dev-best.ckpt", RunFolder(tmp_path / "other")
    with pytest.raises(UserError, match=r"found none\. Fit it by -m evaluate -t dev -e"):
        calibration_of(checkpoint, folder, ACCURACY, CLASSES)
    of_run = stored(tmp_path / "run")
    assert calibration_of(checkpoint, folder, ACCURACY, CLASSES) == of_run
    own = stored(tmp_path / "other", best_accuracy=None)
    assert calibration_of(checkpoint, folder, ACCURACY, CLASSES) == own != of_run


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"best_accuracy": 0.8}, r"expected the calibration of dev-best\.ckpt, found one of another"),
        ({"classes": ("b", "a", "c", "d")}, "expected a calibration of the run's classes, found one of others"),
    ],
)
def test_that_of_another_checkpoint_is_refused(change, says, tmp_path):
    stored(tmp_path, **change)
    with pytest.raises(UserError, match=says):
        calibration_of(tmp_path / "dev-best.ckpt", RunFolder(tmp_path), ACCURACY, CLASSES)
