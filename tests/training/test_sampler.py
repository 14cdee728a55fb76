import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lid_mapmix.mapmix.mixup import LambdaPer, Pairing
from lid_mapmix.training.sampler import NO_PARTNER, TrainSampler

NUMBERS = st.lists(st.integers(0, 40), min_size=1, max_size=30, unique=True)


def sampler(anchors=range(10), partners=range(10), **changes):
    settings = {"batch_size": 4, "alpha": 0.5, "probability": 1.0, "seed": 7} | changes
    return TrainSampler(
        anchors=np.array(anchors),
        partners=None if partners is None else np.array(partners),
        **{"classes": np.zeros(5000, dtype=np.int64)} | settings,
    )


@given(
    anchors=NUMBERS,
    partners=NUMBERS | st.none(),
    size=st.integers(1, 12),
    epoch=st.integers(0, 5),
    seed=st.integers(0, 2**32),
)
def test_an_epoch(anchors, partners, size, epoch, seed):
    made = sampler(anchors, partners, batch_size=size, seed=seed)
    batches = list(made.batches(epoch))
    draws = [draw for batch in batches for draw in batch]
    assert len(batches) == len(made) == math.ceil(len(anchors) / size)
    assert all(len(batch) == size for batch in batches[:-1])
    assert sorted(draw.anchor for draw in draws) == sorted(anchors)
    assert all(draw.epoch == epoch for draw in draws)
    for batch in batches:
        assert len({draw.weight for draw in batch}) == 1
        assert 0 <= batch[0].weight <= 1
    if partners is None:
        assert all(draw.partner == NO_PARTNER and draw.weight == 1 for draw in draws)
    else:
        assert all(draw.partner in partners for draw in draws)
        assert all(draw.partner != draw.anchor for draw in draws) or len(partners) == 1


@given(anchors=NUMBERS, partners=NUMBERS | st.none(), size=st.integers(1, 12), data=st.data())
def test_an_epoch_can_be_taken_up_anywhere(anchors, partners, size, data):
    made = sampler(anchors, partners, batch_size=size)
    first = data.draw(st.integers(0, len(made)))
    assert list(made.batches(3, first)) == list(made.batches(3))[first:]
    assert list(sampler(anchors, partners, batch_size=size).batches(3)) == list(made.batches(3))


def test_epochs_and_seeds_differ_in_order_partners_and_weights():
    made, other = sampler(range(30), range(30)), sampler(range(30), range(30), seed=8)
    epochs = [[draw for batch in batches for draw in batch] for batches in map(made.batches, range(3))]
    epochs.append([draw for batch in other.batches(0) for draw in batch])
    for number, epoch in enumerate(epochs):
        for another in epochs[:number]:
            assert [draw.anchor for draw in epoch] != [draw.anchor for draw in another]
            partner_of = [{draw.anchor: draw.partner for draw in draws} for draws in (epoch, another)]
            assert partner_of[0] != partner_of[1]
            assert {draw.weight for draw in epoch}.isdisjoint({draw.weight for draw in another})


def test_anchors_meet_others_each_epoch():
    batch_of_0 = [
        frozenset(draw.anchor for draw in batch) - {0}
        for epoch in range(20)
        for batch in sampler().batches(epoch)
        if any(draw.anchor == 0 for draw in batch)
    ]
    assert len(batch_of_0) == 20
    assert len(set(batch_of_0)) > 10


def test_a_batch_larger_than_the_data_is_one_batch():
    made = sampler(range(3), range(3), batch_size=100)
    assert len(made) == 1
    (batch,) = made.batches(0)
    assert sorted(draw.anchor for draw in batch) == [0, 1, 2]


def test_every_pair_of_anchor_and_partner_comes_up():
    pairs = Counter(
        (draw.anchor, draw.partner)
        for epoch in range(400)
        for batch in sampler(range(4), range(5)).batches(epoch)
        for draw in batch
    )
    assert set(pairs) == {(anchor, partner) for anchor in range(4) for partner in range(5) if anchor != partner}
    # 400 epochs, 4 partners: 100 ± 8.7 each.
    assert all(60 < count < 140 for count in pairs.values())


@pytest.mark.parametrize(("alpha", "variance"), [(0.5, 1 / 8), (1.0, 1 / 12), (4.0, 1 / 36)])
def test_weights_are_beta_distributed(alpha, variance):
    # Beta(α, α): mean 1/2, variance 1 / (4 (2α + 1)).
    assert variance == pytest.approx(1 / (4 * (2 * alpha + 1)))
    made = sampler(range(4000), range(4000), batch_size=1, alpha=alpha)
    weights = np.array([batch[0].weight for batch in made.batches(0)])
    assert weights.mean() == pytest.approx(0.5, abs=4 * math.sqrt(variance / 4000))
    assert weights.var() == pytest.approx(variance, rel=0.08)


def test_a_share_of_the_batches_is_mixed():
    weights = np.array(
        [batch[0].weight for batch in sampler(range(3000), range(3000), batch_size=1, probability=0.3).batches(0)]
    )
    assert np.mean(weights < 1) == pytest.approx(0.3, abs=0.04)
    unmixed = sampler(probability=0.0)
    assert all(draw.weight == 1.0 and draw.partner != NO_PARTNER for batch in unmixed.batches(0) for draw in batch)


def test_each_utterance_can_have_a_weight_of_its_own():
    made = sampler(range(40), range(40), batch_size=20, lambda_per=LambdaPer.UTTERANCE)
    for batch in made.batches(0):
        assert len({draw.weight for draw in batch}) == len(batch)
        assert all(0 <= draw.weight <= 1 for draw in batch)


@pytest.mark.parametrize("pairing", list(Pairing))
def test_the_pairing_reaches_the_draws(pairing):
    classes = np.arange(40) % 4
    made = sampler(range(40), range(40), classes=classes, pairing=pairing)
    alike = [classes[draw.anchor] == classes[draw.partner] for batch in made.batches(0) for draw in batch]
    assert {Pairing.WITHIN: all(alike), Pairing.ACROSS: not any(alike), Pairing.ANY: any(alike) and not all(alike)}[
        pairing
    ]


@given(
    count=st.integers(1, 30),
    size=st.integers(1, 12),
    processes=st.integers(1, 5),
    per=st.sampled_from(LambdaPer),
    epoch=st.integers(0, 3),
)
def test_processes_share_out_the_batches_of_one(count, size, processes, per, epoch):
    settings = {"anchors": range(count), "partners": range(count), "batch_size": size, "lambda_per": per}
    alone = list(sampler(**settings).batches(epoch))
    together = [
        list(sampler(**settings, process=process, processes=processes).batches(epoch)) for process in range(processes)
    ]
    for batch, *parts in zip(alone, *together, strict=True):
        drawn = [draw._replace(loss_weight=1.0) for part in parts for draw in part if draw.loss_weight]
        assert drawn == batch
        assert all(part for part in parts)
        assert max(map(len, parts)) <= sampler(**settings, processes=processes).max_rows
        # The mean over processes of the weighted means is the mean over the batch.
        for draw in batch:
            counted = [
                own.loss_weight / len(part) for part in parts for own in part if own.loss_weight and own[:4] == draw[:4]
            ]
            assert sum(counted) / processes == pytest.approx(1 / len(batch) * len(counted))


@pytest.mark.parametrize("pairing", ["any", "within", "across"])
@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_the_class_priors_are_those_of_what_is_drawn(pairing, power):
    classes = np.repeat([0, 1, 2], [40, 15, 5])
    sampler = TrainSampler(
        anchors=np.arange(60),
        partners=np.flatnonzero(classes < 2),
        classes=classes,
        batch_size=8,
        alpha=1.0,
        probability=0.5,
        seed=0,
        pairing=Pairing(pairing if pairing != "within" else "any"),
        lambda_per=LambdaPer.UTTERANCE,
        power=power,
    )
    mass = np.zeros(3)
    for epoch in range(150):
        for draw in (draw for batch in sampler.batches(epoch) for draw in batch):
            mass[classes[draw.anchor]] += draw.weight
            mass[classes[draw.partner]] += 1 - draw.weight
    tolerance = 0.1 if pairing == "across" else 0.02  # there the anchor's class is not drawn again, which is left out
    np.testing.assert_allclose(sampler.class_prior(3), mass / mass.sum(), atol=tolerance)
    assert sampler.class_prior(4)[3] > 0  # a class that is not drawn is improbable, not impossible
