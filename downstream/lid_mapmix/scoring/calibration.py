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

Short audio supports less confidence than its scores claim. So calibrated log-likelihoods are multiplied by (seconds /
reference) ** exponent, where the reference is the mean duration of the dev utterances, and the exponent is fitted on
them and on cuts of them. Durations above the longest of dev count as that.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from ..utils.errors import UserError
from ..utils.files import write_text
from .choices import Kind
from .class_priors import divide_out
from .detection import summarize_detection
from .metrics import calibration_scores, reliability_curve
from .proper import cllr_parts
from .softmax import log_softmax

# A probability of 0 would stay 0 at any temperature, and give an utterance of that class an infinite loss.
MIN_LOG_PROBABILITY = -100.0  # below the row's maximum
MAX_EXPONENT = 2.0
# With fewer dev errors than this, a calibration is mostly what was known before.
MIN_ERRORS = 10
_REMEDY = "Fit it again by -m evaluate -t dev."
_FORMAT = "lid_mapmix calibration 2"
_FIRST_FORMAT = "lid_mapmix calibration 1"
# Of a file; products of larger numbers may overflow.
_Finite = Annotated[float, Field(ge=-1e30, le=1e30)]
_Positive = Annotated[float, Field(ge=1e-30, le=1e30)]
_Count = Annotated[int, Field(ge=0, strict=True)]


@dataclass(frozen=True)
class Calibration:
    """A fitted calibration of C classes."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # for `read_calibration`

    kind: Kind
    classes: tuple[str, ...]  # names of the C classes, in the order of the scores
    matrix: tuple[tuple[_Finite, ...], ...]  # C rows of C float; except for `full`, the scales are on its diagonal
    offset: tuple[_Finite, ...]  # C float, added afterwards
    # C float, the class priors in the scores, and in the probabilities unless others are given.
    prior: tuple[_Positive, ...]
    # utterances, errors: of dev, that it was fitted on; None if unknown.
    utterances: _Count | None = None
    errors: _Count | None = None
    # Seconds: the mean of dev in logarithms, and the shortest and longest that were fitted on; None if unknown.
    exponent: Annotated[float, Field(ge=0, le=MAX_EXPONENT)] = 0.0
    seconds: tuple[_Positive, _Positive, _Positive] | None = None
    best_accuracy: float | None = None  # dev accuracy stored in the checkpoint, which identifies it; None if unknown

    def log_probabilities(
        self,
        log_probabilities: np.ndarray,
        prior: Sequence[float] | None = None,
        *,
        seconds: np.ndarray | float | None = None,
    ) -> np.ndarray:
        """Return calibrated log-probabilities, (N, C) float64, of log-probabilities (N, C).

        `prior`: C float, the class priors, above 0; by default those of the scores. `seconds`: (N,) float or one for
        all, durations; NaN or None if unknown.
        """
        likelihoods = self.log_likelihoods(log_probabilities, seconds)
        return log_softmax(likelihoods + np.log(self.prior if prior is None else prior))

    def log_likelihoods(self, log_probabilities: np.ndarray, seconds: np.ndarray | float | None = None) -> np.ndarray:
        """Return calibrated log-likelihoods, (N, C) float64: log-probabilities under equal priors.

        `detection.log_likelihood_ratios` converts them to detection scores.
        """
        scores = _finite(log_probabilities)
        if scores.shape[1] != len(self.classes):
            raise ValueError(f"expected scores of {len(self.classes)} classes, found {scores.shape[1]}")
        scores = centred(scores - np.log(self.prior))
        scores = scores @ np.array(self.matrix).T + np.array(self.offset)
        return log_softmax(scores * self._factors(seconds))

    def _factors(self, seconds: np.ndarray | float | None) -> np.ndarray | float:
        """Return the factors of the log-likelihoods, (N, 1) float64 or one for all; 1 for unknown durations."""
        if seconds is None or self.seconds is None:
            return 1.0
        reference, _, longest = self.seconds
        relative = np.minimum(np.atleast_1d(np.asarray(seconds, dtype=np.float64)), longest) / reference
        return np.where(np.isnan(relative), 1.0, relative**self.exponent)[:, None]

    @classmethod
    def of(cls, kind: Kind, classes: Sequence[str], *numbers: np.ndarray, **other: Any) -> Self:
        """Return a calibration of arrays. `numbers`: matrix (C, C), offset (C,) and prior (C,)."""
        matrix, offset, prior = (array.tolist() for array in numbers)
        return cls(kind, tuple(classes), tuple(map(tuple, matrix)), tuple(offset), tuple(prior), **other)

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
        text += "" if self.seconds is None else f", at durations of {self.seconds[1]:.3g} to {self.seconds[2]:.3g} s"
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
        found = TypeAdapter(Calibration).validate_python(content)
        size = len(found.classes)
        if {len(found.matrix), *map(len, found.matrix), len(found.offset), len(found.prior)} != {size}:
            raise ValueError(f"numbers that do not match {size} classes")
        if found.seconds is not None and not found.seconds[1] <= found.seconds[0] <= found.seconds[2]:
            raise ValueError(f"seconds {found.seconds}")
    except FileNotFoundError:
        raise UserError(f"{path}: expected a calibration, found no such file. Fit one on dev scores first.") from None
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise UserError(f"{path}: expected a calibration, found: {reason}. Fit it on dev scores again.") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"no {error} in it" if isinstance(error, KeyError) else " ".join(str(error).split())[:300]
        raise UserError(f"{path}: expected a calibration, found: {reason}. Fit it on dev scores again.") from None
    if version == _FIRST_FORMAT:
        # Its offset contains the priors of dev, which it named; those of the scores were taken as equal.
        offset = np.array(found.offset) - np.log(found.prior)
        return replace(found, offset=tuple(offset.tolist()), prior=(1 / size,) * size)
    return found


def read_calibration_of(path: Path | str, classes: Sequence[str], best_accuracy: float | None = None) -> Calibration:
    """Read the calibration of a model.

    Raises UserError: as :func:`read_calibration`; or it is of other classes or of another checkpoint.

    `classes`: of the model, in order. `best_accuracy`: as stored in its checkpoint; None if unknown.
    """
    found = read_calibration(path)
    if found.classes != tuple(classes):
        raise UserError(f"{path}: expected a calibration of the run's classes, found one of others. {_REMEDY}")
    if None not in (best_accuracy, found.best_accuracy) and best_accuracy != found.best_accuracy:
        raise UserError(f"{path}: expected the calibration of dev-best.ckpt, found one of another. {_REMEDY}")
    return found


def compare(
    calibration: Calibration,
    log_probabilities: np.ndarray,
    truth: np.ndarray,
    source: np.ndarray | None = None,
    seconds: np.ndarray | None = None,
) -> dict[str, dict[str, Any]]:
    """Return ``{"before": scores, "after": scores}`` on data that the calibration was not fitted on.

    The scores are those of `detection.summarize_detection`, from log-likelihoods under equal priors, and
    the parts of Cllr, and `metrics.calibration_scores` and ``reliability`` (the curve's points), from probabilities.

    `log_probabilities`: (N, C) float, uncalibrated. `truth`: (N,) int. `source`: (N,) str, the data source of each
    utterance, or None. `seconds`: (N,) float, durations, or None.
    """
    scores, truth = checked(log_probabilities, truth)
    before, after = log_softmax(scores), calibration.log_probabilities(scores, seconds=seconds)
    raw, calibrated = divide_out(scores, calibration.prior), calibration.log_likelihoods(scores, seconds)
    return {
        name: {
            **summarize_detection(likelihoods, truth, source),
            **cllr_parts(likelihoods, truth),
            **calibration_scores(np.exp(posteriors), truth),
            "reliability": reliability_curve(np.exp(posteriors), truth),
        }
        for name, posteriors, likelihoods in (("before", before, raw), ("after", after, calibrated))
    }


def checked(log_probabilities: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return scores (N, C) float64, bounded below and without the means of their rows, and the classes (N,)."""
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
    return centred(np.maximum(scores - scores.max(axis=1, keepdims=True, initial=-np.inf), MIN_LOG_PROBABILITY))


def centred(scores: np.ndarray) -> np.ndarray:
    """Return scores (N, C) without the mean of each row."""
    return scores - scores.mean(axis=1, keepdims=True)
