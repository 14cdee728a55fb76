"""Scores of a model that has learned unequal class priors."""

import numpy as np
import pytest
from lid_mapmix.scoring.bootstrap import bootstrap, sampling_units
from lid_mapmix.scoring.class_priors import divide_out, ordered_priors, read_priors
from lid_mapmix.scoring.detection import summarize_detection
from lid_mapmix.scoring.scorecard import metrics_with_slices
from lid_mapmix.scoring.weighted import WeightedScores
from scipy.special import log_softmax

PRIOR = np.array([0.85, 0.1, 0.05])
CLUSTERS = {"cluster_indices": np.array([0, 0, 1]), "cluster_names": ["one", "two"]}


@pytest.fixture(scope="module")
def posteriors():
    """Return the posteriors of a model trained on unequal classes, and the classes of a test with equal ones."""
    generator = np.random.default_rng(0)
    truth = generator.integers(3, size=3000)
    observed = generator.standard_normal((3000, 3)) + 1.5 * np.eye(3)[truth]
    return log_softmax(1.5 * observed + np.log(PRIOR), axis=1), truth


def test_costs_are_of_likelihoods(posteriors):
    """Posteriors passed as likelihoods: C_primary .589, and .442 without the priors of training."""
    values, truth = posteriors
    taken_as_likelihoods = metrics_with_slices(np.exp(values), truth, **CLUSTERS)["overall"]
    found = metrics_with_slices(np.exp(values), truth, **CLUSTERS, class_prior=PRIOR)["overall"]
    ratio = np.exp(values) / PRIOR  # an independent division
    expected = summarize_detection(np.log(ratio / ratio.sum(axis=1, keepdims=True)), truth)
    for name in ("eer", "c_primary", "cllr"):
        assert found[name] == pytest.approx(expected[name])
    assert found["c_primary"] < taken_as_likelihoods["c_primary"] - 0.1
    assert found["cllr_cal"] < 0.01 and taken_as_likelihoods["cllr_cal"] > 0.1
    # What is said of the model's own answers stays.
    for name in ("acc", "wf1", "ece", "log_loss", "brier"):
        assert found[name] == taken_as_likelihoods[name]


def test_intervals_are_of_the_same_scores(posteriors):
    values, truth = posteriors
    system = WeightedScores(values, truth, CLUSTERS["cluster_indices"], class_prior=PRIOR)
    found = bootstrap(system, sampling_units(truth, None, None), 20)
    expected = metrics_with_slices(np.exp(values), truth, **CLUSTERS, class_prior=PRIOR)["overall"]
    for name, interval in found.items():
        assert interval.value == pytest.approx(expected[name], abs=2e-3), name


def test_equal_priors_change_nothing(posteriors):
    values, _ = posteriors
    assert divide_out(values, None) is values
    np.testing.assert_allclose(divide_out(values, [1 / 3] * 3), values)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"b": 3, "a": 1}', {"b": 3.0, "a": 1.0}),
        ('{"overall": {}, "class_prior": {"a": 0.25, "b": 0.75}}', {"a": 0.25, "b": 0.75}),
        ('{"overall": {}}', None),
        ('{"classes": ["a", "b"], "prior": [0.25, 0.75]}', {"a": 0.25, "b": 0.75}),
    ],
)
def test_priors_of_each_file_that_has_them(text, found, tmp_path):
    (tmp_path / "priors.json").write_text(text)
    assert read_priors(tmp_path / "priors.json") == found
    if found is not None:
        assert ordered_priors(found, ("b", "a")) == [0.75, 0.25]
        for classes in (("a",), ("a", "b", "c")):
            with pytest.raises(ValueError, match="classes in one only"):
                ordered_priors(found, classes)


@pytest.mark.parametrize(
    "text", ["[1]", "3", '{"a": "x"}', '{"a": [1]}', '{"classes": 1, "prior": 2}', "[" * 100_000, ""]
)
def test_a_file_without_priors_is_a_value_error(text, tmp_path):
    (tmp_path / "priors.json").write_text(text)
    with pytest.raises(ValueError):
        read_priors(tmp_path / "priors.json")
