from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lid_mapmix.mapmix import mixup
from torch.nn import functional


def generator(seed=0):
    return np.random.default_rng(seed)


def test_lambda_follows_the_symmetric_beta_distribution():
    alpha = 0.5
    weights = mixup.draw_lambda(generator(), alpha, 1.0, 20_000)
    assert weights.shape == (20_000,)
    assert ((weights >= 0) & (weights <= 1)).all()
    assert abs(weights.mean() - 0.5) < 0.01
    assert abs(weights.var() - 1 / (4 * (2 * alpha + 1))) < 0.005  # of Beta(α, α)
    # Beta(1/2, 1/2) is the arcsine distribution: P(λ < 1/4) = 1/3.
    assert abs((weights < 0.25).mean() - 1 / 3) < 0.01


def test_lambda_is_one_where_not_mixed():
    assert (mixup.draw_lambda(generator(), 0.5, 0.0, 100) == 1).all()
    weights = mixup.draw_lambda(generator(), 0.5, 0.25, 10_000)
    assert abs((weights == 1).mean() - 0.75) < 0.02


def test_lambda_does_not_depend_on_the_probability():
    always = mixup.draw_lambda(generator(), 0.5, 1.0, 100)
    seldom = mixup.draw_lambda(generator(), 0.5, 0.4, 100)
    assert (seldom[seldom < 1] == always[seldom < 1]).all()


def test_lambda_comes_from_its_generator_alone():
    np.random.seed(1)  # noqa: NPY002
    first = mixup.draw_lambda(generator(7), 0.5, 1.0, 3).tolist()
    np.random.seed(2)  # noqa: NPY002
    assert mixup.draw_lambda(generator(7), 0.5, 1.0, 3).tolist() == first


def test_mix_worked_by_hand():
    anchor, partner = torch.tensor([[1.0, 0.0], [4.0, 8.0]]), torch.tensor([[0.0, 1.0], [0.0, 4.0]])
    mixed = mixup.mix(anchor, partner, torch.tensor([0.75, 0.25]))
    assert mixed.tolist() == [[0.75, 0.25], [1.0, 5.0]]
    assert anchor.tolist() == [[1, 0], [4, 8]]
    assert partner.tolist() == [[0, 1], [0, 4]]


@given(st.integers(0, 2**32), st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_mix_with_weight_one_is_the_anchor_and_zero_the_partner(seed, shape):
    torch_generator = torch.Generator().manual_seed(seed)
    anchor, partner = torch.randn(2, *shape, generator=torch_generator)
    assert torch.equal(mixup.mix(anchor, partner, torch.ones(shape[0])), anchor)
    assert torch.equal(mixup.mix(anchor, partner, torch.zeros(shape[0])), partner)


@given(st.integers(0, 2**32))
def test_mixed_targets_are_distributions_and_mixing_is_symmetric(seed):
    torch_generator = torch.Generator().manual_seed(seed)
    anchor, partner = torch.rand(2, 5, 7, generator=torch_generator).softmax(-1)
    weight = torch.rand(5, generator=torch_generator)
    mixed = mixup.mix(anchor, partner, weight)
    torch.testing.assert_close(mixed.sum(-1), torch.ones(5))
    torch.testing.assert_close(mixed, mixup.mix(partner, anchor, 1 - weight))


def test_mix_keeps_the_dtype_of_the_anchor_and_passes_gradients():
    anchor = torch.ones(2, 3, dtype=torch.bfloat16, requires_grad=True)
    mixed = mixup.mix(anchor, torch.zeros_like(anchor), torch.tensor([0.25, 0.5], dtype=torch.float64))
    assert mixed.dtype == torch.bfloat16
    mixed.sum().backward()
    assert anchor.grad.float().tolist() == [[0.25] * 3, [0.5] * 3]


@pytest.mark.parametrize("weight", [torch.ones(3), torch.ones(()), torch.ones(2, 1)])
def test_mix_rejects_weights_of_another_shape(weight):
    with pytest.raises(ValueError, match="weight of shape"):
        mixup.mix(torch.ones(2, 3), torch.ones(2, 3), weight)
    with pytest.raises(ValueError, match="one shape"):
        mixup.mix(torch.ones(2, 3), torch.ones(2, 4), torch.ones(2))


def test_loss_worked_by_hand():
    # Equal logits: the loss is log 2, whatever the target.
    assert mixup.soft_cross_entropy(torch.zeros(1, 2), torch.tensor([[0.3, 0.7]])).item() == pytest.approx(np.log(2))
    # Logits log 3 and 0 are probabilities 3/4 and 1/4.
    logits = torch.tensor([[np.log(3.0), 0.0]])
    expected = -(0.5 * np.log(0.75) + 0.5 * np.log(0.25))
    assert mixup.soft_cross_entropy(logits, torch.tensor([[0.5, 0.5]])).item() == pytest.approx(expected)


@given(st.integers(0, 2**32))
def test_loss_agrees_with_torch(seed):
    torch_generator = torch.Generator().manual_seed(seed)
    logits = 10 * torch.randn(6, 5, generator=torch_generator)
    soft = torch.randn(6, 5, generator=torch_generator).softmax(-1)
    target_classes = torch.randint(5, (6,), generator=torch_generator)
    torch.testing.assert_close(mixup.soft_cross_entropy(logits, soft).mean(), functional.cross_entropy(logits, soft))
    one_hot = functional.one_hot(target_classes, 5)
    torch.testing.assert_close(
        mixup.soft_cross_entropy(logits, one_hot).mean(), functional.cross_entropy(logits, target_classes)
    )


def test_loss_is_linear_in_the_targets():
    logits, a, b = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0))
    a, b = a.softmax(-1), b.softmax(-1)
    mixed = mixup.soft_cross_entropy(logits, mixup.mix(a, b, torch.full((4,), 0.3)))
    expected = 0.3 * mixup.soft_cross_entropy(logits, a) + 0.7 * mixup.soft_cross_entropy(logits, b)
    torch.testing.assert_close(mixed, expected)


def test_loss_is_float32_also_for_half_precision_logits():
    logits = torch.tensor([[40.0, 0.0]], dtype=torch.float16)
    loss = mixup.soft_cross_entropy(logits, torch.tensor([[0.0, 1.0]], dtype=torch.float64))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(40)
    logits = torch.tensor([[0.5, 0.25]], dtype=torch.float16)  # exact, but not their log-softmax
    loss = mixup.soft_cross_entropy(logits, torch.tensor([[1.0, 0.0]]))
    assert loss.item() == pytest.approx(np.log1p(np.exp(-0.25)), rel=1e-6)
    with pytest.raises(ValueError, match="one shape"):
        mixup.soft_cross_entropy(logits, torch.tensor([0, 1]))


def wave(seed, loudness, offset=0.0, samples=400):
    return (np.random.default_rng(seed).normal(offset, loudness, samples)).astype(np.float32)


@given(weight=st.floats(0, 1), loud=st.floats(0.01, 10), quiet=st.floats(0.01, 10))
def test_waveforms_are_mixed_at_equal_loudness(weight, loud, quiet):
    anchor, partner = wave(0, loud, 0.3), wave(1, quiet)
    before = anchor.copy()
    mixed = mixup.mix_waveforms(anchor, partner, weight)
    normal = [(each - each.mean()) / each.std() for each in (anchor, partner)]
    level = weight * anchor.std() + (1 - weight) * partner.std()
    np.testing.assert_allclose(mixed, level * (weight * normal[0] + (1 - weight) * normal[1]), atol=1e-4 * level)
    np.testing.assert_array_equal(anchor, before)


def test_a_weight_of_one_gives_the_anchor_back_less_its_mean():
    anchor = wave(0, 0.1, offset=0.02)
    np.testing.assert_allclose(mixup.mix_waveforms(anchor, wave(1, 3.0), 1.0), anchor - anchor.mean(), atol=1e-6)


def test_padding_counts_for_nothing_and_silence_stays_silence():
    audio = wave(0, 0.1)
    padded = np.concatenate([np.zeros(100, np.float32), audio, np.zeros(50, np.float32)])
    silence = np.zeros(550, np.float32)
    mixed = mixup.mix_waveforms(padded, silence, 0.5, real=(slice(100, 500), slice(0, 550)))
    assert (mixed[:100] == 0).all()
    assert (mixed[500:] == 0).all()
    np.testing.assert_allclose(mixed[100:500], 0.25 * (audio - audio.mean()), atol=1e-6)
    assert np.isfinite(mixup.mix_waveforms(silence, silence, 0.5)).all()
    with pytest.raises(ValueError, match="one length"):
        mixup.mix_waveforms(padded, audio, 0.5)


NUMBERS = st.lists(st.integers(0, 40), min_size=1, max_size=30, unique=True)
CLASSES = st.lists(st.integers(0, 4), min_size=41, max_size=41).map(np.array)


def draw(pairing, anchors, pool, classes=None, seed=0):
    classes = np.zeros(100, dtype=np.int64) if classes is None else np.asarray(classes)
    return mixup.draw_partners(pairing, np.array(anchors), np.array(pool), classes, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("pool", "anchor"), [([2, 5, 6, 9], 5), ([2, 5, 6, 9], 2), ([9, 2, 6, 5], 9), ([2, 5, 6, 9], 7), ([2, 5], 99)]
)
def test_partners_are_uniform_over_the_pool(pool, anchor):
    count = 12_000
    drawn = draw(mixup.Pairing.ANY, np.full(count, anchor), pool)
    expected = [number for number in pool if number != anchor]
    counts = Counter(drawn.tolist())
    assert set(counts) == set(expected)
    square = sum((counts[number] - count / len(expected)) ** 2 / (count / len(expected)) for number in expected)
    # The 0.999 quantile of chi-square with up to 3 degrees of freedom; the seed is fixed.
    assert square < 16.3


@given(anchors=NUMBERS, pool=NUMBERS, seed=st.integers(0, 99))
def test_partners_are_of_the_pool_and_never_the_anchor(anchors, pool, seed):
    before = list(pool)
    drawn = draw(mixup.Pairing.ANY, anchors, pool, seed=seed)
    assert set(drawn.tolist()) <= set(pool)
    if len(pool) > 1:
        assert (drawn != np.array(anchors)).all()
    assert pool == before


def test_an_anchor_alone_in_the_pool_is_its_own_partner():
    assert draw(mixup.Pairing.ANY, [4, 3], [4]).tolist() == [4, 4]


@given(anchors=NUMBERS, pool=NUMBERS, classes=CLASSES, seed=st.integers(0, 99))
def test_within_stays_in_the_class_and_off_the_anchor_where_the_class_has_another(anchors, pool, classes, seed):
    for anchor, partner in zip(anchors, draw(mixup.Pairing.WITHIN, anchors, pool, classes, seed), strict=True):
        others = {number for number in pool if classes[number] == classes[anchor] and number != anchor}
        assert partner in (others or {anchor})


@given(anchors=NUMBERS, pool=NUMBERS, classes=CLASSES, seed=st.integers(0, 99))
def test_across_never_pairs_within_the_class(anchors, pool, classes, seed):
    if any(all(classes[number] == classes[anchor] for number in pool) for anchor in anchors):
        with pytest.raises(ValueError, match="high <= 0"):
            draw(mixup.Pairing.ACROSS, anchors, pool, classes, seed)
        return
    drawn = draw(mixup.Pairing.ACROSS, anchors, pool, classes, seed)
    assert set(drawn.tolist()) <= set(pool)
    assert (classes[drawn] != classes[np.array(anchors)]).all()


def test_across_draws_the_class_first():
    # Class 1 has one utterance, class 2 has nine: each class comes up half the time all the same.
    classes = np.array([0, 1, *[2] * 9])
    counts = Counter(draw(mixup.Pairing.ACROSS, np.zeros(18_000, dtype=int), range(11), classes).tolist())
    assert counts[1] == pytest.approx(9000, abs=300)
    assert all(counts[number] == pytest.approx(1000, abs=130) for number in range(2, 11))


def test_within_is_uniform_over_the_class():
    classes = np.array([0, 0, 0, 1, 1])
    counts = Counter(draw(mixup.Pairing.WITHIN, np.full(10_000, 1), range(5), classes).tolist())
    assert set(counts) == {0, 2}
    assert counts[0] == pytest.approx(5000, abs=250)
