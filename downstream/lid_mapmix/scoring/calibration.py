"""Calibration: fitted on dev and applied to test, so that probabilities agree with accuracies.

=============== ============================================= =================== ==================================
kind            calibrated log-likelihoods                    numbers             source
=============== ============================================= =================== ==================================
temperature     ℓ / T                                         1                   arXiv 1706.04599, 4.2
affine          ℓ · scale + offset, an offset per class       1 + classes         Brümmer, FoCal Multi-class, 2007
vector          the same, with a scale per class              2 · classes         arXiv 1706.04599, 4.2
full            matrix @ ℓ + offset                           classes² + classes  multiclass logistic regression
=============== ============================================= =================== ==================================

ℓ are scores minus the logarithm of the class priors that they contain (those of training), minus their mean over the
classes, so log-probabilities and logits give the same result. A score more than 100 below the maximum of its row counts
as 100 below. Probabilities are the normalised product of likelihoods and class priors; a temperature changes no
prediction where priors are equal.

A few dev utterances, or many without an error, cannot support every temperature: the maximum likelihood of 12 of them
without an error is at T = 0. So a fit is penalised by its distance from what is known before. With K the mean
Kullback-Leibler divergence from the probabilities before to those after, L the mean loss before (nats) and κ = c / L,
a fit of k numbers adds ν k log(1 + κ K / ν) to the summed loss. For small K this is the loss of κ k utterances whose
classes agree with the probabilities before: soft targets, as in Platt, "Probabilistic Outputs for Support Vector
Machines", 1999. For large K the penalty grows with the logarithm, as for a prior with heavy tails. With fewer than
about 8 dev errors E both κ and ν are larger, by 1 + (8 / (E + 1))²: dev may be easier than what follows. A
temperature is fitted first, against the scores as they are; then the other kinds, against the probabilities at that
temperature. c = 24 and ν = 2 are from the simulation of ``bench/calibration.py``.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax

from ..utils.errors import UserError
from ..utils.files import write_text
from .choices import Kind
from .class_priors import divide_out
from .detection import summarize_detection
from .metrics import calibration_scores, reliability_curve
from .proper import cllr_parts

# Wide enough for any classifier: beyond 1/100 and 100, probabilities are uniform or certain.
_LOG_TEMPERATURES = (-np.log(100.0), np.log(100.0))
_GRID = 47
# A probability of 0 would stay 0 at any temperature, and give an utterance of that class an infinite loss.
_MIN_LOG_PROBABILITY = -100.0  # below the row's maximum
# See the module.
_NATS = 24.0
_TAIL = 2.0
_FEW_ERRORS = 8.0
_MIN_LOSS = 1e-9
# With fewer dev errors than this, a calibration is mostly what was known before.
MIN_ERRORS = 10
_FORMAT = "lid_mapmix calibration 2"
_FIRST_FORMAT = "lid_mapmix calibration 1"


@dataclass(frozen=True)
class Calibration:
    """A fitted calibration of C classes."""

    kind: Kind
    classes: tuple[str, ...]  # names of the C classes, in the order of the scores
    matrix: tuple[tuple[float, ...], ...]  # C rows of C float; except for `full`, the scales are on its diagonal
    offset: tuple[float, ...]  # C float, added afterwards
    # C float, the class priors in the scores, and in the probabilities unless others are given.
    prior: tuple[float, ...]
    # utterances, errors: of dev, that it was fitted on; None if unknown.
    utterances: int | None = None
    errors: int | None = None

    def log_probabilities(self, log_probabilities: np.ndarray, prior: Sequence[float] | None = None) -> np.ndarray:
        """Return calibrated log-probabilities, (N, C) float64, of log-probabilities (N, C).

        `prior`: C float, the class priors, above 0; by default those of the scores.
        """
        likelihoods = self.log_likelihoods(log_probabilities)
        return log_softmax(likelihoods + np.log(self.prior if prior is None else prior), axis=1)

    def log_likelihoods(self, log_probabilities: np.ndarray) -> np.ndarray:
        """Return calibrated log-likelihoods, (N, C) float64: log-probabilities under equal priors.

        `detection.log_likelihood_ratios` converts them to detection scores.
        """
        scores = _finite(log_probabilities)
        if scores.shape[1] != len(self.classes):
            raise ValueError(f"expected scores of {len(self.classes)} classes, found {scores.shape[1]}")
        scores = _centred(scores - np.log(self.prior))
        return log_softmax(scores @ np.array(self.matrix).T + np.array(self.offset), axis=1)

    @property
    def has_few_errors(self) -> bool:
        """Whether dev had fewer errors than a calibration needs."""
        return self.errors is not None and self.errors < MIN_ERRORS

    @property
    def basis(self) -> str:
        """Its kind and what it rests on, in one line."""
        if self.utterances is None or self.errors is None:
            return f"{self.kind.value}, fitted on an unknown number of dev utterances"
        errors = f"{self.errors} error{'s' * (self.errors != 1)}"
        text = f"{self.kind.value}, fitted on {self.utterances} dev utterances with {errors}"
        return text + f"; fewer than {MIN_ERRORS} errors say little: check it on other data" * self.has_few_errors

    def reordered(self, classes: Sequence[str]) -> "Calibration":
        """Return the same calibration of scores whose classes are in another order."""
        order = [self.classes.index(name) for name in classes]
        return replace(
            self,
            classes=tuple(classes),
            matrix=tuple(tuple(self.matrix[row][column] for column in order) for row in order),
            offset=tuple(self.offset[row] for row in order),
            prior=tuple(self.prior[row] for row in order),
        )


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
    scores, truth = _checked(log_probabilities, truth)
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
    scores = _centred(scores - np.log(class_prior))
    # Priors of dev, with one more utterance of each class: a class without one is possible.
    dev_prior = (np.bincount(truth, minlength=count) + 1) / (len(truth) + count)
    scale = 1 / _fit_temperature(scores, truth, np.log(dev_prior))
    matrix, offset = np.eye(count) * scale, np.zeros(count)
    if kind is not Kind.TEMPERATURE:
        matrix, offset = _fit_affine(scores, truth, np.log(dev_prior), scale, kind)
    return Calibration(
        kind, tuple(classes), _rows(matrix), _row(offset), _row(class_prior), utterances=len(truth), errors=errors
    )


def write_calibration(path: Path | str, calibration: Calibration) -> None:
    """Write a calibration as JSON, complete or not at all."""
    text = json.dumps({"format": _FORMAT, **asdict(calibration)}, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_calibration(path: Path | str) -> Calibration:
    """Read what `write_calibration` wrote.

    Raises UserError: no such file, no JSON, another format, or numbers that do not match the classes.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        version = content.pop("format")
        if version not in (_FORMAT, _FIRST_FORMAT):
            raise ValueError("another format")
        numbers = {name: np.array(content.pop(name), dtype=np.float64) for name in ("matrix", "offset", "prior")}
        kind, classes = Kind(content.pop("kind")), tuple(map(str, content.pop("classes")))
        counts = [content.pop(name, None) for name in ("utterances", "errors")]
        if not all(count is None or (type(count) is int and count >= 0) for count in counts):
            raise ValueError(f"counts of utterances and errors that are no numbers: {counts}")
        shapes = [(len(classes),) * 2, (len(classes),), (len(classes),)]
        if [values.shape for values in numbers.values()] != shapes or content:
            raise ValueError(f"numbers that do not match {len(classes)} classes")
        if not all(np.isfinite(values).all() for values in numbers.values()) or (numbers["prior"] <= 0).any():
            raise ValueError("numbers that are not finite, or a prior that is not above 0")
    except FileNotFoundError:
        raise UserError(f"{path}: expected a calibration, found no such file. Fit one on dev scores first.") from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        reason = f"no {error} in it" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise UserError(f"{path}: expected a calibration, found: {reason}. Fit it on dev scores again.") from None
    matrix, offset, prior = numbers.values()
    if version == _FIRST_FORMAT:
        # Its offset contains the priors of dev, which it named; those of the scores were taken as equal.
        offset, prior = offset - np.log(prior), np.full(len(classes), 1 / len(classes))
    return Calibration(kind, classes, _rows(matrix), _row(offset), _row(prior), *counts)


def compare(
    calibration: Calibration, log_probabilities: np.ndarray, truth: np.ndarray, source: np.ndarray | None = None
) -> dict[str, dict[str, Any]]:
    """Return ``{"before": scores, "after": scores}`` on data that the calibration was not fitted on.

    The scores are those of `detection.summarize_detection`, from log-likelihoods under equal priors, and
    the parts of Cllr, and `metrics.calibration_scores` and ``reliability`` (the curve's points), from probabilities.

    `log_probabilities`: (N, C) float, uncalibrated. `truth`: (N,) int. `source`: (N,) str, the data source of each
    utterance, or None.
    """
    scores, truth = _checked(log_probabilities, truth)
    before, after = log_softmax(scores, axis=1), calibration.log_probabilities(scores)
    raw, calibrated = divide_out(scores, calibration.prior), calibration.log_likelihoods(scores)
    return {
        name: {
            **summarize_detection(likelihoods, truth, source),
            **cllr_parts(likelihoods, truth),
            **calibration_scores(np.exp(posteriors), truth),
            "reliability": reliability_curve(np.exp(posteriors), truth),
        }
        for name, posteriors, likelihoods in (("before", before, raw), ("after", after, calibrated))
    }


def fit_temperature(log_probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Return the temperature that dev supports; see the module.

    `log_probabilities`: (N, C) float, natural logarithms; a constant may be added to a row. `truth`: (N,) int, class
    number of each utterance.
    """
    scores, truth = _checked(log_probabilities, truth)
    return _fit_temperature(scores, truth, np.zeros(scores.shape[1]))


def apply_temperature(log_probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return log-probabilities at a temperature, (N, C) float64; above 1 they are less confident."""
    if not temperature > 0:
        raise ValueError(f"expected a temperature above 0, found {temperature}")
    return log_softmax(_finite(log_probabilities) / temperature, axis=1)


class _PenalisedLoss:
    """The loss of dev plus the penalty of the module, per utterance, of scores (N, C) that a fit has changed.

    `before`: (N, C) float, the scores before the fit. `truth`: (N,) int. `numbers`: number k of the fit.
    """

    def __init__(self, before: np.ndarray, truth: np.ndarray, numbers: int) -> None:
        self._rows, self._truth = np.arange(len(truth)), truth
        logarithms = log_softmax(before, axis=1)
        self._before = np.exp(logarithms)
        self._entropy = -(self._before * logarithms).sum(axis=1).mean()
        loss = max(-float(logarithms[self._rows, truth].mean()), _MIN_LOSS)
        errors = np.count_nonzero(before.argmax(axis=1) != truth)
        scarcity = 1 + (_FEW_ERRORS / (errors + 1)) ** 2
        self._strength, self._tail = scarcity * _NATS / loss * numbers, scarcity * _TAIL * numbers

    def __call__(self, scores: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the loss, and its gradient by the scores, (N, C)."""
        count = len(scores)
        logarithms = log_softmax(scores, axis=1)
        divergence = max(0.0, -(self._before * logarithms).sum(axis=1).mean() - self._entropy)
        growth = 1 + self._strength * divergence / self._tail
        value = -logarithms[self._rows, self._truth].mean() + self._tail * np.log(growth) / count
        probabilities = np.exp(logarithms)
        slope = probabilities + self._strength / growth / count * (probabilities - self._before)
        slope[self._rows, self._truth] -= 1
        return float(value), slope / count


def _fit_temperature(scores: np.ndarray, truth: np.ndarray, log_prior: np.ndarray) -> float:
    loss = _PenalisedLoss(scores + log_prior, truth, 1)

    def at(log_temperature: float) -> float:
        return loss(scores / np.exp(log_temperature) + log_prior)[0]

    # The penalty is not convex: the best of a grid, then a search around it. 0 is a point of the grid.
    grid, step = np.linspace(*_LOG_TEMPERATURES, _GRID, retstep=True)
    start = float(grid[int(np.argmin([at(point) for point in grid]))])
    bounds = max(start - step, _LOG_TEMPERATURES[0]), min(start + step, _LOG_TEMPERATURES[1])
    best = minimize_scalar(at, bounds=bounds, method="bounded")
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
    loss = _PenalisedLoss(scaled + log_prior, truth, len(start) + classes - 2)

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
    found = minimize(at, begin, jac=True, method="L-BFGS-B", options={"maxiter": 1000, "ftol": 1e-12, "gtol": 1e-7})
    best = found.x if found.fun <= at(begin)[0] else begin
    return factor(best) * scale, best[-classes:] - best[-classes:].mean()


def _row(values: np.ndarray) -> tuple[float, ...]:
    return tuple(values.tolist())


def _rows(matrix: np.ndarray) -> tuple[tuple[float, ...], ...]:
    return tuple(map(_row, matrix))


def _checked(log_probabilities: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, truth = _finite(log_probabilities), np.asarray(truth)
    if len(truth) == 0 or truth.shape != scores.shape[:1]:
        raise ValueError(f"expected a true class for each of {len(scores)} utterances, at least 1, found {len(truth)}")
    return scores, truth


def _finite(log_probabilities: np.ndarray) -> np.ndarray:
    scores = np.asarray(log_probabilities, dtype=np.float64)
    if scores.ndim != 2 or not np.isfinite(scores.max(axis=1, initial=-np.inf)).all():  # noqa: PLR2004
        raise ValueError(f"expected log-probabilities (utterances, classes), found shape {scores.shape}, or NaN in it")
    # Shifted, bounded, then centred: rows that differ by a constant have the same calibration even with vector and
    # full, which weight the classes differently.
    return _centred(np.maximum(scores - scores.max(axis=1, keepdims=True, initial=-np.inf), _MIN_LOG_PROBABILITY))


def _centred(scores: np.ndarray) -> np.ndarray:
    return scores - scores.mean(axis=1, keepdims=True)
