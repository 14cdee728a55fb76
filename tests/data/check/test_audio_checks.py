"""Cramér's V against its definition, and what it is when nothing or everything is told."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from lid_mapmix.data.check.audio_checks import association


@given(arrays(np.int64, st.tuples(st.integers(2, 5), st.integers(2, 4)), elements=st.integers(1, 50)))
def test_it_is_the_corrected_v_of_bergsma(counts):
    total = counts.sum()
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / total
    squared = ((counts - expected) ** 2 / expected).sum() / total
    rows, columns = counts.shape
    corrected = max(0.0, squared - (rows - 1) * (columns - 1) / (total - 1))
    sizes = [size - (size - 1) ** 2 / (total - 1) for size in (rows, columns)]
    assert association(counts).strength == pytest.approx(min(1.0, np.sqrt(corrected / (min(sizes) - 1))))


def test_a_band_that_tells_the_class():
    assert association(np.array([[100, 0], [0, 100], [0, 100]])).strength == pytest.approx(1, abs=0.01)
    assert association(np.array([[100, 0], [0, 100]])).probability < 1e-9


def test_independent_columns_are_seldom_associated():
    generator = np.random.default_rng(0)
    tables = [generator.multinomial(70, [0.3, 0.7], size=21) for _ in range(50)]
    assert max(association(table).strength for table in tables) < 0.15


@pytest.mark.parametrize("counts", [[[5, 0], [3, 0]], [[5, 3]], [[0, 0], [0, 0]]])
def test_what_does_not_vary_tells_nothing(counts):
    assert association(np.array(counts)).strength == 0
