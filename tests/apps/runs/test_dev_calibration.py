"""What a run leaves of calibration and of intervals: S3PRL's own runner, filter banks, a tiny corpus."""

import json
import re

import numpy as np
import pytest
from helpers.launching import assert_same_files, run, train
from lid_mapmix.inference.trained import read_run
from lid_mapmix.scoring.calibration import read_calibration
from lid_mapmix.scoring.calibration_fit import fit
from lid_mapmix.scoring.files.own import read_scores
from lid_mapmix.training.checkpoints import kept_state
from lid_mapmix.utils.errors import UserError
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
    prior = [metrics_of(trained)["class_prior"][name] for name in dev.classes]
    expected = fit("affine", dev.log_probabilities, dev.truth_indices, dev.classes, prior)
    np.testing.assert_allclose(found.matrix, expected.matrix, rtol=1e-6)  # the file has 9 digits
    np.testing.assert_allclose(found.offset, expected.offset, rtol=1e-6, atol=1e-6)
    # Utterances of 1 to 1.2 s, cut to 0.5 s and to 1 s.
    assert found.seconds == pytest.approx((np.exp(np.log(dev.seconds).mean()), 0.5, 1.2), rel=1e-4)
    assert found.best_accuracy == kept_state(trained / "dev-best.ckpt")["best_accuracy"]
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
    calibration = read_calibration(trained / "calibration.json")
    log_probabilities = calibration.log_probabilities(test.log_probabilities, seconds=test.seconds)
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
    without = {"targets", "sources", "count", "ece", "ece_floor", "ece_floor_sd", "cllr_cal"}
    assert intervals.keys() == overall.keys() - without - {"eer_pooled", "c_primary_min_class"}
    assert metrics["drawn"] == "12 utterances"
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
    line, *_ = warnings(capsys.readouterr().out)
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
    expected = fit("affine", dev.log_probabilities, dev.truth_indices, dev.classes)
    np.testing.assert_allclose(found.matrix, expected.matrix, rtol=1e-6)
    assert not warnings(capsys.readouterr().out)


def test_a_checkpoint_that_is_not_the_best_is_not_calibrated(own_run, capsys):
    before = (own_run / "calibration.json").read_bytes()
    assert evaluate(own_run, checkpoint="states-6.ckpt") == 0
    [line] = warnings(capsys.readouterr().out)
    assert "expected dev-best.ckpt" in line
    assert "calibrated" not in metrics_of(own_run)
    assert run("-m", "evaluate", "-t", "dev", "-e", own_run / "states-6.ckpt", "--device", "cpu") == 0
    assert (own_run / "calibration.json").read_bytes() == before
    assert (own_run / "novelty.safetensors").is_file()
    assert read_run(own_run / "states-6.ckpt", "cpu").calibration is None


@pytest.mark.parametrize("remains", [True, False])
def test_without_the_calibration_of_the_checkpoint_dev_is_scored_first(remains, own_run, trained, capsys):
    path = own_run / "calibration.json"
    if remains:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"best_accuracy": 0.123}))
        with pytest.raises(UserError, match=r"the calibration of dev-best\.ckpt, found one of another"):
            read_run(own_run, "cpu")
    else:
        path.unlink()
    assert evaluate(own_run) == 0
    assert "calibration: affine, fitted on" in capsys.readouterr().out
    assert_same_files(own_run, trained, "calibration.json", "dev_scores.csv", "test_metrics.json")


def test_dev_is_scored_in_the_windows_of_test(own_run, corpus, tmp_path):
    windows = (
        "config.downstream_expert.evaluation.window_seconds=0.4,,config.downstream_expert.evaluation.hop_seconds=0.2"
    )
    flags = ["-m", "evaluate", "-e", own_run, "--device", "cpu", "-o", windows]
    assert run(*flags, "-p", tmp_path / "dev", "-t", "dev") == 0
    (tmp_path / "data").mkdir()
    for name in ("audio", "train.csv"):
        (tmp_path / "data" / name).symlink_to(corpus / name)
    (tmp_path / "data" / "test.csv").symlink_to(corpus / "dev.csv")
    assert run(*flags, "-p", tmp_path / "test", "--data", tmp_path / "data") == 0
    as_dev, as_test = read_scores(tmp_path / "dev/dev_scores.csv"), read_scores(tmp_path / "test/test_scores.csv")
    np.testing.assert_allclose(as_dev.log_probabilities, as_test.log_probabilities, atol=1e-5)


def test_a_run_that_is_trained_anew_does_not_keep_the_calibration_of_the_old_one(own_run):
    RunFolder(own_run).clear()
    assert not (own_run / "calibration.json").exists()


def test_what_dev_does_not_say_of_other_voices_is_in_log_card_and_report(own_corpus, tmp_path):
    for split in ("train", "dev"):
        path = own_corpus / f"{split}.csv"
        header, *rows = path.read_text().splitlines()
        path.write_text("\n".join([f"{header},speaker", *(f"{row},s{number % 3}" for number, row in enumerate(rows))]))
    assert train(own_corpus, tmp_path / "run", "-v", "baseline", settings={"runner.report": True}) == 0
    lines = metrics_of(tmp_path / "run")["limits"]
    assert ["fewer than 5 speakers in train" in lines[0], "with speakers of train" in lines[1]] == [True, True]
    log, card = ((tmp_path / "run" / name).read_text() for name in ("log.log", "README.md"))
    page = (tmp_path / "run/report.html").read_text()
    for line in lines:
        assert log.count(f"voices: {line}\n") == 1
        assert card.count("Voices: ") == page.count("Voices: ") == 2
