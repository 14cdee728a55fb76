import json

import numpy as np
import pytest
from lid_mapmix.scoring import detection, metrics
from lid_mapmix.scoring.slices import metrics_with_slices

PROBABILITIES = np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.1, 0.2, 0.7], [0.5, 0.3, 0.2]])
TRUTH = np.array([0, 0, 2, 2])
CLUSTERS = {"cluster_indices": np.array([0, 0, 1]), "cluster_names": ["english", "iberian"]}


def test_slices_worked_by_hand():
    result = metrics_with_slices(
        PROBABILITIES,
        TRUTH,
        **CLUSTERS,
        seconds=np.array([3.02, 10.4, 2.9, np.nan]),
        source=np.array(["mls14", "mls14", "vast", ""]),
    )
    assert list(result) == ["overall", "by_duration", "by_source", "by_cluster"]
    assert (result["overall"]["count"], result["overall"]["acc"]) == (4, 0.5)
    assert {name: scores["count"] for name, scores in result["by_duration"].items()} == {"3": 2, "10": 1}
    assert result["by_duration"]["3"]["acc"] == 1
    assert {name: (s["count"], s["acc"]) for name, s in result["by_source"].items()} == {
        "mls14": (2, 0.5),
        "vast": (1, 1.0),
    }
    english, iberian = result["by_cluster"]["english"], result["by_cluster"]["iberian"]
    assert (english["count"], english["c_acc"], english["acc"], english["within_cluster_acc"]) == (2, 1, 0.5, 0.5)
    assert (iberian["count"], iberian["c_acc"], iberian["acc"], iberian["within_cluster_acc"]) == (2, 0.5, 0.5, 1)


def test_a_slice_is_scored_as_its_utterances_alone():
    result = metrics_with_slices(PROBABILITIES, TRUTH, **CLUSTERS, source=np.array(["a", "b", "a", "b"]))
    alone = metrics.summarize(PROBABILITIES[1::2], TRUTH[1::2], CLUSTERS["cluster_indices"])
    detected = detection.summarize_detection(np.log(PROBABILITIES[1::2]), TRUTH[1::2])
    assert result["by_source"]["b"] == {**alone, **detected, "count": 2}


def test_costs_are_the_mean_of_two_sources():
    source = np.array(["a", "b", "a", "b"])
    result = metrics_with_slices(PROBABILITIES, TRUTH, **CLUSTERS, source=source)
    halves = [result["by_source"][name]["c_primary"] for name in "ab"]
    assert result["overall"]["c_primary"] == pytest.approx(np.mean(halves))
    assert (result["overall"]["sources"], result["by_source"]["a"]["sources"]) == (2, 1)


def test_a_slice_of_one_class_has_no_costs_and_probabilities_of_0_are_scored():
    result = metrics_with_slices(np.eye(3)[[0, 1, 1]], np.array([0, 0, 2]), **CLUSTERS)
    assert result["by_cluster"]["iberian"]["eer"] is None
    json.dumps(result, allow_nan=False)


def test_slices_that_do_not_apply_are_absent():
    assert list(metrics_with_slices(PROBABILITIES, TRUTH, **CLUSTERS)) == ["overall", "by_cluster"]
    result = metrics_with_slices(PROBABILITIES, TRUTH, **CLUSTERS, seconds=np.full(4, np.nan), source=np.full(4, ""))
    assert list(result) == ["overall", "by_cluster"]


def test_clusters_without_an_utterance_are_absent():
    result = metrics_with_slices(PROBABILITIES[:2], TRUTH[:2], **CLUSTERS)
    assert list(result["by_cluster"]) == ["english"]


@pytest.mark.parametrize(("durations", "sliced"), [(12, True), (13, False)])
def test_durations_that_are_not_nominal_make_no_slices(durations, sliced):
    seconds = np.arange(26) % durations + 1.0
    probabilities, truth = np.tile(PROBABILITIES, (7, 1))[:26], np.tile(TRUTH, 7)[:26]
    result = metrics_with_slices(probabilities, truth, **CLUSTERS, seconds=seconds)
    assert ("by_duration" in result) == sliced


def test_durations_stand_in_order_of_length():
    result = metrics_with_slices(PROBABILITIES, TRUTH, **CLUSTERS, seconds=np.array([30.0, 3.0, 10.0, 2.5]))
    assert list(result["by_duration"]) == ["3", "10", "30"]  # 2.5 is rounded up
