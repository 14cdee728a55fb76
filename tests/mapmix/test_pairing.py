from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lid_mapmix.mapmix.pairing import Pairing, draw_partners

NUMBERS = st.lists(st.integers(0, 40), min_size=1, max_size=30, unique=True)
CLASSES = st.lists(st.integers(0, 4), min_size=41, max_size=41).map(np.array)


def draw(pairing, anchors, pool, classes=None, seed=0):
    classes = np.zeros(100, dtype=np.int64) if classes is None else np.asarray(classes)
    return draw_partners(pairing, np.array(anchors), np.array(pool), classes, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("pool", "anchor"), [([2, 5, 6, 9], 5), ([2, 5, 6, 9], 2), ([9, 2, 6, 5], 9), ([2, 5, 6, 9], 7), ([2, 5], 99)]
)
def test_partners_are_uniform_over_the_pool(pool, anchor):
    count = 12_000
    drawn = draw(Pairing.ANY, np.full(count, anchor), pool)
    expected = [number for number in pool if number != anchor]
    counts = Counter(drawn.tolist())
    assert set(counts) == set(expected)
    square = sum((counts[number] - count / len(expected)) ** 2 / (count / len(expected)) for number in expected)
    # The 0.999 quantile of chi-square with up to 3 degrees of freedom; the seed is fixed.
    assert square < 16.3


@given(anchors=NUMBERS, pool=NUMBERS, seed=st.integers(0, 99))
def test_partners_are_of_the_pool_and_never_the_anchor(anchors, pool, seed):
    before = list(pool)
    drawn = draw(Pairing.ANY, anchors, pool, seed=seed)
    assert set(drawn.tolist()) <= set(pool)
    if len(pool) > 1:
        assert (drawn != np.array(anchors)).all()
    assert pool == before


def test_an_anchor_alone_in_the_pool_is_its_own_partner():
    assert draw(Pairing.ANY, [4, 3], [4]).tolist() == [4, 4]


@given(anchors=NUMBERS, pool=NUMBERS, classes=CLASSES, seed=st.integers(0, 99))
def test_within_stays_in_the_class_and_off_the_anchor_where_the_class_has_another(anchors, pool, classes, seed):
    for anchor, partner in zip(anchors, draw(Pairing.WITHIN, anchors, pool, classes, seed), strict=True):
        others = {number for number in pool if classes[number] == classes[anchor] and number != anchor}
        assert partner in (others or {anchor})


@given(anchors=NUMBERS, pool=NUMBERS, classes=CLASSES, seed=st.integers(0, 99))
def test_across_never_pairs_within_the_class(anchors, pool, classes, seed):
    if any(all(classes[number] == classes[anchor] for number in pool) for anchor in anchors):
        with pytest.raises(ValueError, match="other class"):
            draw(Pairing.ACROSS, anchors, pool, classes, seed)
        return
    drawn = draw(Pairing.ACROSS, anchors, pool, classes, seed)
    assert set(drawn.tolist()) <= set(pool)
    assert (classes[drawn] != classes[np.array(anchors)]).all()


def test_across_draws_the_class_first():
    # Class 1 has one utterance, class 2 has nine: each class comes up half the time all the same.
    classes = np.array([0, 1, *[2] * 9])
    counts = Counter(draw(Pairing.ACROSS, np.zeros(18_000, dtype=int), range(11), classes).tolist())
    assert counts[1] == pytest.approx(9000, abs=300)
    assert all(counts[number] == pytest.approx(1000, abs=130) for number in range(2, 11))


def test_within_is_uniform_over_the_class():
    classes = np.array([0, 0, 0, 1, 1])
    counts = Counter(draw(Pairing.WITHIN, np.full(10_000, 1), range(5), classes).tolist())
    assert set(counts) == {0, 2}
    assert counts[0] == pytest.approx(5000, abs=250)
