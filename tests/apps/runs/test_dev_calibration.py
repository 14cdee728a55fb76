"""What a run leaves of calibration and of intervals: S3PRL's own runner, filter banks, a tiny corpus."""

import json
import re

import numpy as np
import pytest
from helpers.launching import assert_same_files, run, train
from lid_mapmix.scoring.calibration import fit, read_calibration
from lid_mapmix.scoring.files.own import read_scores
from lid_mapmix.utils.run_folder import RunFolder
from reference import calibration as reference

SETTINGS = "downstream_expert.evaluation"


def metrics_of(folder, split="test"):
    return json.loads((folder / f"{split}_metrics.json").read_text())


def evaluate(folder, *overrides, checkpoint="dev-best.ckpt"):
    flags = ["-o", ",,".join(f"config.{SETTINGS}.{one}" for one in overrides)] if overrides else []
    return run("-m", "evaluate", "-e", folder / checkpoint, "--device", "cpu", *flags)


def warnings(printed):
    return [line for line in printed.splitlines() if "warning:" in line]


def without_class(corpus, split, name):
    """Take a class out of a manifest."""
    lines = (corpus / f"{split}.csv").read_text().splitlines(keepends=True)
    (corpus / f"{split}.csv").write_text("".join(line for line in lines if f"/{name}-" not in line))


def test_the_calibration_is_the_affine_one_that_fits_dev(trained):
    found, dev = read_calibration(trained / "calibration.json"), read_scores(trained / "dev_scores.csv")
    assert found == fit("affine", dev.log_probabilities, dev.truth_indices, dev.classes)
    errors = int((dev.predictions != dev.truth).sum())
    assert (found.utterances, found.errors) == (len(dev.truth), errors)
    assert f"affine, fitted on {len(dev.truth)} dev utterances with {errors} errors" in found.basis
    assert found.basis in (trained / "README.md").read_text()


def test_test_is_scored_after_it_as_well_and_dev_is_not(trained):
    metrics, test = metrics_of(trained), read_scores(trained / "test_scores.csv")
    calibrated = metrics["calibrated"]
    assert calibrated["kind"] == "affine"
    assert calibrated["basis"] == read_calibration(trained / "calibration.json").basis
    assert calibrated["overall"].keys() == metrics["overall"].keys()
    log_probabilities = read_calibration(trained / "calibration.json").log_probabilities(test.log_probabilities)
    for scores, probabilities in (
        (calibrated["overall"], np.exp(log_probabilities)),
        (metrics["overall"], test.probabilities),
    ):
        assert scores["ece"] == pytest.approx(
            reference.expected_calibration_error(probabilities, test.truth_indices), abs=1e-6
        )
    assert calibrated["overall"]["cllr"] != metrics["overall"]["cllr"]
    assert not {"calibrated", "reliability", "intervals"} & metrics_of(trained, "dev").keys()


def test_the_reliability_curves_add_up_to_the_calibration_errors(trained):
    metrics = metrics_of(trained)
    for points, scores in (
        (metrics["reliability"]["before"], metrics["overall"]),
        (metrics["reliability"]["after"], metrics["calibrated"]["overall"]),
    ):
        gaps = [point["count"] * abs(point["confidence"] - point["accuracy"]) for point in points]
        assert sum(gaps) / scores["count"] == pytest.approx(scores["ece"])


def test_every_defined_score_has_an_interval(trained):
    metrics = metrics_of(trained)
    overall, intervals = metrics["overall"], metrics["intervals"]
    assert intervals.keys() == overall.keys() - {"targets", "sources", "count"}
    for name in ("acc", "c_acc", "cllr", "cavg_1"):
        low, high = intervals[name]
        assert low <= overall[name] <= high
    assert intervals["cllr"][0] < intervals["cllr"][1]


def test_slices_by_class_are_there(trained):
    by_class = metrics_of(trained)["by_class"]
    assert sum(scores["count"] for scores in by_class.values()) == 12
    assert list(by_class) == list(read_scores(trained / "test_scores.csv").classes)


def test_the_table_shows_the_calibration_error_before_and_after(own_run, capsys):
    assert evaluate(own_run) == 0
    metrics = metrics_of(own_run)
    before, after = metrics["overall"]["ece"], metrics["calibrated"]["overall"]["ece"]
    printed = capsys.readouterr().out
    assert re.search(r" ece +ece_calibrated +count$", printed, re.MULTILINE)
    assert re.search(rf"^test .* {before:.3f} +{after:.3f} +12$", printed, re.MULTILINE)
    assert "\n  calibration.json\n" in printed
    assert not warnings(printed)


def test_dev_has_no_score_after_calibration_in_the_table(corpus, own_run, capsys):
    assert train(corpus, own_run, "-a") == 0
    assert re.search(r"^dev .* \d\.\d{3} +- +\d+$", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize("kind", ["temperature", "vector"])
def test_another_kind_is_fitted_on_request(kind, own_run):
    assert evaluate(own_run, f"calibration={kind}") == 0
    assert metrics_of(own_run)["calibrated"]["kind"] == kind
    assert read_calibration(own_run / "calibration.json").kind == kind


def test_neither_is_made_where_settings_say_so(own_run, capsys):
    (own_run / "calibration.json").unlink()
    assert evaluate(own_run, "calibration=none", "bootstrap_samples=0") == 0
    assert not {"calibrated", "reliability", "intervals"} & metrics_of(own_run).keys()
    assert not (own_run / "calibration.json").exists()
    printed = capsys.readouterr().out
    assert "ece_calibrated" not in printed and not warnings(printed)


def test_scores_files_stay_uncalibrated(own_run, trained):
    assert evaluate(own_run, "calibration=full") == 0
    assert_same_files(own_run, trained, "test_scores.csv", "dev_scores.csv")


@pytest.mark.parametrize("has_test", [True, False])
def test_a_run_whose_calibration_cannot_be_fitted_ends_well_and_says_why(has_test, own_corpus, tmp_path, capsys):
    if not has_test:
        (own_corpus / "test.csv").unlink()
    folder = tmp_path / "run"
    assert train(own_corpus, folder, "-v", "baseline", settings={f"{SETTINGS}.calibration": "full"}) == 0
    [line] = warnings(capsys.readouterr().out)
    assert "to fit the 20 numbers of a full calibration on, found" in line and "Use kind affine" in line
    assert not (folder / "calibration.json").exists()
    if has_test:
        assert line in (folder / "log.log").read_text()
        assert "calibrated" not in metrics_of(folder) and "intervals" in metrics_of(folder)


def test_a_run_without_a_test_split_leaves_a_calibration(own_corpus, tmp_path, capsys):
    (own_corpus / "test.csv").unlink()
    assert train(own_corpus, tmp_path / "run", "-v", "baseline") == 0
    dev = read_scores(tmp_path / "run/dev_scores.csv")
    found = read_calibration(tmp_path / "run/calibration.json")
    assert found == fit("affine", dev.log_probabilities, dev.truth_indices, dev.classes)
    assert not warnings(capsys.readouterr().out)


def test_a_checkpoint_whose_dev_scores_are_not_kept_is_not_calibrated(own_run, capsys):
    before = (own_run / "calibration.json").read_bytes()
    assert evaluate(own_run, checkpoint="states-6.ckpt") == 0
    [line] = warnings(capsys.readouterr().out)
    assert "expected dev-best.ckpt" in line
    assert "calibrated" not in metrics_of(own_run)
    assert (own_run / "calibration.json").read_bytes() == before


def test_dev_scores_of_something_else_are_not_fitted_on(own_run, capsys):
    path = own_run / "dev_scores.csv"
    header, *rows = path.read_text().splitlines()
    rows = [",".join([*row.split(",")[:2], row.split(",")[1], *row.split(",")[3:]]) for row in rows]
    path.write_text("\n".join([header, *rows]) + "\n")
    assert evaluate(own_run) == 0
    [line] = warnings(capsys.readouterr().out)
    assert "expected the dev scores of dev-best.ckpt" in line and "found 1.0000" in line
    assert "calibrated" not in metrics_of(own_run)


def test_a_run_that_is_trained_anew_does_not_keep_the_calibration_of_the_old_one(own_run):
    RunFolder(own_run).clear()
    assert not (own_run / "calibration.json").exists()
