import numpy as np
import pytest
from helpers.scored import scored
from hypothesis import given, settings
from hypothesis import strategies as st
from lid_mapmix.scoring.detection import multiclass_cllr
from lid_mapmix.scoring.proper import best_affine, cllr_parts
from scipy.optimize import minimize
from scipy.special import log_softmax


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([(), (1,)]))
def test_the_parts_add_up_and_are_not_negative(seed, absent):
    values, truth = scored(seed, absent=absent)
    parts = cllr_parts(values, truth)
    assert parts["cllr_min"] + parts["cllr_cal"] == pytest.approx(multiclass_cllr(values, truth))
    assert parts["cllr_min"] >= 0 and parts["cllr_cal"] >= 0


def test_the_discrimination_is_that_of_a_direct_search():
    values, truth = scored(0, count=200)

    def cllr(numbers):
        return multiclass_cllr(log_softmax(values * numbers[0] + np.append(numbers[1:], 0), axis=1), truth)

    best = minimize(
        cllr, [1.0, 0, 0, 0], method="Nelder-Mead", options={"maxiter": 4000, "xatol": 1e-6, "fatol": 1e-10}
    )
    assert cllr_parts(values, truth)["cllr_min"] == pytest.approx(best.fun, abs=1e-5)


def test_a_scale_and_offsets_are_calibration_loss_alone():
    values, truth = scored(1, count=300)
    changed = values * 3 + np.array([1.0, -2.0, 0.5, 0.0])
    before, after = cllr_parts(values, truth), cllr_parts(changed, truth)
    assert after["cllr_min"] == pytest.approx(before["cllr_min"], abs=1e-4)
    assert abs(after["cllr_cal"] - before["cllr_cal"]) > 0.1


def test_certain_and_wrong_answers_are_bounded():
    with np.errstate(divide="ignore"):
        values = np.log(np.eye(3)[[0, 1, 2, 0]])
    parts = cllr_parts(values, np.array([0, 1, 2, 1]))
    assert 0 <= parts["cllr_min"] < 1.7 and np.isfinite(best_affine(values, np.array([0, 1, 2, 1]))).all()
