"""Calibration: fitted on dev and applied to test, so that probabilities agree with accuracies.

=============== ==================================================== ==================== ==========================
kind            calibrated log-probabilities                          numbers              source
=============== ==================================================== ==================== ==========================
temperature     log softmax(ℓ / T)                                    1                    arXiv 1706.04599, 4.2
vector          log softmax(scale · ℓ + offset), one scale per class 2 · classes          the same
full            log softmax(matrix @ ℓ + offset)                      classes² + classes   multiclass logistic
                                                                                           regression
=============== ==================================================== ==================== ==========================

ℓ are scores minus their mean over the classes, so log-probabilities and logits give the same result. A score more than
100 below the maximum of its row counts as 100 below. A temperature changes no prediction. The other two also learn the
class frequencies of dev; these are stored as `prior` and divided out where log-likelihoods are needed, as in
detection. Vector and full need every class in dev.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax

from ..utils.errors import UserError
from ..utils.files import write_text
from .choices import Kind
from .detection import summarize_detection
from .metrics import expected_calibration_error, reliability_curve

# Wide enough for any classifier: beyond 1/100 and 100, probabilities are uniform or certain.
_LOG_TEMPERATURES = (-np.log(100.0), np.log(100.0))
# A probability of 0 would stay 0 at any temperature, and give an utterance of that class an infinite loss.
_MIN_LOG_PROBABILITY = -100.0  # below the row's maximum
# Regularises vector and full towards the identity; otherwise classes that are separable on dev make them infinite.
_REGULARISATION = 1e-6
_FORMAT = "lid_mapmix calibration 1"


@dataclass(frozen=True)
class Calibration:
    """A fitted calibration of C classes.

    Attributes
    ----------
    kind : its kind.
    classes : names of the C classes, in the order of the scores.
    matrix : C rows of C float; for `vector` the scales, for `temperature` 1 / T, are on its diagonal.
    offset : C float, added afterwards.
    prior : C float, the class priors of the probabilities; equal for `temperature`.
    """

    kind: Kind
    classes: tuple[str, ...]
    matrix: tuple[tuple[float, ...], ...]
    offset: tuple[float, ...]
    prior: tuple[float, ...]

    def log_probabilities(self, log_probabilities: np.ndarray) -> np.ndarray:
        """Return calibrated log-probabilities, (N, C) float64, of log-probabilities (N, C)."""
        scores = _finite(log_probabilities)
        if scores.shape[1] != len(self.classes):
            raise ValueError(f"expected scores of {len(self.classes)} classes, found {scores.shape[1]}")
        return log_softmax(scores @ np.array(self.matrix).T + np.array(self.offset), axis=1)

    def log_likelihoods(self, log_probabilities: np.ndarray) -> np.ndarray:
        """Return calibrated log-likelihoods, (N, C) float64: log-probabilities under equal priors.

        `detection.log_likelihood_ratios` converts them to detection scores.
        """
        return log_softmax(self.log_probabilities(log_probabilities) - np.log(self.prior), axis=1)


def fit(kind: Kind | str, log_probabilities: np.ndarray, truth: np.ndarray, classes: Sequence[str]) -> Calibration:
    """Return the calibration with the maximum likelihood of the truth, which is never below the uncalibrated one.

    Parameters
    ----------
    kind : its kind.
    log_probabilities : (N, C) float, natural logarithms; a constant may be added to a row.
    truth : (N,) int, class number of each utterance.
    classes : names of the C classes.

    Raises
    ------
    UserError : `vector` or `full`, and a class has no utterance.
    """
    kind = Kind(kind)
    scores, truth = _checked(log_probabilities, truth)
    count = len(classes)
    if scores.shape[1] != count:
        raise ValueError(f"expected scores of {count} classes, found {scores.shape[1]}")
    if kind is Kind.TEMPERATURE:
        scale = 1 / fit_temperature(scores, truth)
        return _calibration(kind, classes, np.eye(count) * scale, np.zeros(count), np.full(count, 1 / count))
    frequencies = np.bincount(truth, minlength=count) / len(truth)
    if (frequencies == 0).any():
        raise UserError(
            f"expected utterances of every class to fit a {kind.value} calibration on, found none of "
            f"{classes[int(frequencies.argmin())]}. Use kind temperature, or other data."
        )
    matrix, offset = _fit_affine(scores, truth, diagonal=kind is Kind.VECTOR)
    return _calibration(kind, classes, matrix, offset, frequencies)


def write_calibration(path: Path | str, calibration: Calibration) -> None:
    """Write a calibration as JSON, complete or not at all."""
    text = json.dumps({"format": _FORMAT, **asdict(calibration)}, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_calibration(path: Path | str) -> Calibration:
    """Read what `write_calibration` wrote.

    Raises
    ------
    UserError : no such file, no JSON, another format, or numbers that do not match the classes.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if content.pop("format") != _FORMAT:
            raise ValueError("another format")
        numbers = {name: np.array(content.pop(name), dtype=np.float64) for name in ("matrix", "offset", "prior")}
        kind, classes = Kind(content.pop("kind")), tuple(map(str, content.pop("classes")))
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
    return _calibration(kind, classes, *numbers.values())


def compare(
    calibration: Calibration, log_probabilities: np.ndarray, truth: np.ndarray, source: np.ndarray | None = None
) -> dict[str, dict[str, Any]]:
    """Return ``{"before": scores, "after": scores}`` on data that the calibration was not fitted on.

    The scores are those of `detection.summarize_detection`, from log-likelihoods under equal priors, and
    ``cross_entropy`` (nats), ``ece`` and ``reliability`` (the curve's points), from probabilities.

    Parameters
    ----------
    log_probabilities : (N, C) float, uncalibrated. truth : (N,) int.
    source : (N,) str, the data source of each utterance, or None.
    """
    scores, truth = _checked(log_probabilities, truth)
    before, after = log_softmax(scores, axis=1), calibration.log_probabilities(scores)
    pairs = {"before": (before, before), "after": (after, calibration.log_likelihoods(scores))}
    return {
        name: {
            **summarize_detection(likelihoods, truth, source),
            "cross_entropy": cross_entropy(posteriors, truth),
            "ece": expected_calibration_error(np.exp(posteriors), truth),
            "reliability": reliability_curve(np.exp(posteriors), truth),
        }
        for name, (posteriors, likelihoods) in pairs.items()
    }


def cross_entropy(log_probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean negative log-probability of the truth, in nats, at most about 100."""
    scores, truth = _checked(log_probabilities, truth)
    return float(-log_softmax(scores, axis=1)[np.arange(len(truth)), truth].mean())


def fit_temperature(log_probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Return the temperature with the maximum likelihood of the truth.

    Parameters
    ----------
    log_probabilities : (N, C) float, natural logarithms; a constant may be added to a row.
    truth : (N,) int, class number of each utterance.
    """
    scores, truth = _checked(log_probabilities, truth)
    rows = np.arange(len(truth))

    def loss(log_temperature: float) -> float:
        return float(-log_softmax(scores / np.exp(log_temperature), axis=1)[rows, truth].mean())

    best = minimize_scalar(loss, bounds=_LOG_TEMPERATURES, method="bounded")
    # The search cannot move where the loss is flat, and must not return a greater loss than at 1.
    return float(np.exp(best.x)) if best.fun <= loss(0.0) else 1.0


def apply_temperature(log_probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return log-probabilities at a temperature, (N, C) float64; above 1 they are less confident."""
    if not temperature > 0:
        raise ValueError(f"expected a temperature above 0, found {temperature}")
    return log_softmax(_finite(log_probabilities) / temperature, axis=1)


def _fit_affine(scores: np.ndarray, truth: np.ndarray, *, diagonal: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return matrix (C, C) and offset (C,) of the minimum cross entropy, by L-BFGS from the identity."""
    count, classes = scores.shape
    # Normalised, so that the search takes steps of one size for any scale of scores.
    size = max(float(np.sqrt(np.mean(scores**2))), 1e-12)
    scaled, rows = scores / size, np.arange(count)
    shape = (classes,) if diagonal else (classes, classes)
    start = np.append(np.full(classes, size) if diagonal else np.eye(classes).ravel() * size, np.zeros(classes))

    def loss(numbers: np.ndarray) -> tuple[float, np.ndarray]:
        factor, offset = numbers[:-classes].reshape(shape), numbers[-classes:]
        log_posteriors = log_softmax((scaled * factor if diagonal else scaled @ factor.T) + offset, axis=1)
        slope = np.exp(log_posteriors)
        slope[rows, truth] -= 1
        by_factor = (slope * scaled).sum(axis=0) if diagonal else slope.T @ scaled
        moved = numbers - start
        value = -log_posteriors[rows, truth].mean() + _REGULARISATION / 2 * (moved @ moved)
        return float(value), np.append(by_factor.ravel(), slope.sum(axis=0)) / count + _REGULARISATION * moved

    # The regularisation is 0 at the start, so the result is never worse than the identity.
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000, "ftol": 1e-12, "gtol": 1e-7})
    best = found.x if found.fun <= loss(start)[0] else start
    factor = best[:-classes].reshape(shape) / size
    return (np.diag(factor) if diagonal else factor), best[-classes:]


def _calibration(
    kind: Kind, classes: Sequence[str], matrix: np.ndarray, offset: np.ndarray, prior: np.ndarray
) -> Calibration:
    rows = tuple(tuple(row) for row in matrix.tolist())
    return Calibration(kind, tuple(classes), rows, tuple(offset.tolist()), tuple(prior.tolist()))


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
    bounded = np.maximum(scores - scores.max(axis=1, keepdims=True, initial=-np.inf), _MIN_LOG_PROBABILITY)
    return bounded - bounded.mean(axis=1, keepdims=True)
