import json

import numpy as np
import pytest
from lid_mapmix.scoring import detection, metrics
from lid_mapmix.scoring.scorecard import all_scores, class_scores, metrics_with_slices
from sklearn.metrics import precision_recall_fscore_support

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


def test_classes_worked_by_hand():
    result = metrics_with_slices(PROBABILITIES, TRUTH, **CLUSTERS, class_names=["one", "two", "three"])
    assert list(result["by_class"]) == ["one", "three"]  # two is never the truth
    one, three = result["by_class"]["one"], result["by_class"]["three"]
    # Answers are one, two | three, one. Answered as one: one of two right.
    assert (one["acc"], one["precision"], one["f1"], one["c_acc"]) == (0.5, 0.5, 0.5, 1.0)
    assert (three["acc"], three["precision"], three["c_acc"]) == (0.5, 1.0, 0.5)
    assert three["f1"] == pytest.approx(2 / 3)
    assert one["ece"] == pytest.approx((0.2 + 0.6) / 2)  # .8 right, .6 wrong
    assert one["cllr"] == pytest.approx(-np.log2(0.8 * 0.3) / 2)
    # Ratios of one rank its own first and third; one in two of each side is wrong.
    assert one["eer"] == 0.5
    # Of three: its own at first and second place.
    assert three["eer"] == 0
    assert (one["answers"], one["count"], three["answers"], three["count"]) == (2, 2, 1, 2)


def test_classes_agree_with_scikit_learn_and_their_means_with_the_whole():
    generator = np.random.default_rng(0)
    probabilities, truth = generator.dirichlet(np.ones(4), 200), generator.integers(4, size=200)
    result = metrics_with_slices(
        probabilities, truth, cluster_indices=np.zeros(4, int), cluster_names=["all"], class_names=list("abcd")
    )
    classes, overall = result["by_class"].values(), result["overall"]
    found = precision_recall_fscore_support(truth, probabilities.argmax(axis=1))
    for name, expected in zip(("precision", "acc", "f1", "count"), found, strict=True):
        assert [scores[name] for scores in classes] == pytest.approx(expected.tolist())
    for name, mean in (("f1", "macro_f1"), ("eer", "eer"), ("cllr", "cllr")):
        assert np.mean([scores[name] for scores in classes]) == pytest.approx(overall[mean])


def test_a_class_that_is_never_the_answer_and_one_that_is_alone():
    certain = np.eye(3)[[0, 0]]
    never = class_scores(certain, np.array([0, 1]), np.zeros(3, int), ["a", "b", "c"], metrics.logarithms(certain))["b"]
    assert (never["precision"], never["f1"], never["acc"], never["answers"]) == (None, 0, 0, 0)
    alone = class_scores(certain, np.array([0, 0]), np.zeros(3, int), ["a", "b", "c"], metrics.logarithms(certain))["a"]
    assert (alone["eer"], alone["precision"], alone["cllr"]) == (None, 1, 0)
    json.dumps([never, alone], allow_nan=False)


def test_likelihoods_of_their_own_move_the_scores_of_detection_only():
    likelihoods = np.log(PROBABILITIES[:, ::-1])
    found = all_scores(PROBABILITIES, TRUTH, CLUSTERS["cluster_indices"], log_likelihoods=likelihoods)
    assert found["acc"] == (PROBABILITIES.argmax(axis=1) == TRUTH).mean()
    assert found["cllr"] == detection.multiclass_cllr(likelihoods, TRUTH)
