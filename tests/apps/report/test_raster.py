import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lid_mapmix.apps.report.raster import opacities, rasterise

LIMITS = ((0.0, 0.5), (0.0, 1.0))


@given(seed=st.integers(0, 2**32), count=st.integers(0, 200), rows=st.integers(1, 7), columns=st.integers(1, 7))
def test_as_numpys_histogram(seed, count, rows, columns):
    generator = np.random.default_rng(seed)
    horizontal, vertical, values = generator.random(count) / 2, generator.random(count), generator.random(count)
    found = rasterise(horizontal, vertical, values, limits=LIMITS, shape=(rows, columns))
    options = {"bins": (rows, columns), "range": LIMITS[::-1]}
    counts = np.histogram2d(vertical, horizontal, **options)[0]
    sums = np.histogram2d(vertical, horizontal, weights=values, **options)[0]
    assert found.counts.tolist() == counts.tolist()
    assert np.isnan(found.means[counts == 0]).all()
    np.testing.assert_allclose(found.means[counts > 0], (sums / np.maximum(counts, 1))[counts > 0])


def test_points_on_the_edge_and_beyond_are_not_lost():
    horizontal, vertical = np.array([0.0, 0.5, 0.6, -1.0]), np.array([0.0, 1.0, 1.2, 0.5])
    found = rasterise(horizontal, vertical, np.array([0.0, 1.0, 0.5, 1.0]), limits=LIMITS, shape=(2, 2))
    assert found.counts.tolist() == [[1, 0], [1, 2]]
    assert found.means[1, 1] == 0.75


def test_opacity_grows_with_the_count():
    found = opacities(np.array([[0, 1], [10, 100]]), 0.4)
    np.testing.assert_allclose(found, [[0, 0.4], [0.7, 1]])
    assert opacities(np.array([0, 1, 1]), 0.4).tolist() == [0, 1, 1]
    assert opacities(np.zeros(3, int), 0.4).tolist() == [0, 0, 0]


@pytest.mark.parametrize("count", [2, 10**6])
def test_the_fullest_cell_is_opaque(count):
    assert opacities(np.array([1, count]), 0.3).tolist() == pytest.approx([0.3, 1])
