import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lid_mapmix.scoring import calibration as cal
from lid_mapmix.scoring import calibration_fit as cal_fit
from lid_mapmix.scoring.choices import Kind
from lid_mapmix.scoring.metrics import expected_calibration_error, reliability_curve
from lid_mapmix.utils.errors import UserError
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

KINDS = list(Kind)
NAMES = ("a", "b", "c", "d")


def cross_entropy(scores, truth):
    return -log_softmax(scores, axis=1)[np.arange(len(truth)), truth].mean()


def fit_temperature(scores, truth):
    names = [str(number) for number in range(scores.shape[1])]
    return 1 / cal_fit.fit("temperature", scores, truth, names).matrix[0][0]


def apply_temperature(scores, temperature):
    names = tuple(str(number) for number in range(scores.shape[1]))
    numbers = np.eye(len(names)) / temperature, np.zeros(len(names)), np.full(len(names), 1 / len(names))
    return cal.Calibration.of(Kind.TEMPERATURE, names, *numbers).log_probabilities(scores)


def overconfident(temperature, count=20_000, classes=4, seed=0):
    """Return log-probabilities that are `temperature` times too steep, and truths drawn from the right ones."""
    generator = np.random.default_rng(seed)
    right = np.log(generator.dirichlet(np.ones(classes), count))
    uniform = generator.random(count)
    truth = (np.exp(right).cumsum(axis=1) < uniform[:, None]).sum(axis=1).clip(max=classes - 1)
    return apply_temperature(right, 1 / temperature), truth


@pytest.mark.parametrize("temperature", [0.3, 0.7, 1.0, 2.0, 5.0])
def test_the_temperature_that_was_put_in_is_found(temperature):
    assert fit_temperature(*overconfident(temperature)) == pytest.approx(temperature, rel=0.03)


def test_two_classes_agree_with_logistic_regression_of_scikit_learn():
    scores, truth = overconfident(2.0, count=100_000, classes=2)
    difference = (scores[:, 1] - scores[:, 0])[:, None]
    slope = LogisticRegression(C=1e9, fit_intercept=False, tol=1e-9).fit(difference, truth).coef_.item()
    assert fit_temperature(scores, truth) == pytest.approx(1 / slope, rel=1e-3)


def test_the_penalised_loss_is_that_of_the_module():
    # An independent transcription, an utterance at a time, and differences for the gradient.
    scores, truth = distorted(1, count=6)
    changed = scores * 0.7 + np.array([0.3, 0, -0.2, 0])
    loss = cal_fit.PenalisedLoss(scores, truth, 3)

    def by_hand(changed):
        before = [np.exp(row) / np.exp(row).sum() for row in scores]
        after = [np.exp(row) / np.exp(row).sum() for row in changed]
        lost = sum(-np.log(row[name]) for row, name in zip(before, truth, strict=True)) / 6
        apart = sum((one * np.log(one / other)).sum() for one, other in zip(before, after, strict=True)) / 6
        errors = sum(row.argmax() != name for row, name in zip(before, truth, strict=True))
        scarcity = 1 + (8 / (errors + 1)) ** 2
        penalty = scarcity * 2 * 3 * np.log(1 + 24 / lost * apart / 2)
        return (sum(-np.log(row[name]) for row, name in zip(after, truth, strict=True)) + penalty) / 6

    value, slope = loss(changed)
    assert value == pytest.approx(by_hand(changed), rel=1e-12)
    for place in np.ndindex(changed.shape):
        step = np.zeros(changed.shape)
        step[place] = 1e-5
        assert slope[place] == pytest.approx((by_hand(changed + step) - by_hand(changed - step)) / 2e-5, abs=1e-8)


@pytest.mark.parametrize("kind", ["temperature", "affine", "vector"])
def test_a_perfect_dev_split_does_not_make_wrong_answers_certain(kind):
    """12 utterances without an error gave T = .02, and a cross entropy of 13.8 in place of .65 on other data."""
    dev, dev_truth = gaussian(12, 4, 2.5, seed=3)
    dev[np.arange(12), dev_truth] = dev.max(axis=1) + 1  # no error
    test, truth = gaussian(4000, 4, 2.5, seed=4)
    fitted = cal_fit.fit(kind, dev, dev_truth, NAMES)
    assert fitted.errors == 0 and "fewer than 10 errors" in fitted.basis
    assert cross_entropy(fitted.log_probabilities(test), truth) < 1.1 * cross_entropy(test, truth)


@pytest.mark.parametrize("kind", ["temperature", "affine", "vector"])
def test_a_dev_split_that_is_easier_than_test_moves_little(kind):
    """200 utterances without an error, or with one, gave a scale of 4 and raised the cross entropy from .65 to 4.2."""
    dev, dev_truth = gaussian(200, 4, 2.5, seed=3)
    wrong = dev.argmax(axis=1) != dev_truth
    dev[wrong, dev_truth[wrong]] = dev[wrong].max(axis=1) + 1
    dev[0] = dev[0, np.roll(np.arange(4), 1)]  # one error
    test, truth = gaussian(4000, 4, 2.5, seed=4)
    fitted = cal_fit.fit(kind, log_softmax(dev, axis=1), dev_truth, NAMES)
    assert fitted.errors == 1 and "with 1 error;" in fitted.basis
    assert cross_entropy(fitted.log_probabilities(test), truth) < 1.1 * cross_entropy(test, truth)


@pytest.mark.parametrize(("classes", "accuracy_scale"), [(2, 1.2), (20, 2.5), (20, 4.0)])
@pytest.mark.parametrize("count", [5, 20, 50])
def test_a_few_utterances_do_no_harm_to_calibrated_scores(classes, accuracy_scale, count):
    """The cells of bench/calibration.py where a fit can only lose: at most 1 % of the loss is lost, on average."""
    test, truth = gaussian(4000, classes, accuracy_scale, seed=99)
    right = cross_entropy(test, truth)
    losses = []
    for seed in range(40):
        temperature = fit_temperature(*gaussian(count, classes, accuracy_scale, seed=seed))
        losses.append(cross_entropy(apply_temperature(test, temperature), truth))
    spread = np.std(losses) / np.sqrt(len(losses))
    assert np.mean(losses) <= 1.01 * right + 2 * spread


def gaussian(count, classes, distance, seed):
    """Return the calibrated log-probabilities of classes at unit vectors times a distance, with noise of variance 1."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(classes, size=count)
    observed = generator.standard_normal((count, classes)) + distance * np.eye(classes)[truth]
    return log_softmax(distance * observed, axis=1), truth


@settings(deadline=None)
@given(seed=st.integers(0, 999), temperature=st.floats(0.02, 50))
def test_it_changes_no_answer_and_rows_sum_to_one(seed, temperature):
    scores, _ = overconfident(1.0, count=20, seed=seed)
    calibrated = apply_temperature(scores, temperature)
    assert (calibrated.argmax(axis=1) == scores.argmax(axis=1)).all()
    np.testing.assert_allclose(np.exp(calibrated).sum(axis=1), 1)


def test_a_probability_of_zero_is_no_reason_to_fail():
    scores = np.array([[0.0, -np.inf], [-np.inf, 0.0], [np.log(0.6), np.log(0.4)]])
    truth = np.array([0, 0, 1])
    assert np.isfinite(fit_temperature(scores, truth))
    assert np.isfinite(apply_temperature(scores, 3.0)).all()


def test_faults_of_the_caller():
    with pytest.raises(ValueError, match="at least 1, found 0"):
        fit_temperature(np.zeros((0, 2)), np.zeros(0, int))
    with pytest.raises(ValueError, match="NaN"):
        fit_temperature(np.full((2, 2), np.nan), np.zeros(2, int))


def distorted(seed, count=400, classes=4):
    """Return scores of an overconfident model that prefers some classes, and truths that favour others."""
    generator = np.random.default_rng(seed)
    right = np.log(generator.dirichlet(np.ones(classes), count))
    truth = (np.exp(right).cumsum(axis=1) < generator.random(count)[:, None]).sum(axis=1).clip(max=classes - 1)
    truth[:classes] = np.arange(classes)
    slopes, offsets = generator.uniform(0.5, 4, classes), generator.normal(size=classes)
    return log_softmax(right * slopes + offsets, axis=1), truth


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.sampled_from([5, 40, 400]), kind=st.sampled_from(KINDS))
def test_no_calibration_raises_the_cross_entropy_of_what_it_is_fitted_on(seed, count, kind):
    scores, truth = distorted(seed, max(count, 20) if kind is Kind.FULL else count)
    fitted = cal_fit.fit(kind, scores, truth, NAMES)
    prior = (np.bincount(truth, minlength=4) + 1) / (len(truth) + 4)  # those of dev, in the fit
    before = cross_entropy(scores + np.log(prior), truth)
    after = cross_entropy(fitted.log_probabilities(scores, prior), truth)
    assert after <= before + 1e-9
    np.testing.assert_allclose(np.exp(fitted.log_probabilities(scores)).sum(axis=1), 1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_scale_and_the_constants_of_the_scores_do_not_matter(kind):
    scores, truth = distorted(1, count=4000)
    scores = scores / 5  # so that none is beyond what is cut off
    first = cal_fit.fit(kind, scores, truth, NAMES).log_probabilities(scores)
    # Of 4000 utterances the penalty, which knows the scale, is a small part.
    again = cal_fit.fit(kind, scores * 4, truth, NAMES).log_probabilities(scores * 4)
    np.testing.assert_allclose(np.exp(again), np.exp(first), atol=2e-2)
    scores, truth = scores[:200], truth[:200]
    first = cal_fit.fit(kind, scores, truth, NAMES).log_probabilities(scores)
    shifts = np.random.default_rng(0).normal(size=(200, 1)) * 300
    shifted = cal_fit.fit(kind, scores + shifts, truth, NAMES).log_probabilities(scores + shifts)
    np.testing.assert_allclose(np.exp(shifted), np.exp(first), atol=5e-3)


def test_more_freedom_fits_better_and_offsets_are_found():
    scores, truth = distorted(1, count=3000)
    losses = [cross_entropy(cal_fit.fit(kind, scores, truth, NAMES).log_probabilities(scores), truth) for kind in KINDS]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] - losses[1] > 0.01


def test_full_agrees_with_logistic_regression_of_scikit_learn():
    scores, truth = distorted(2, count=40_000)
    ours = cal_fit.fit("full", scores, truth, NAMES).log_probabilities(scores, shares(truth))
    centred = scores - scores.mean(axis=1, keepdims=True)
    model = LogisticRegression(C=1e9, tol=1e-10, max_iter=5000).fit(centred, truth)
    np.testing.assert_allclose(np.exp(ours), model.predict_proba(centred), atol=5e-3)


def test_vector_agrees_with_a_direct_search():
    from scipy.optimize import minimize

    scores, truth = distorted(3, count=20_000)
    centred = scores - scores.mean(axis=1, keepdims=True)

    def loss(numbers):
        return cross_entropy(log_softmax(centred * numbers[:4] + numbers[4:], axis=1), truth)

    found = minimize(loss, np.array([1.0] * 4 + [0] * 4), method="BFGS")
    fitted = cal_fit.fit("vector", scores, truth, NAMES)
    ours = cross_entropy(fitted.log_probabilities(scores, shares(truth)), truth)
    assert ours == pytest.approx(found.fun, abs=1e-4)


def test_likelihoods_do_not_carry_the_shares_of_dev():
    # The same scores with class 0 four times as frequent: other posteriors, the same likelihoods.
    scores, truth = distorted(4, count=4000)
    more = np.concatenate([np.arange(4000), *[np.flatnonzero(truth == 0)] * 3])
    one, other = cal_fit.fit("full", scores, truth, NAMES), cal_fit.fit("full", scores[more], truth[more], NAMES)
    apart = np.exp(one.log_probabilities(scores, shares(truth)))
    apart -= np.exp(other.log_probabilities(scores, shares(truth[more])))
    likelihoods = np.exp(one.log_likelihoods(scores)) - np.exp(other.log_likelihoods(scores))
    assert np.abs(apart).max() > 0.2 and np.abs(likelihoods).max() < 0.05


def test_the_priors_of_training_are_divided_out_and_others_can_be_given():
    scores, truth = gaussian(20_000, 3, 2.0, seed=0)
    prior = np.array([0.7, 0.2, 0.1])
    posteriors = log_softmax(scores + np.log(prior), axis=1)  # of a model that has seen these shares
    fitted = cal_fit.fit("affine", posteriors, truth, ("a", "b", "c"), prior)
    np.testing.assert_allclose(fitted.log_likelihoods(posteriors), scores, atol=0.15)
    np.testing.assert_allclose(fitted.log_probabilities(posteriors), posteriors, atol=0.15)
    np.testing.assert_allclose(fitted.log_probabilities(posteriors, [1 / 3] * 3), scores, atol=0.15)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_before_and_after_on_other_data(kind):
    scores, truth = distorted(5, count=4000)
    fitted = cal_fit.fit(kind, scores[::2], truth[::2], NAMES)
    found = cal.compare(fitted, scores[1::2], truth[1::2])
    before, after = found["before"], found["after"]
    assert after["cllr"] < before["cllr"] and after["log_loss"] < before["log_loss"]
    assert after["ece"] < before["ece"]
    gap = after["c_primary"] - after["c_primary_min"]
    assert 0 <= gap <= before["c_primary"] - before["c_primary_min"] + 0.01
    if kind is not Kind.TEMPERATURE:
        assert after["c_primary"] < before["c_primary"] and gap < 0.03


@pytest.mark.parametrize("kind", KINDS)
def test_a_calibration_is_read_as_it_was_written(kind, tmp_path):
    scores, truth = distorted(6)
    fitted = cal_fit.fit(kind, scores, truth, ("ä", "b,", '"', "d"))
    cal.write_calibration(tmp_path / "calibration.json", fitted)
    assert cal.read_calibration(tmp_path / "calibration.json") == fitted


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{", "["),
        ("calibration 2", "calibration 9"),
        ("0.0", "NaN"),
        ('"errors": ', '"errors": -'),
        ('"a", ', ""),
        ("vector", "cubic"),
        ("offset", "of"),
    ],
)
def test_a_damaged_calibration_is_one_line(old, new, tmp_path):
    path = tmp_path / "calibration.json"
    cal.write_calibration(path, cal_fit.fit("vector", *distorted(6), NAMES))
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match="expected a calibration") as caught:
        cal.read_calibration(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no such file"):
        cal.read_calibration(tmp_path / "none.json")


@pytest.mark.parametrize("kind", KINDS)
def test_classes_that_dev_separates_and_probabilities_of_0_stay_finite(kind):
    with np.errstate(divide="ignore"):
        certain = np.log(np.eye(4))
    certain = np.concatenate([certain] * 5)
    fitted = cal_fit.fit(kind, certain, np.arange(20) % 4, NAMES)
    assert np.isfinite(fitted.log_probabilities(certain)).all()
    assert np.isfinite(fitted.log_likelihoods(certain)).all()


def test_a_class_without_an_utterance_keeps_its_likelihood():
    scores, truth = distorted(7)
    kept = truth != 2
    for kind in ("temperature", "affine", "vector"):
        fitted = cal_fit.fit(kind, scores[kept], truth[kept], NAMES)
        assert np.isfinite(fitted.log_probabilities(scores)).all()
    with pytest.raises(UserError, match="at least 20 utterances to fit the 20 numbers of a full calibration"):
        cal_fit.fit("full", scores[:19], truth[:19], NAMES)


def test_a_calibration_of_the_first_format_gives_the_same_probabilities(tmp_path):
    first = {
        "format": "lid_mapmix calibration 1",
        "kind": "vector",
        "classes": ["a", "b"],
        "matrix": [[2.0, 0.0], [0.0, 0.5]],
        "offset": [0.1, -0.3],
        "prior": [0.8, 0.2],
    }
    (tmp_path / "calibration.json").write_text(json.dumps(first))
    fitted = cal.read_calibration(tmp_path / "calibration.json")
    scores = np.array([[0.4, -0.4]])
    likelihoods = scores * [2, 0.5] + [0.1, -0.3] - np.log([0.8, 0.2])
    np.testing.assert_allclose(fitted.log_likelihoods(scores), log_softmax(likelihoods, axis=1))
    assert fitted.basis == "vector, fitted on an unknown number of dev utterances"


def shares(truth):
    return np.bincount(truth) / len(truth)


def test_rows_that_are_shifted_far_are_not_cut_off():
    # The bound on what is improbable used to be taken before the constant of the row was.
    scores, truth = distorted(8)
    assert fit_temperature(scores - 150, truth) == pytest.approx(fit_temperature(scores, truth))
    np.testing.assert_allclose(apply_temperature(scores - 150, 2.0), apply_temperature(scores, 2.0))


def test_the_reliability_curve_adds_up_to_the_calibration_error():
    scores, truth = distorted(9)
    points = reliability_curve(np.exp(scores), truth)
    assert sum(point["count"] for point in points) == len(truth)
    assert all(point["low"] < point["confidence"] <= point["high"] for point in points)
    gaps = [point["count"] * abs(point["confidence"] - point["accuracy"]) for point in points]
    assert sum(gaps) / len(truth) == pytest.approx(expected_calibration_error(np.exp(scores), truth))


def timed(exponent, seed=0, count=6000):
    """Return scores whose confidence must be multiplied by (seconds / 4) ** exponent, truths, and durations."""
    scores, truth = gaussian(count, 4, 2.0, seed)
    seconds = np.random.default_rng(seed + 1).choice([0.5, 1.0, 4.0, 16.0], count)
    return scores / (seconds[:, None] / 4) ** exponent, truth, seconds


NONE = cal.Calibration.of(Kind.TEMPERATURE, NAMES, np.eye(4), np.zeros(4), np.full(4, 0.25))


@pytest.mark.parametrize("exponent", [0.0, 0.3, 0.8, 1.5])
def test_the_exponent_of_durations_is_found(exponent):
    scores, truth, seconds = timed(exponent)
    found = cal_fit.fit_duration(NONE, scores, truth, seconds, 4.0)
    assert found.exponent == pytest.approx(exponent, abs=0.03)
    assert found.seconds == (4.0, 0.5, 16.0)


def test_cuts_of_an_utterance_count_as_one():
    scores, truth = distorted(3, count=60)
    once = cal_fit.PenalisedLoss(scores, truth, 1)(scores * 0.5)[0]
    four = cal_fit.PenalisedLoss(np.tile(scores, (4, 1)), np.tile(truth, 4), 1, cuts=4)(np.tile(scores * 0.5, (4, 1)))[
        0
    ]
    assert four == pytest.approx(once, rel=1e-12)


def test_probabilities_hold_at_each_duration():
    dev, test = timed(0.7), timed(0.7, seed=7)
    found = cal_fit.fit_duration(NONE, *dev, 4.0)
    for each in np.unique(test[2]):
        chosen = test[2] == each
        after = np.exp(found.log_probabilities(test[0][chosen], seconds=test[2][chosen]))
        assert expected_calibration_error(after, test[1][chosen]) < 0.04
    raw = np.exp(NONE.log_probabilities(test[0]))
    assert expected_calibration_error(raw[test[2] == 0.5], test[1][test[2] == 0.5]) > 0.12


def test_the_factor_ends_at_the_longest_duration_and_needs_a_known_one():
    scores, truth, seconds = timed(0.7, count=500)
    found = cal_fit.fit_duration(NONE, scores, truth, seconds, 4.0)

    def at(value):
        return found.log_likelihoods(scores[:1], value)

    np.testing.assert_allclose(at(16.0), at(np.array([300.0])))
    np.testing.assert_allclose(at(None), at(4.0))
    np.testing.assert_allclose(at(np.array([np.nan])), at(4.0))
    expected = log_softmax(NONE.log_likelihoods(scores[:1]) * (0.03 / 4) ** found.exponent, axis=1)
    np.testing.assert_allclose(at(0.03), expected)
    assert np.exp(at(0.03)).max() < 0.5, "shorter than all of dev: nearly nothing is known"


@pytest.mark.parametrize("seconds", [np.full(200, 3.0), np.full(200, np.nan), np.tile([3.0, 5.0], 100)])
def test_durations_that_hardly_differ_are_not_fitted_on(seconds):
    scores, truth, _ = timed(0.7, count=200)
    assert cal_fit.fit_duration(NONE, scores, truth, seconds, 3.0) == NONE


def test_utterances_of_one_duration_have_it_as_their_mean(tmp_path):
    for duration in (3.0, 3.1, 7.773, 17.03):  # the last one's logarithm rounds up
        same = np.full(50, duration)
        assert cal_fit.mean_duration(same) == duration
        scores, truth, seconds = timed(0.7, count=500)
        seconds = np.where(seconds > 4, duration, 0.5)
        found = cal_fit.fit_duration(NONE, scores, truth, seconds, cal_fit.mean_duration(same))
        cal.write_calibration(tmp_path / "c.json", found)
        assert cal.read_calibration(tmp_path / "c.json") == found


@pytest.mark.parametrize(
    "damage",
    [
        {"matrix": [[-1e308, 0, 0, 0], [0, 1e308, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]},
        {"offset": [1e308, -1e308, 0, 0]},
        {"exponent": 2, "seconds": [1e-300, 1e-300, 1e300]},
        {"seconds": [float("nan")] * 3},
        {"seconds": [1, 2, float("nan")]},
    ],
)
def test_numbers_that_overflow_are_refused(damage, tmp_path):
    found = cal_fit.fit_duration(NONE, *timed(0.7, count=500), 4.0)
    cal.write_calibration(tmp_path / "c.json", found)
    (tmp_path / "c.json").write_text(json.dumps(json.loads((tmp_path / "c.json").read_text()) | damage))
    with pytest.raises(UserError, match="expected a calibration, found"):
        cal.read_calibration(tmp_path / "c.json")


def test_the_durations_are_kept_in_the_file(tmp_path):
    found = cal_fit.fit_duration(NONE, *timed(0.7, count=500), 4.0)
    cal.write_calibration(tmp_path / "c.json", found)
    assert cal.read_calibration(tmp_path / "c.json") == found
    for damage in ({"exponent": -1}, {"exponent": "x"}, {"seconds": [1, 2]}, {"seconds": [4, 5, 3]}, {"seconds": 3}):
        content = json.loads((tmp_path / "c.json").read_text()) | damage
        (tmp_path / "d.json").write_text(json.dumps(content))
        with pytest.raises(UserError, match="expected a calibration, found"):
            cal.read_calibration(tmp_path / "d.json")
