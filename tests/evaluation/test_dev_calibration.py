import numpy as np
import pytest
from helpers.scored import scored
from lid_mapmix.evaluation.dev_calibration import fit_on_dev
from lid_mapmix.scoring.calibration import Kind, fit, read_calibration, write_calibration
from lid_mapmix.scoring.files.own import write_scores
from lid_mapmix.utils.errors import UserError
from lid_mapmix.utils.run_folder import RunFolder

CLASSES = ("a", "b", "c", "d")


@pytest.fixture
def run(tmp_path):
    """Return the best checkpoint of a run whose dev scores are there, their values, and its accuracy on dev."""
    values, truth = scored(1, count=80)
    write_dev_scores(tmp_path, values, truth)
    return tmp_path / "dev-best.ckpt", values, truth, float((values.argmax(axis=1) == truth).mean())


def write_dev_scores(folder, values, truth):
    write_scores(
        folder / "dev_scores.csv",
        ids=[f"u{number}" for number in range(len(truth))],
        classes=CLASSES,
        truth=[CLASSES[number] for number in truth],
        log_probabilities=values,
        seconds=np.full(len(truth), np.nan),
        group=[""] * len(truth),
        source=[""] * len(truth),
    )


def write_dev_calibration(folder, *arguments):
    """Fit on dev and write the file, as a run does."""
    calibration = fit_on_dev(*arguments)
    write_calibration(folder.calibration, calibration)
    return calibration


@pytest.mark.parametrize("kind", list(Kind))
def test_it_is_fitted_on_the_dev_scores_beside_the_checkpoint(kind, run, tmp_path):
    checkpoint, values, truth, accuracy = run
    found = write_dev_calibration(RunFolder(tmp_path / "elsewhere"), checkpoint, accuracy, CLASSES, kind)
    expected = fit(kind, values, truth, CLASSES)
    assert (found.kind, found.classes) == (kind, CLASSES)
    # The file has 9 digits, and the search ends where the slope is small.
    both = (np.exp(one.log_probabilities(values)) for one in (found, expected))
    np.testing.assert_allclose(*both, atol=1e-3)
    assert read_calibration(tmp_path / "elsewhere" / "calibration.json") == found
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["calibration.json"]


def test_scores_of_another_checkpoint_are_refused(run, tmp_path):
    checkpoint, _, _, accuracy = run
    with pytest.raises(UserError, match=r"states-6\.ckpt: expected dev-best\.ckpt.* Use dev-best\.ckpt"):
        fit_on_dev(tmp_path / "states-6.ckpt", accuracy, CLASSES, Kind.TEMPERATURE)
    # Rounding on another device may move an answer in hundreds; more is another checkpoint.
    fit_on_dev(checkpoint, accuracy + 0.004, CLASSES, Kind.TEMPERATURE)
    with pytest.raises(UserError, match=f"with accuracy {accuracy + 1 / 80:.4f}, found {accuracy:.4f}. .*-t dev"):
        fit_on_dev(checkpoint, accuracy + 1 / 80, CLASSES, Kind.TEMPERATURE)


def test_scores_of_other_classes_and_none_at_all_are_refused(run):
    checkpoint, _, _, accuracy = run
    with pytest.raises(UserError, match="expected the classes b, a, c, d, found a, b, c, d"):
        fit_on_dev(checkpoint, accuracy, ("b", "a", "c", "d"), Kind.TEMPERATURE)
    checkpoint.with_name("dev_scores.csv").unlink()
    with pytest.raises(UserError, match="found no such file"):
        fit_on_dev(checkpoint, accuracy, CLASSES, Kind.TEMPERATURE)


def test_too_few_utterances_for_a_full_calibration_leave_no_file(run, tmp_path):
    checkpoint, values, truth, _ = run
    kept = np.arange(len(truth)) < 19
    write_dev_scores(tmp_path, values[kept], truth[kept])
    accuracy = float((values.argmax(axis=1) == truth)[kept].mean())
    with pytest.raises(UserError, match="at least 20 utterances"):
        write_dev_calibration(RunFolder(tmp_path), checkpoint, accuracy, CLASSES, Kind.FULL)
    assert not (tmp_path / "calibration.json").exists()
    found = write_dev_calibration(RunFolder(tmp_path), checkpoint, accuracy, CLASSES, Kind.TEMPERATURE)
    assert found.kind is Kind.TEMPERATURE
