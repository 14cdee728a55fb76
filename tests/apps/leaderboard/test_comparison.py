"""Which row is called best: equal methods whose seeds differ, identical rows, few or missing runs."""

from pathlib import Path

import numpy as np
import pytest
from lid_mapmix.apps.leaderboard.comparison import Compared, best_row, resample
from lid_mapmix.scoring.bootstrap import resampled_scores
from lid_mapmix.scoring.files.own import ScoreFile
from lid_mapmix.scoring.weighted import WeightedScores
from lid_mapmix.utils.randomness import keyed_generator
from scipy.special import log_softmax

CLUSTERS = np.array([0, 0, 1])
CLASSES = ("a-x", "a-y", "b-z")
COUNT = 120


def make_scores(seed, signal, count=COUNT, first_id=0):
    """Return scores of a made system; the truth depends on nothing but the number of utterances."""
    truth = keyed_generator(0, "truth").integers(3, size=count)
    logits = keyed_generator(seed, "logits").normal(size=(count, 3))
    logits[np.arange(count), truth] += signal
    names = np.array(CLASSES)
    return ScoreFile(
        path=Path("test_scores.csv"),
        classes=CLASSES,
        ids=np.array([f"u{first_id + number:05d}" for number in range(count)]),
        truth=names[truth],
        predictions=names[logits.argmax(axis=1)],
        seconds=np.ones(count),
        group=np.full(count, ""),
        source=np.full(count, ""),
        speaker=np.full(count, ""),
        log_probabilities=log_softmax(logits, axis=1),
    )


def compared(seed, signal, **keywords):
    scores = make_scores(seed, signal, **keywords)
    return resample(scores, scores.log_probabilities, CLUSTERS, None, samples=400)


def best(rows, column="acc", *, is_higher_better=True):
    means = [np.mean([one.values[column] for one in row.values()]) if row else None for row in rows]
    return best_row(column, means, rows, is_higher_better=is_higher_better)


@pytest.mark.parametrize("runs", [1, 2])
def test_with_fewer_than_three_runs_nothing_is_best(runs):
    rows = [{("d", seed): compared(10 * row + seed, 3.0 * row) for seed in range(runs)} for row in (0, 1)]
    assert best(rows) == (1, None, False)


def test_equal_methods_whose_seeds_differ_are_seldom_best():
    """Their seeds differ by 5 points: three runs were bold in 11 % when runs were drawn, and the runs' p is uniform."""
    generator, repeats, found = np.random.default_rng(0), 400, []
    for _ in range(repeats):
        rows = []
        for _ in range(2):
            value = 0.6 + 0.05 * generator.normal(size=3)
            common = 0.01 * generator.normal(size=41)  # what the utterances do to all runs
            moved = value[:, None] + common[0] + common[1:]
            rows.append(
                {("d", seed): Compared(1, {"acc": value[seed] + common[0]}, {"acc": moved[seed]}) for seed in range(3)}
            )
        found.append(best(rows)[1])
    p = np.array(found)
    for limit in (0.05, 0.2, 0.5):
        assert abs(np.mean(p < limit) - limit) < 3 * (limit * (1 - limit) / repeats) ** 0.5 + limit / 10


def test_the_arithmetic_of_a_machine_decides_nothing():
    """Equal scores differ in the eighth digit by how a machine has added them up."""
    resampled = {"acc": np.full(400, 0.5)}
    better = {"acc": resampled["acc"] + np.where(np.arange(400) % 2, 1e-2, 0)}
    rows = [
        {("d", seed): Compared(1, {"acc": value}, moved) for seed in range(3)}
        for value, moved in ((0.5, resampled), (0.505, better), (0.505 + 1e-8, {"acc": better["acc"] + 1e-8}))
    ]
    assert best([rows[0], rows[1]]) == best([rows[0], rows[2]])
    assert best([rows[1], rows[2]])[1:] == (1.0, False)


def test_the_order_of_utterances_in_a_file_does_not_matter():
    one = make_scores(1, 0.5)
    turned = np.arange(COUNT)[::-1]
    changes = {name: getattr(one, name)[turned] for name in ("ids", "truth", "predictions", "log_probabilities")}
    other = ScoreFile(**{**vars(one), **changes})
    first, second = (resample(each, each.log_probabilities, CLUSTERS, None, samples=50) for each in (one, other))
    assert first.test_set == second.test_set
    for name in ("acc", "wf1", "log_loss", "log_loss_calibrated", "c_primary"):
        np.testing.assert_allclose(first.resampled[name], second.resampled[name], atol=1e-6)


def test_a_row_like_another_is_not_best():
    rows = [{("d", seed): compared(seed, 1.0) for seed in range(3)} for _ in range(2)]
    number, p, is_best = best(rows)
    assert (number, p, is_best) == (0, 1.0, False)


def test_a_row_far_above_all_others_is_best_and_one_rival_suffices_against_it():
    def row(signal, first=0):
        return {("d", seed): compared(seed + first, signal) for seed in range(3)}

    far, near = row(3.0), row(2.9, first=50)
    assert best([row(0.5, 10), far, row(0.4, 20)]) == (1, pytest.approx(0.005, abs=0.005), True)
    number, p, is_best = best([row(0.5, 10), far, near])
    assert number in (1, 2) and p >= 0.05 and not is_best
    # Where less is better, it is the other end.
    assert best([row(0.5, 10), far], "c_primary", is_higher_better=False)[0] == 1


def test_a_difference_of_one_seed_alone_is_not_enough():
    """One seed of the first row is far better than the second's, and the others are a little worse."""
    first = {("d", seed): compared(1 + seed, signal) for seed, signal in enumerate((3.0, 0.6, 0.6))}
    second = {("d", seed): compared(11 + seed, signal) for seed, signal in enumerate((0.5, 0.8, 0.8))}
    number, p, is_best = best([first, second])
    assert number == 0
    assert p > 0.3 and not is_best


def test_the_calibration_error_is_not_compared():
    rows = [{("d", seed): compared(10 * row + seed, 3.0 * row) for seed in range(3)} for row in (0, 1)]
    assert best_row("ece", [0.3, 0.1], rows, is_higher_better=False) == (1, None, False)


def test_rows_that_share_no_run_are_not_compared():
    one, other = compared(1, 3.0), compared(2, 0.2)
    assert best([{("d", 0): one}, {("d", 1): other}]) == (0, None, False)
    elsewhere = compared(2, 0.2, first_id=1000)
    assert best([{("d", 0): one}, {("d", 0): elsewhere}]) == (0, None, False)
    assert best([{("d", 0): one}]) == (0, None, False)
    assert best([{("d", 0): one}, {}]) == (0, None, False)
    assert best([{}, {}]) is None


def test_resampled_scores_are_those_of_the_system():
    scores = make_scores(1, 1.0)
    system = WeightedScores(scores.log_probabilities, scores.truth_indices, CLUSTERS)
    ((values, resampled),) = resampled_scores(system, samples=300, seed=3)
    right = (scores.predictions == scores.truth).mean()
    assert values["acc"] == pytest.approx(right, abs=1e-6)
    assert resampled["acc"].shape == (300,)
    # The standard error of a share.
    assert resampled["acc"].std() == pytest.approx((right * (1 - right) / COUNT) ** 0.5, rel=0.2)
