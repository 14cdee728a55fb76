import numpy as np
import pytest
from helpers.scored import scored_of_three
from lid_mapmix.scoring import bootstrap as bs
from lid_mapmix.scoring.weighted import WeightedScores
from scipy.special import log_softmax
from scipy.stats import bootstrap as scipy_bootstrap

CLUSTERS = np.array([0, 0, 1])


def test_one_class_and_probabilities_of_0_and_1():
    with np.errstate(divide="ignore"):
        certain = np.log(np.eye(3)[[0, 1, 2, 2]])
    found = bs.bootstrap(WeightedScores(certain, np.array([0, 1, 2, 1]), CLUSTERS), samples=50)
    assert found["acc"].value == 0.75
    assert all(np.isfinite([one.value, one.low, one.high]).all() for one in found.values())
    one_class = bs.bootstrap(WeightedScores(certain, np.zeros(4, int), CLUSTERS), samples=20)
    assert "eer" not in one_class and "cllr" in one_class
    with pytest.raises(ValueError, match="NaN"):
        bs.bootstrap(WeightedScores(np.full((4, 3), np.nan), np.zeros(4, int), CLUSTERS))


def test_the_interval_agrees_with_scipys_bootstrap():
    values, truth = scored_of_three(2, count=300)
    right = (values.argmax(axis=1) == truth).astype(float)
    interval = bs.bootstrap(WeightedScores(values, truth, CLUSTERS), samples=2000)["acc"]
    other = scipy_bootstrap((right,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(0))
    assert interval.value == pytest.approx(right.mean())
    assert (interval.low, interval.high) == pytest.approx(tuple(other.confidence_interval), abs=0.012)


def test_speakers_and_groups_are_drawn_whole_and_within_classes():
    truth = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2])
    speaker = np.array(["a", "b", "a", "", "c", "d", "c", "d", "e"])
    group = np.array(["", "g", "", "g", "", "", "", "", ""])  # b's, without a name once
    units = bs.sampling_units(truth, group, speaker)
    assert units.name == "speakers" and sorted(units.sizes.tolist()) == [2, 3]  # e joins a class
    assert "5 speakers of 9 utterances, within classes; fewer than 10" in units.text
    assert units.text.endswith("; classes with one: 1, so means over classes have narrow intervals")
    weights = np.concatenate(list(bs.resampling_weights(units, samples=400)))
    for one, other in ((0, 2), (1, 3), (4, 6), (5, 7)):
        assert (weights[:, one] == weights[:, other]).all()
    # One of two weighs 2; of three, two are drawn and weigh 3 / 2 each time.
    assert set(np.unique(weights)) == {0, 1.5, 2, 3} and weights.mean(axis=0) == pytest.approx(np.ones(9), abs=0.2)
    assert bs.sampling_units(truth, group).name == "groups"
    assert bs.sampling_units(truth, np.full(9, "")).name == "utterances"


def test_a_speaker_of_several_classes_is_not_divided():
    units = bs.sampling_units(np.array([0, 1, 0, 1, 0, 1]), speaker=np.array(["a", "a", "b", "b", "c", "c"]))
    assert units.sizes.tolist() == [3] and "within" not in units.text


def test_one_speaker_tells_nothing_of_others():
    values, truth = scored_of_three(1)
    units = bs.sampling_units(truth, speaker=np.full(60, "a"))
    found = bs.bootstrap(WeightedScores(values, truth, CLUSTERS), units, samples=20)
    assert all(np.isfinite(one.value) and np.isnan([one.low, one.high]).all() for one in found.values())


def test_repeating_each_utterance_in_a_group_changes_no_interval():
    values, truth = scored_of_three(3, count=40)
    group = np.repeat([f"{number:02}" for number in range(40)], 3)
    repeated = np.repeat(truth, 3)
    once = bs.bootstrap(WeightedScores(values, truth, CLUSTERS), bs.sampling_units(truth, group[::3]), samples=100)
    thrice = bs.bootstrap(
        WeightedScores(np.repeat(values, 3, axis=0), repeated, CLUSTERS),
        bs.sampling_units(repeated, group),
        samples=100,
    )
    for name in ("acc", "log_loss", "c_primary", "cllr"):
        assert thrice[name].low == pytest.approx(once[name].low, abs=1e-5)
        assert thrice[name].high == pytest.approx(once[name].high, abs=1e-5)


def draw(generator, units, each, classes, effect):
    """Return log-probabilities and truth of a system, and who speaks; a speaker has one class."""
    speaker = np.repeat(np.arange(units), each)
    truth = speaker % classes
    logits = generator.normal(size=(len(truth), classes)) + effect * generator.normal(size=(units, classes))[speaker]
    logits[np.arange(len(truth)), truth] += 1.5
    return log_softmax(1.5 * logits, axis=1), truth, speaker.astype(str)


def error_of(fraction, repeats):
    """Return three standard errors of a fraction found in some repeats."""
    return 3 * (fraction * (1 - fraction) / repeats) ** 0.5


def test_intervals_and_p_hold_for_speakers():
    """30 speakers in 10 classes: intervals of 95 % that drew utterances held in 70 %, and p was below .05 in 27 %."""
    generator, repeats = np.random.default_rng(0), 100
    clusters = np.arange(10) // 2
    large, truth, _ = draw(generator, 10_000, 3, 10, 1.0)
    right = WeightedScores(large, truth, clusters)(np.ones((1, 30_000), np.float32))
    held, below = dict.fromkeys(("acc", "log_loss", "c_primary"), 0), dict.fromkeys(("acc", "log_loss"), 0)
    for _ in range(repeats):
        values, truth, speaker = draw(generator, 30, 8, 10, 1.0)
        other, _, _ = draw(generator, 30, 8, 10, 1.0)
        systems = [WeightedScores(one, truth, clusters) for one in (values, other)]
        units = bs.sampling_units(truth, speaker=speaker)
        found = bs.bootstrap(systems[0], units, samples=100)
        compared = bs.paired_bootstrap(*systems, units, samples=100)
        for name in held:
            held[name] += found[name].low <= right[name][0] <= found[name].high
        for name in below:
            below[name] += compared[name].p < 0.05
    assert all(count / repeats >= 0.93 - error_of(0.95, repeats) for count in held.values())
    assert all(count / repeats <= 0.05 + error_of(0.05, repeats) for count in below.values())


def test_the_interval_of_the_minimum_cost_holds_for_few_utterances():
    """Percentiles held in 83 % of sets of 100 utterances."""
    generator, repeats = np.random.default_rng(1), 200
    large, truth, _ = draw(generator, 50_000, 1, 5, 0.0)
    right = WeightedScores(large, truth, np.zeros(5, int))(np.ones((1, 50_000), np.float32))
    held = dict.fromkeys(("c_primary_min", "eer"), 0)
    for _ in range(repeats):
        values, truth, _ = draw(generator, 100, 1, 5, 0.0)
        found = bs.bootstrap(WeightedScores(values, truth, np.zeros(5, int)), samples=120)
        for name in held:
            held[name] += found[name].low <= right[name][0] <= found[name].high
    assert all(count / repeats >= 0.93 - error_of(0.95, repeats) for count in held.values())


def test_calibration_is_compared_by_proper_scores():
    """A system that is too sure is worse by log loss, Brier score and calibration loss; ECE is not compared."""
    generator = np.random.default_rng(2)
    right = generator.dirichlet(np.ones(3), 600)
    truth = (right.cumsum(axis=1) < generator.random(600)[:, None]).sum(axis=1).clip(max=2)
    systems = [WeightedScores(log_softmax(np.log(right) * power, axis=1), truth, CLUSTERS) for power in (1.0, 2.0)]
    found = bs.paired_bootstrap(*systems, samples=200)
    assert "ece" not in found
    assert all(found[name].p < 0.05 and found[name].low > 0 for name in ("log_loss", "brier", "cllr", "cllr_cal"))
    assert found["cllr_min"].value == pytest.approx(0, abs=1e-3)  # only the scale differs
    assert "cllr_cal" not in bs.bootstrap(systems[0], samples=20)


def test_the_same_seed_gives_the_same_resamples_however_many_at_a_time(monkeypatch):
    values, truth = scored_of_three(4)
    first = bs.bootstrap(WeightedScores(values, truth, CLUSTERS), samples=30)
    monkeypatch.setattr(bs, "_WEIGHTS_AT_ONCE", 60 * 7)
    again = bs.bootstrap(WeightedScores(values, truth, CLUSTERS), samples=30)
    for name, interval in first.items():
        assert (again[name].low, again[name].high) == pytest.approx((interval.low, interval.high))
    assert bs.bootstrap(WeightedScores(values, truth, CLUSTERS), samples=30, seed=1)["cllr"] != first["cllr"]


def test_a_minimum_cost_is_never_above_that_of_rejecting_everything():
    generator = np.random.default_rng(3)
    with np.errstate(divide="ignore"):
        certain = np.log(np.eye(3)[generator.integers(3, size=20)])  # and mostly wrong
    found = bs.bootstrap(WeightedScores(certain, generator.integers(3, size=20), CLUSTERS), samples=50)["c_primary_min"]
    assert found.value < 1 and found.high == 1


def test_a_difference_of_two_systems():
    good, truth = scored_of_three(5, count=200, signal=4.0)
    bad, _ = scored_of_three(5, count=200, signal=1.0)
    found = bs.paired_bootstrap(
        WeightedScores(bad, truth, CLUSTERS), WeightedScores(good, truth, CLUSTERS), samples=200
    )
    assert found["acc"].value > 0 and found["acc"].low > 0 and found["acc"].p == pytest.approx(2 / 201)
    assert found["cllr"].high < 0
    same = bs.paired_bootstrap(WeightedScores(good, truth, CLUSTERS), WeightedScores(good, truth, CLUSTERS), samples=50)
    assert all(one.value == one.low == one.high == 0 and one.p == 1 for one in same.values())
    with pytest.raises(ValueError, match="same utterances"):
        bs.paired_bootstrap(WeightedScores(good, truth, CLUSTERS), WeightedScores(good[:5], truth[:5], CLUSTERS))


def test_mcnemar_worked_by_hand():
    first, second = np.array([True] * 5 + [False] * 5), np.array([True] * 4 + [False] * 6)
    assert bs.mcnemar(first, second) == 1.0  # one utterance speaks for the first: p = 2 · 1/2
    second[:4] = False
    assert bs.mcnemar(first, second) == pytest.approx(2 * 0.5**5)
    assert bs.mcnemar(first, first) == 1.0
