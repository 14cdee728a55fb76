from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lid_mapmix.data.balance import Sampling, class_quotas, draw_anchors
from lid_mapmix.training.sampler import TrainSampler

SIZES = st.lists(st.integers(1, 50), min_size=1, max_size=8)
POWERS = st.floats(0, 1)


def expected(sizes, power):
    """Return n^power's share of an epoch."""
    weights = [size**power for size in sizes]
    return [sum(sizes) * weight / sum(weights) for weight in weights]


@given(sizes=SIZES, power=POWERS, seed=st.integers(0, 999))
def test_quotas_fill_the_epoch_and_are_rounded_up_or_down(sizes, power, seed):
    quotas = class_quotas(np.array(sizes), power, np.random.default_rng(seed))
    assert quotas.sum() == sum(sizes)
    assert quotas.min() >= 1
    np.testing.assert_array_less(np.abs(quotas - expected(sizes, power)), 1)


@pytest.mark.parametrize("power", [0.0, 0.3, 0.5, 0.9])
def test_frequencies_are_those_of_the_theory(power):
    sizes = np.array([1, 4, 9, 100])
    mean = np.mean([class_quotas(sizes, power, np.random.default_rng(seed)) for seed in range(4000)], axis=0)
    # Fractions are drawn with a deviation of at most 1/2: 4000 of them have one of 0.008.
    np.testing.assert_allclose(mean, expected(sizes.tolist(), power), atol=0.04)


@given(sizes=SIZES, power=POWERS, seed=st.integers(0, 999))
def test_members_of_a_class_come_equally_often_or_once_more(sizes, power, seed):
    generator = np.random.default_rng(seed)
    classes = generator.permutation(np.repeat(np.arange(len(sizes)), sizes))
    drawn, turns = draw_anchors(np.arange(len(classes)), classes, power, generator)
    assert len(drawn) == len(classes)
    counts = np.bincount(drawn, minlength=len(classes))
    for number in range(len(sizes)):
        own = counts[classes == number]
        assert own.max() - own.min() <= 1
    # Each turn of an utterance has a number of its own, from 0 on.
    turns_of = Counter(drawn.tolist())
    assert set(zip(drawn.tolist(), turns.tolist(), strict=True)) == {
        (utterance, turn) for utterance, count in turns_of.items() for turn in range(count)
    }


@given(sizes=SIZES, seed=st.integers(0, 999))
def test_power_1_takes_each_once(sizes, seed):
    classes = np.repeat(np.arange(len(sizes)), sizes)
    drawn, turns = draw_anchors(np.arange(len(classes)), classes, 1.0, np.random.default_rng(seed))
    assert sorted(drawn.tolist()) == list(range(len(classes)))
    assert not turns.any()


def test_only_anchors_are_drawn():
    classes = np.array([0, 0, 0, 1, 1, 2])
    drawn, _ = draw_anchors(np.array([1, 2, 5]), classes, 0.0, np.random.default_rng(0))
    assert len(drawn) == 3
    assert set(drawn.tolist()) <= {1, 2, 5}
    assert 5 in drawn


def test_each_way_of_sampling_has_a_power():
    assert [sampling.exponent(0.3) for sampling in Sampling] == [1.0, 0.0, 0.3]


def sampler(power, **changes):
    classes = np.repeat([0, 1], [40, 8])
    everyone = np.arange(48)
    settings = {"partners": None, "batch_size": 5, "alpha": 0.5, "probability": 1.0, "seed": 3} | changes
    return TrainSampler(anchors=everyone, classes=classes, power=power, **settings)


def test_epochs_of_the_sampler_are_balanced_shuffled_and_can_be_taken_up_anywhere():
    made = sampler(0.0)
    batches = list(made.batches(2))
    draws = [draw for batch in batches for draw in batch]
    assert (len(made), len(draws)) == (10, 48)
    assert sum(draw.anchor >= 40 for draw in draws) == 24
    # Each utterance of the smaller class has three turns.
    assert {(draw.anchor, draw.repeat) for draw in draws if draw.anchor >= 40} == {
        (anchor, turn) for anchor in range(40, 48) for turn in range(3)
    }
    classes = [draw.anchor >= 40 for draw in draws]
    assert classes not in (sorted(classes), sorted(classes, reverse=True))
    assert list(sampler(0.0).batches(2, 4)) == batches[4:]
    assert {draw.anchor for draw in draws} != {draw.anchor for batch in made.batches(3) for draw in batch}


def test_processes_share_out_balanced_batches():
    alone = [[draw.anchor for draw in batch] for batch in sampler(0.5).batches(1)]
    parts = [list(sampler(0.5, process=process, processes=2).batches(1)) for process in range(2)]
    together = [
        [draw.anchor for part in both for draw in part if draw.loss_weight] for both in zip(*parts, strict=True)
    ]
    assert together == alone
