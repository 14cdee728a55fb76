import csv
import json

import numpy as np
import pytest
from helpers.synthetic import make_corpus, open_split
from lid_mapmix.data.dataset import Split
from lid_mapmix.data.manifest.manifest import read_manifest
from lid_mapmix.evaluation.results import intervals, score, score_calibrated, write_results
from lid_mapmix.scoring.bootstrap import bootstrap, sampling_units
from lid_mapmix.scoring.calibration_fit import fit
from lid_mapmix.scoring.weighted import WeightedScores
from lid_mapmix.utils.run_folder import RunFolder


@pytest.fixture
def scored(tmp_path):
    manifest = make_corpus(tmp_path / "data", sizes={"test": 2}, seconds=0.1) / "test.csv"
    _, labels = open_split(tmp_path / "data", "test")
    header, *rows = manifest.read_text().splitlines()
    manifest.write_text("\n".join([header, *(rows[number] for number in (0, 1, 3, 6))]) + "\n")
    split = Split.open(read_manifest(manifest), labels)
    # Gold classes 0 0 1 3; answers 0, 1 (same cluster), 1, 0 (another cluster).
    probabilities = np.array([[0.7, 0.1, 0.1, 0.1], [0.2, 0.6, 0.1, 0.1], [0, 1, 0, 0], [0.4, 0.3, 0.2, 0.1]])
    return split, labels, probabilities


def test_scores_by_hand(scored):
    metrics = score(*scored)
    overall = metrics["overall"]
    assert overall["count"] == 4
    assert overall["acc"] == pytest.approx(0.5)
    assert overall["c_acc"] == pytest.approx(0.75)
    assert metrics["by_source"]["hum"]["count"] == 4
    assert {name: cluster["count"] for name, cluster in metrics["by_cluster"].items()} == {"xaa": 3, "ybb": 1}


def test_the_files_of_a_split(scored, tmp_path):
    split, labels, probabilities = scored
    metrics = score(split, labels, probabilities)
    write_results(
        RunFolder(tmp_path),
        "test",
        split=split,
        labels=labels,
        probabilities=probabilities,
        metrics=metrics,
    )
    ids = split.manifest.columns["id"].tolist()
    answers = ["xaa-one", "xaa-two", "xaa-two", "xaa-one"]
    truth = ["xaa-one", "xaa-one", "xaa-two", "ybb-two"]
    with (tmp_path / "test_scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == ids
    assert [row["class"] for row in rows] == truth
    assert [row["prediction"] for row in rows] == answers
    assert [(row["group"], row["source"]) for row in rows] == [("", "hum")] * 4
    written = np.array([[float(row[name]) for name in labels.classes] for row in rows])
    np.testing.assert_allclose(np.exp(written), probabilities, atol=1e-8)
    assert written[2].tolist() == [-np.inf, 0, -np.inf, -np.inf]
    assert json.loads((tmp_path / "test_metrics.json").read_text())["overall"]["acc"] == 0.5
    for name, values in (("predict", answers), ("truth", truth)):
        lines = (tmp_path / f"test_{name}.txt").read_text().splitlines()
        assert [line.split(" ", 1) for line in lines] == [[one, value] for one, value in zip(ids, values, strict=True)]


def test_scores_after_calibration_are_of_likelihoods_without_class_priors(scored):
    split, labels, probabilities = scored
    generator = np.random.default_rng(0)
    dev = np.log(generator.dirichlet(np.ones(4), 60))
    truth, prior = generator.integers(4, size=60), np.array([0.1, 0.2, 0.3, 0.4])  # prior: of the training data
    calibration = fit("full", dev, truth, labels.classes, prior)
    found = score_calibrated(split, labels, probabilities, calibration)
    with np.errstate(divide="ignore"):
        logarithms = np.log(probabilities)
    posteriors = np.exp(calibration.log_probabilities(logarithms))
    overall, target_classes = found["calibrated"]["overall"], split.target_classes
    assert found["calibrated"]["kind"] == "full"
    assert overall["acc"] == (posteriors.argmax(axis=1) == target_classes).mean()
    likelihoods = posteriors / prior
    likelihoods /= likelihoods.sum(axis=1, keepdims=True)
    bits = -np.log2(likelihoods[np.arange(4), target_classes])
    # Gold classes 0 0 1 3.
    assert overall["cllr"] == pytest.approx(np.mean([bits[:2].mean(), bits[2], bits[3]]))
    assert [point["count"] for point in found["reliability"]["before"]] == [1, 1, 1, 1]
    assert sum(point["count"] for point in found["reliability"]["after"]) == 4


def test_intervals_are_those_of_whole_groups(tmp_path):
    split, labels = open_split(make_corpus(tmp_path / "data", sizes={"test": 6}, seconds=0.1), "test")
    probabilities = np.random.default_rng(0).dirichlet(np.ones(4), len(split.target_classes))
    alone = intervals(split, labels, probabilities, samples=50)["intervals"]
    group = np.array([f"g{number // 3}" for number in range(len(probabilities))])
    split.manifest.columns["group"] = group
    grouped = intervals(split, labels, probabilities, samples=50)
    system = WeightedScores(np.log(probabilities), split.target_classes, labels.cluster_indices)
    units = sampling_units(split.target_classes, group)
    expected = bootstrap(system, units, samples=50)
    assert grouped["intervals"] == {name: [one.low, one.high] for name, one in expected.items()}
    assert grouped["intervals"]["acc"] != alone["acc"]
    assert grouped["drawn"] == units.text and units.text.startswith("8 groups of 24 utterances")
