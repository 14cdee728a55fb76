"""The fit of a calibration on dev, with a penalty for what dev does not support.

A temperature is fitted first, against the scores as they are; then the other kinds, against the probabilities at that
temperature; then the dependence on duration, against none.

A few dev utterances, or many without an error, cannot support every temperature: the maximum likelihood of 12 of them
without an error is at T = 0. So a fit is penalised by its distance from what is known before. With K the mean
Kullback-Leibler divergence from the probabilities before to those after, L the mean loss before (nats) and κ = c / L,
a fit of k numbers adds ν k log(1 + κ K / ν) to the summed loss. For small K this is the loss of κ k utterances whose
classes agree with the probabilities before: soft targets, as in Platt, "Probabilistic Outputs for Support Vector
Machines", 1999. For large K the penalty grows with the logarithm, as for a prior with heavy tails. With fewer than
about 8 dev errors E both κ and ν are larger, by 1 + (8 / (E + 1))²: dev may be easier than what follows. c = 24 and
ν = 2 are from the simulation of ``bench/calibration.py``.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import scipy  # which imports its parts when they are used

from ..utils.errors import UserError
from .calibration import MAX_EXPONENT, Calibration, centred, checked
from .choices import Kind
from .softmax import log_softmax

# Wide enough for any classifier: beyond 1/100 and 100, probabilities are uniform or certain.
_LOG_TEMPERATURES = (-np.log(100.0), np.log(100.0))
_GRID = 47
# Longest over shortest duration of dev, from which on an exponent is fitted.
_MIN_RATIO = 2.0
# See the module.
_NATS = 24.0
_TAIL = 2.0
_FEW_ERRORS = 8.0
_MIN_LOSS = 1e-9


def fit(
    kind: Kind | str,
    log_probabilities: np.ndarray,
    truth: np.ndarray,
    classes: Sequence[str],
    prior: Sequence[float] | None = None,
) -> Calibration:
    """Return the calibration that dev supports; see the module.

    Raises UserError: `full` with more numbers than utterances.

    `log_probabilities`: (N, C) float, natural logarithms; a constant may be added to a row. `truth`: (N,) int, class
    number of each utterance. `classes`: names of the C classes. `prior`: C float, the class priors in the scores; by
    default equal.
    """
    kind = Kind(kind)
    scores, truth = checked(log_probabilities, truth)
    count = len(classes)
    if scores.shape[1] != count:
        raise ValueError(f"expected scores of {count} classes, found {scores.shape[1]}")
    if kind is Kind.FULL and count * (count + 1) > len(truth):
        raise UserError(
            f"expected at least {count * (count + 1)} utterances to fit the {count * (count + 1)} numbers of a full "
            f"calibration on, found {len(truth)}. Use kind {Kind.AFFINE.value}, or more data."
        )
    class_prior = np.full(count, 1 / count) if prior is None else np.asarray(prior, dtype=np.float64)
    errors = int((scores.argmax(axis=1) != truth).sum())
    scores = centred(scores - np.log(class_prior))
    log_prior = _log_dev_prior(truth, count)
    scale = 1 / _fit_temperature(scores, truth, log_prior)
    matrix, offset = np.eye(count) * scale, np.zeros(count)
    if kind is not Kind.TEMPERATURE:
        matrix, offset = _fit_affine(scores, truth, log_prior, scale, kind)
    return Calibration.of(kind, classes, matrix, offset, class_prior, utterances=len(truth), errors=errors)


def mean_duration(seconds: np.ndarray) -> float:
    """Return the geometric mean of durations (N,), without those that are NaN; NaN if all are."""
    known = seconds[seconds > 0]
    # Rounding can exceed the longest where all are equal.
    return float(np.exp(np.log(known).mean()).clip(known.min(), known.max())) if known.size else np.nan


def fit_duration(
    calibration: Calibration, log_probabilities: np.ndarray, truth: np.ndarray, seconds: np.ndarray, reference: float
) -> Calibration:
    """Return a calibration that depends on duration, or the same if the durations differ by less than a factor of 2.

    `calibration`: fitted on these utterances, or on longer ones that they were cut from. `log_probabilities`: (N, C)
    float. `truth`: (N,) int. `seconds`: (N,) float, NaN if unknown. `reference`: mean duration of the utterances that
    the calibration was fitted on, in logarithms.
    """
    known = seconds > 0
    if not known.any() or seconds[known].max() < _MIN_RATIO * seconds[known].min():
        return calibration
    scores, truth = calibration.log_likelihoods(log_probabilities[known]), truth[known]
    relative = seconds[known, None] / reference
    log_prior = _log_dev_prior(truth, len(calibration.classes))
    cuts = len(truth) / (calibration.utterances or len(truth))
    loss = PenalisedLoss(scores + log_prior, truth, 1, max(cuts, 1.0))

    def at(exponent: float) -> float:
        return loss(scores * relative**exponent + log_prior)[0]

    best = scipy.optimize.minimize_scalar(at, bounds=(0, MAX_EXPONENT), method="bounded")
    exponent = float(best.x) if best.fun < at(0.0) else 0.0
    support = reference, float(seconds[known].min()), float(seconds[known].max())
    return replace(calibration, exponent=exponent, seconds=support)


class PenalisedLoss:
    """The loss of dev plus the penalty, per utterance, of scores (N, C) that a fit has changed.

    `before`: (N, C) float, the scores before the fit. `truth`: (N,) int. `numbers`: number k of the fit. `cuts`: mean
    number of rows of an utterance, which count as one.
    """

    def __init__(self, before: np.ndarray, truth: np.ndarray, numbers: int, cuts: float = 1.0) -> None:
        self._rows, self._truth = np.arange(len(truth)), truth
        logarithms = log_softmax(before)
        self._before = np.exp(logarithms)
        self._entropy = -(self._before * logarithms).sum(axis=1).mean()
        loss = max(-float(logarithms[self._rows, truth].mean()), _MIN_LOSS)
        errors = np.count_nonzero(before.argmax(axis=1) != truth) / cuts
        scarcity = cuts * (1 + (_FEW_ERRORS / (errors + 1)) ** 2)
        self._strength, self._tail = scarcity * _NATS / loss * numbers, scarcity * _TAIL * numbers

    def __call__(self, scores: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the loss, and its gradient by the scores, (N, C)."""
        count = len(scores)
        logarithms = log_softmax(scores)
        divergence = max(0.0, -(self._before * logarithms).sum(axis=1).mean() - self._entropy)
        growth = 1 + self._strength * divergence / self._tail
        value = -logarithms[self._rows, self._truth].mean() + self._tail * np.log(growth) / count
        probabilities = np.exp(logarithms)
        slope = probabilities + self._strength / growth / count * (probabilities - self._before)
        slope[self._rows, self._truth] -= 1
        return float(value), slope / count


def _fit_temperature(scores: np.ndarray, truth: np.ndarray, log_prior: np.ndarray) -> float:
    loss = PenalisedLoss(scores + log_prior, truth, 1)

    def at(log_temperature: float) -> float:
        return loss(scores / np.exp(log_temperature) + log_prior)[0]

    # The penalty is not convex: the best of a grid, then a search around it. 0 is a point of the grid.
    grid, step = np.linspace(*_LOG_TEMPERATURES, _GRID, retstep=True)
    start = float(grid[int(np.argmin([at(point) for point in grid]))])
    bounds = max(start - step, _LOG_TEMPERATURES[0]), min(start + step, _LOG_TEMPERATURES[1])
    best = scipy.optimize.minimize_scalar(at, bounds=bounds, method="bounded")
    return float(np.exp(best.x if best.fun < at(0.0) else 0.0))


def _fit_affine(
    scores: np.ndarray, truth: np.ndarray, log_prior: np.ndarray, scale: float, kind: Kind
) -> tuple[np.ndarray, np.ndarray]:
    """Return matrix (C, C) and offset (C,), by L-BFGS from a scale."""
    classes = scores.shape[1]
    scaled = scores * scale
    # Normalised, so that the search takes steps of one size for any scale of scores.
    size = max(float(np.sqrt(np.mean(scaled**2))), 1e-12)
    start = {Kind.AFFINE: np.ones(1), Kind.VECTOR: np.ones(classes), Kind.FULL: np.eye(classes).ravel()}[kind] * size
    loss = PenalisedLoss(scaled + log_prior, truth, len(start) + classes - 2)

    def factor(numbers: np.ndarray) -> np.ndarray:
        values = numbers[:-classes] / size
        return values.reshape(classes, classes) if kind is Kind.FULL else np.diag(np.broadcast_to(values, classes))

    def at(numbers: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = loss(scaled @ factor(numbers).T + numbers[-classes:] + log_prior)
        by_matrix = slope.T @ scaled / size
        of_scales = by_matrix.diagonal()
        by_factor = {Kind.AFFINE: of_scales.sum(keepdims=True), Kind.VECTOR: of_scales, Kind.FULL: by_matrix.ravel()}
        return value, np.append(by_factor[kind], slope.sum(axis=0))

    begin = np.append(start, np.zeros(classes))
    found = scipy.optimize.minimize(
        at, begin, jac=True, method="L-BFGS-B", options={"maxiter": 1000, "ftol": 1e-12, "gtol": 1e-7}
    )
    best = found.x if found.fun <= at(begin)[0] else begin
    return factor(best) * scale, best[-classes:] - best[-classes:].mean()


def _log_dev_prior(truth: np.ndarray, classes: int) -> np.ndarray:
    """Return the logarithms of the class priors of dev, (classes,), with one more utterance of each class."""
    counts = np.bincount(truth, minlength=classes) + 1  # a class without an utterance is possible
    return np.log(counts / counts.sum())
