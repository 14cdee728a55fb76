import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from lid_mapmix.mapmix import datamap
from reference.dynamics import measures_of

PROBABILITY = st.floats(0, 1, width=32)
CONFIDENCES = hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 1))


@st.composite
def dynamics(draw):
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 12)))
    return draw(hnp.arrays(np.float32, shape, elements=PROBABILITY)), draw(hnp.arrays(bool, shape))


def test_measures_worked_by_hand():
    probabilities = np.array([[0.5, 1.0, 0.25], [0.25, 1.0, 0.25], [0.75, 1.0, 0.25], [0.5, 1.0, 0.25]], np.float32)
    correct = np.array([[1, 1, 0], [0, 1, 0], [1, 1, 0], [0, 1, 0]], bool)
    result = datamap.measures(probabilities, correct)
    assert result.confidence.tolist() == [0.5, 1.0, 0.25]
    np.testing.assert_allclose(result.variability, [np.sqrt(0.125 / 4), 0, 0])
    assert result.correctness.tolist() == [0.5, 1.0, 0.0]
    assert result.threshold_closeness.tolist() == [0.25, 0.0, 0.1875]
    np.testing.assert_array_equal(result.forgetfulness, [2, 0, np.nan])
    assert result.epochs.tolist() == [4, 4, 4]


@given(dynamics())
def test_measures_agree_with_a_literal_loop(drawn):
    probabilities, correct = drawn
    result = datamap.measures(probabilities, correct)
    for utterance in range(probabilities.shape[1]):
        for name, expected in measures_of(probabilities[:, utterance], correct[:, utterance]).items():
            found = getattr(result, name)[utterance]
            assert np.isnan(found) if expected is None else found == pytest.approx(expected, abs=1e-9), name


@given(dynamics(), st.data())
def test_epochs_in_which_an_utterance_was_not_heard_count_for_nothing(drawn, data):
    probabilities, correct = drawn
    heard = data.draw(hnp.arrays(bool, probabilities.shape))
    result = datamap.measures(np.where(heard, probabilities, np.nan).astype(np.float32), correct & heard)
    for utterance in range(probabilities.shape[1]):
        rows = heard[:, utterance]
        if not rows.any():
            found = {name: values[utterance] for name, values in vars(result).items()}
            assert found.pop("epochs") == 0
            assert np.isnan(list(found.values())).all()
            continue
        for name, expected in measures_of(probabilities[rows, utterance], correct[rows, utterance]).items():
            found = getattr(result, name)[utterance]
            assert np.isnan(found) if expected is None else found == pytest.approx(expected, abs=1e-9), name


@given(dynamics(), st.randoms(use_true_random=False))
def test_measures_follow_a_permutation_of_the_utterances(drawn, random):
    probabilities, correct = drawn
    order = list(range(probabilities.shape[1]))
    random.shuffle(order)
    straight, shuffled = datamap.measures(*drawn), datamap.measures(probabilities[:, order], correct[:, order])
    for name in ("confidence", "variability", "correctness", "threshold_closeness", "forgetfulness"):
        np.testing.assert_allclose(getattr(shuffled, name), getattr(straight, name)[order], atol=1e-12)


@given(dynamics())
def test_measures_do_not_change_where_they_are_continued(drawn):
    probabilities, correct = drawn
    running = datamap.RunningMeasures(probabilities.shape[1])
    for epoch in range(len(probabilities)):
        running.add(probabilities[epoch], correct[epoch])
        for name, values in vars(datamap.measures(probabilities[: epoch + 1], correct[: epoch + 1])).items():
            np.testing.assert_array_equal(getattr(running.measures(), name), values)


def test_fixed_regions_are_strict_at_their_edges():
    points = [
        (0.61, 0.29, "easy"),
        (0.6, 0.0, "ambiguous"),
        (0.9, 0.3, "ambiguous"),
        (0.29, 0.19, "hard"),
        (0.3, 0.0, "ambiguous"),
        (0.1, 0.2, "ambiguous"),
        (1.0, 0.0, "easy"),
        (0.0, 0.0, "hard"),
        (0.45, 0.1, "ambiguous"),
    ]
    confidence, variability, expected = (np.array(column) for column in zip(*points, strict=True))
    assert datamap.fixed_regions(confidence, variability).tolist() == expected.tolist()


def test_fixed_regions_take_the_ablations_threshold():
    regions = datamap.fixed_regions(np.array([0.64, 0.66]), np.zeros(2), easy_confidence=0.65)
    assert regions.tolist() == ["ambiguous", "easy"]


@given(CONFIDENCES, st.floats(0, 0.5))
def test_every_utterance_has_one_region(confidence, variability):
    for regions in (
        datamap.fixed_regions(confidence, np.full(len(confidence), variability)),
        datamap.quantile_regions(confidence),
    ):
        assert regions.shape == confidence.shape
        assert set(regions) <= set(datamap.Region)


@given(CONFIDENCES, st.floats(0, 1), st.floats(0, 1))
def test_quantile_regions_have_exact_sizes_and_are_ordered(confidence, easy_fraction, rest_fraction):
    hard_fraction = (1 - easy_fraction) * rest_fraction
    regions = datamap.quantile_regions(confidence, easy_fraction=easy_fraction, hard_fraction=hard_fraction)
    count = len(confidence)
    easy = int(np.floor(easy_fraction * count + 0.5))
    assert (regions == "easy").sum() == easy
    assert (regions == "hard").sum() == min(int(np.floor(hard_fraction * count + 0.5)), count - easy)
    easiest = {"hard": 0, "ambiguous": 1, "easy": 2}
    levels = np.array([easiest[region] for region in regions])
    for lower in (0, 1):
        if (levels <= lower).any() and (levels > lower).any():
            assert confidence[levels <= lower].max() <= confidence[levels > lower].min()


@given(st.integers(0, 2**32))
def test_quantile_regions_in_groups_are_those_of_each_group_alone(seed):
    generator = np.random.default_rng(seed)
    confidence, groups = generator.random(80).round(2), generator.integers(0, 5, 80)
    regions = datamap.quantile_regions(confidence, easy_fraction=0.3, hard_fraction=0.2, groups=groups)
    for group in np.unique(groups):
        alone = datamap.quantile_regions(confidence[groups == group], easy_fraction=0.3, hard_fraction=0.2)
        assert regions[groups == group].tolist() == alone.tolist()


@given(st.integers(0, 2**32))
def test_quantile_regions_follow_a_permutation_where_there_are_no_ties(seed):
    generator = np.random.default_rng(seed)
    confidence, order = generator.permutation(40) / 40, generator.permutation(40)
    shuffled = datamap.quantile_regions(confidence[order])
    assert shuffled.tolist() == datamap.quantile_regions(confidence)[order].tolist()


def test_ties_go_by_the_order_of_the_utterances():
    regions = datamap.quantile_regions(np.full(4, 0.5), easy_fraction=0.5, hard_fraction=0.25)
    assert regions.tolist() == ["easy", "easy", "ambiguous", "hard"]


def test_default_shares_are_the_papers():
    regions = datamap.quantile_regions(np.random.default_rng(0).random(24_757))
    assert (regions == "easy").sum() == round(0.33 * 24_757)
    assert abs((regions == "hard").sum() - 710) < 0.0015 * 24_757


def test_the_unread_are_counted_where_there_are_any():
    counts = datamap.region_counts(np.array(["easy", "unread", "hard"]), np.array([0, 0, 1]), ["a", "b"])
    assert counts["a"] == {"easy": 1, "ambiguous": 0, "hard": 0, "unread": 1, "count": 2}
    assert counts["total"] == {"easy": 1, "ambiguous": 0, "hard": 1, "unread": 1, "count": 3}


def test_regions_are_counted_by_class_and_in_all():
    regions = np.array(["easy", "hard", "easy", "ambiguous"])
    assert datamap.region_counts(regions, np.array([0, 0, 2, 0]), ["b", "a", "c"]) == {
        "b": {"easy": 1, "ambiguous": 1, "hard": 1, "count": 3},
        "a": {"easy": 0, "ambiguous": 0, "hard": 0, "count": 0},
        "c": {"easy": 1, "ambiguous": 0, "hard": 0, "count": 1},
        "total": {"easy": 2, "ambiguous": 1, "hard": 1, "count": 4},
    }
