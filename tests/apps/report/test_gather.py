"""What a report reads of a run: its curves."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lid_mapmix.apps.report.gather import Curve, last_course, read_curves, thinned


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(-1, 1)), max_size=40))
def test_a_course_ends_as_it_was_last_written(points):
    curve = last_course(points)
    assert (np.diff(curve.steps) > 0).all()
    if points:
        assert (curve.steps[-1], curve.values[-1]) == points[-1]
    # What is kept of each point: it stands unless the same step or one before it was written later.
    kept = [
        (step, value)
        for place, (step, value) in enumerate(points)
        if all(later > step for later, _ in points[place + 1 :])
    ]
    assert list(zip(curve.steps.tolist(), curve.values.tolist(), strict=True)) == kept


@given(st.integers(1, 50), st.integers(1, 20))
def test_a_thinned_curve_has_the_mean_and_the_end_of_the_whole(count, most):
    curve = Curve(np.arange(count) * 3, np.random.default_rng(count).random(count))
    thin = thinned(curve, most)
    assert len(thin.steps) == min(count, most)
    assert thin.steps[-1] == curve.steps[-1]
    if count % most == 0:
        assert thin.values.mean() == pytest.approx(curve.values.mean())


def test_curves_are_those_of_the_log(trained):
    curves = read_curves(trained)
    logged = re.findall(r"^dev at step ([1-9]\d*): acc ([\d.]+)", (trained / "log.log").read_text(), re.MULTILINE)
    accuracy = curves["dev-acc"]
    assert accuracy.steps.tolist() == [int(step) for step, _ in logged]
    np.testing.assert_allclose(accuracy.values, [float(value) for _, value in logged], atol=1e-4)
    assert len(curves["train-loss"].steps)


def test_no_events_are_no_curves(tmp_path):
    assert read_curves(tmp_path) == {}
