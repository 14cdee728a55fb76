"""All scores of a set of utterances: overall, per slice, with confidence intervals, and compared with another system.

`metrics_with_slices` takes arrays, `System` and its functions a system's file. A system with predictions only has the
scores of `ANSWER_SCORES`; the others need scores. Functions of arrays take

probabilities : (N, C) float.
truth : (N,) int, class numbers.
cluster_indices : (C,) int, the cluster number of each class.
source : (N,) str, the data source of each utterance, or None.
log_likelihoods : (N, C) float, natural logarithms, for the detection scores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.dtypes import StringDType

from ..utils.errors import UserError
from .bootstrap import Difference, Interval, Units, bootstrap, paired_bootstrap, sampling_units
from .class_priors import divide_out
from .detection import class_equal_error_rate, log_likelihood_ratios, multiclass_cllr, summarize_detection
from .files.system_output import SystemOutput, class_numbers
from .metrics import expected_calibration_error, logarithms, summarize, within_cluster_accuracy
from .proper import cllr_parts
from .weighted import WeightedScores

ANSWER_SCORES = ("acc", "wf1", "macro_f1", "c_acc")
# Of whole seconds; with more, durations are not nominal.
_MAX_DURATIONS = 12
_MAX_SLICES = 200


def metrics_with_slices(
    probabilities: np.ndarray,
    truth: np.ndarray,
    *,
    cluster_indices: np.ndarray,
    cluster_names: Sequence[str],
    class_names: Sequence[str] | None = None,
    seconds: np.ndarray | None = None,
    source: np.ndarray | None = None,
    class_prior: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Return the scores of metrics.py and detection.py overall and per slice, each with its counts.

    Returns ``{"overall": scores, "by_duration": {"3": scores, …}, "by_source": {…}, "by_cluster": {…}, "by_class":
    {…}}``, where scores is what `all_scores` returns, overall with the parts of Cllr (`proper.cllr_parts`). Slices that
    do not apply are absent. by_cluster slices by the true class's cluster and adds ``within_cluster_acc``. by_class is
    what `class_scores` returns.

    Parameters
    ----------
    cluster_names : name of each cluster number.
    class_names : name of each class number, or None for no slices by class.
    seconds : (N,) float, nominal durations, or None. Rounded to whole seconds; with more than 12 different durations
        they are not nominal, and there are no slices by duration. NaN belongs to no slice.
    source : (N,) str, or None. An empty string belongs to no slice. With two sources, detection costs are the mean of
        theirs.
    class_prior : (C,) float, the class priors in the probabilities, divided out for detection and Cllr; None: equal.
    """
    truth = np.asarray(truth)
    cluster_indices = np.asarray(cluster_indices)
    log_likelihoods = divide_out(logarithms(probabilities), class_prior)

    def scores(selected: np.ndarray) -> dict[str, Any]:
        sources = None if source is None else np.asarray(source)[selected]
        likelihoods = log_likelihoods[selected]
        return all_scores(
            probabilities[selected], truth[selected], cluster_indices, sources, log_likelihoods=likelihoods
        )

    result: dict[str, Any] = {"overall": scores(np.ones(len(truth), dtype=bool)) | cllr_parts(log_likelihoods, truth)}
    if seconds is not None:
        names, numbers = _durations(seconds)
        if 0 < len(names) <= _MAX_DURATIONS:
            result["by_duration"] = {name: scores(chosen) for name, chosen in _select(names, numbers).items()}
    if source is not None and (slices := _select(*_values(source))):
        result["by_source"] = {name: scores(selected) for name, selected in slices.items()}
    result["by_cluster"] = {}
    for name, selected in _select(cluster_names, cluster_indices[truth]).items():
        within = within_cluster_accuracy(probabilities[selected], truth[selected], cluster_indices)
        result["by_cluster"][name] = {**scores(selected), "within_cluster_acc": within}
    if class_names is not None:
        result["by_class"] = class_scores(probabilities, truth, cluster_indices, class_names, log_likelihoods)
    return result


def all_scores(
    probabilities: np.ndarray,
    truth: np.ndarray,
    cluster_indices: np.ndarray,
    source: np.ndarray | None = None,
    *,
    log_likelihoods: np.ndarray,
    ratios: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return the scores of `metrics.summarize` and `detection.summarize_detection`, and ``count``, the utterances.

    None for an undefined score, such as the detection scores with one class present.

    `ratios`: (N, C) float, the system's own ratios, for EER and costs; None: those of the log-likelihoods.
    """
    return {
        **summarize(probabilities, truth, cluster_indices),
        **summarize_detection(log_likelihoods, truth, source, ratios),
        "count": len(truth),
    }


def class_scores(
    probabilities: np.ndarray,
    truth: np.ndarray,
    cluster_indices: np.ndarray,
    class_names: Sequence[str],
    log_likelihoods: np.ndarray,
) -> dict[str, dict[str, float | int | None]]:
    """Return the scores of each class present in the truth, in the order of the classes.

    Returns class name → its scores; None if one is not defined.

    - ``acc`` (its recall), ``c_acc``, ``ece``, ``cllr`` (bits): of the class's own utterances.
    - ``precision`` (None if it is never predicted), ``f1``, ``eer`` (None if no other class is present): of the
      class against the others, over all utterances.
    - ``answers``, ``count``: how many predictions, and how many true labels, are this class.
    """
    answers = np.asarray(probabilities).argmax(axis=1)
    numbers = np.unique(truth).tolist()
    ratios = log_likelihood_ratios(log_likelihoods) if len(numbers) > 1 else None
    result: dict[str, dict[str, float | int | None]] = {}
    for number in numbers:
        own = truth == number
        rows, target_classes = probabilities[own], truth[own]
        answered, hits = int((answers == number).sum()), int((answers[own] == number).sum())
        in_cluster = cluster_indices[answers[own]] == cluster_indices[number]
        result[class_names[number]] = {
            "acc": hits / len(target_classes),
            "c_acc": float(in_cluster.mean()),
            "ece": expected_calibration_error(rows, target_classes),
            "cllr": multiclass_cllr(log_likelihoods[own], target_classes),
            "precision": hits / answered if answered else None,
            "f1": 2 * hits / (answered + len(target_classes)),
            "eer": None if ratios is None else class_equal_error_rate(ratios[:, number], own),
            "answers": answered,
            "count": len(target_classes),
        }
    return result


@dataclass(frozen=True, eq=False)
class System:
    """A system's output with the truth, to be scored."""

    output: SystemOutput  # of N utterances and C classes; its truth is known
    truth: np.ndarray  # (N,) int64, class numbers
    cluster_names: tuple[str, ...]  # name of each cluster number
    cluster_indices: np.ndarray  # (C,) int64, the cluster number of each class
    # (N, C) float64; of predictions only, 0 for the prediction and minus infinity for the others.
    log_likelihoods: np.ndarray
    class_prior: tuple[float, ...] | None = None  # (C,) class priors in them; None: equal

    @property
    def is_right(self) -> np.ndarray:
        """Whether the most probable class is the true one, (N,) bool."""
        return self.log_likelihoods.argmax(axis=1) == self.truth

    @property
    def likelihoods(self) -> np.ndarray:
        """(N, C) float64, the log-likelihoods without the class priors that the scores contain."""
        return divide_out(self.log_likelihoods, self.class_prior)

    def has(self, score: str) -> bool:
        """Return whether a score can be computed from the system's file."""
        return self.output.log_likelihoods is not None or score in ANSWER_SCORES

    @property
    def units(self) -> Units:
        """What the bootstrap draws."""
        return sampling_units(self.truth, *map(self.output.column, ("group", "speaker")))

    def weighted(self) -> WeightedScores:
        """Return the scores as functions of the utterances' weights."""
        source = self.output.column("source")
        return WeightedScores(
            self.log_likelihoods,
            self.truth,
            self.cluster_indices,
            source,
            self.output.ratios,
            class_prior=self.class_prior,
        )


def make_system(
    output: SystemOutput, cluster_of: Mapping[str, str], class_prior: Sequence[float] | None = None
) -> System:
    """Return a system's output with what its scores need.

    Raises UserError: a true class that is not a class of the system.

    `cluster_of`: class → its cluster, for all classes, in the order of the clusters. `class_prior`: (C,) float, the
    class priors in the scores; None: equal.
    """
    if output.truth is None:
        raise ValueError(f"expected output with its truth, found none of {output.path}")
    names = tuple(dict.fromkeys(cluster for name, cluster in cluster_of.items() if name in output.classes))
    log_likelihoods = output.log_likelihoods
    if log_likelihoods is None:
        answers = class_numbers(output, output.predictions)
        log_likelihoods = np.where(answers[:, None] == np.arange(len(output.classes)), 0.0, -np.inf)
    return System(
        output=output,
        truth=class_numbers(output, output.truth),
        cluster_names=names,
        cluster_indices=np.array([names.index(cluster_of[name]) for name in output.classes]),
        log_likelihoods=log_likelihoods,
        class_prior=None if class_prior is None else tuple(class_prior),
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class Scores:
    """The scores of a system on a split, by the names and definitions of docs/scores.md; None: not defined.

    Attributes
    ----------
    overall : score → value, and ``count``, the number of utterances.
    intervals : score → its 95 % confidence interval; empty where none was computed.
    slices : way of slicing (``duration``, ``cluster``, ``source``, …) → slice → score → value.
    calibrated : score → value after the calibration that was fitted on dev; empty where there is none.
    """

    overall: Mapping[str, Any]
    intervals: Mapping[str, Interval]
    slices: Mapping[str, Mapping[str, Mapping[str, Any]]]
    calibrated: Mapping[str, Any] = field(default_factory=dict)


def score_system(system: System, by: Sequence[str] = (), samples: int = 1000, seed: int = 0) -> Scores:
    """Score a system, with confidence intervals and by slice.

    Raises UserError: a way of slicing that does not apply.

    `by`: ways of slicing; see :func:`slices_of`. `samples`, `seed`: of the bootstrap; without samples there are no
    intervals.
    """
    intervals = bootstrap(system.weighted(), system.units, samples, seed) if samples else {}
    return Scores(
        overall=scores_of(system),
        intervals={name: interval for name, interval in intervals.items() if system.has(name)},
        slices={way: {name: scores_of(system, rows) for name, rows in slices_of(system, way).items()} for way in by},
    )


def scores_of(system: System, rows: np.ndarray | None = None) -> dict[str, Any]:
    """Return what `all_scores` does, with the parts of Cllr overall; None for an undefined score.

    `rows`: (N,) bool, the utterances to score; at least one. None: all.
    """
    every = slice(None) if rows is None else rows
    values, truth, clusters = system.log_likelihoods[every], system.truth[every], system.cluster_indices
    source, ratios = (
        None if column is None else column[every] for column in (system.output.column("source"), system.output.ratios)
    )
    likelihoods = system.likelihoods[every]
    scores = all_scores(np.exp(values), truth, clusters, source, log_likelihoods=likelihoods, ratios=ratios)
    if rows is None:
        scores |= cllr_parts(likelihoods, truth)
    return {name: value for name, value in scores.items() if name == "count" or system.has(name)}


def slices_of(system: System, way: str) -> dict[str, np.ndarray]:
    """Return the slices of a kind, name → (N,) bool, in order; an utterance without a value is in none.

    Raises UserError: there is no value to slice by, or there are more than `_MAX_SLICES`.

    `way`: ``duration`` (rounded to whole seconds), ``cluster`` or ``class`` of the truth, or the name of a column.
    """
    output = system.output
    names: Sequence[str]
    if way == "duration":
        names, numbers = _durations(output.seconds)
    elif way == "cluster":
        names, numbers = system.cluster_names, system.cluster_indices[system.truth]
    elif way == "class":
        names, numbers = output.classes, system.truth
    else:
        values = output.column(way)
        names, numbers = _values(np.full(len(output), "") if values is None else values)
    count = len(np.unique(numbers[numbers >= 0]))
    if not 1 <= count <= _MAX_SLICES:
        known = ["duration", "cluster", "class", *(name for name in output.columns if output.column(name) is not None)]
        raise UserError(
            f"--by {way}: expected 1 to {_MAX_SLICES} values in {output.path}, found {count or 'none'}. Slice by "
            f"{', '.join(known)}, or use a key that has it."
        )
    return _select(names, numbers)


def differences_of(first: System, second: System, samples: int, seed: int) -> dict[str, Difference]:
    """Return the differences of the common scores, second minus first; see `paired_bootstrap`."""
    found = paired_bootstrap(first.weighted(), second.weighted(), first.units, samples, seed)
    return {name: difference for name, difference in found.items() if first.has(name) and second.has(name)}


def _durations(seconds: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return the names of the durations, rounded to whole seconds, ascending; and (N,) int64, −1 if unknown.

    `seconds`: (N,) float; NaN and infinity are unknown.
    """
    nominal = np.floor(np.asarray(seconds, dtype=np.float64) + 0.5)
    values, numbers = _numbered(nominal, np.isfinite(nominal))
    return [str(int(value)) for value in values], numbers


def _values(values: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return the different values of a column (N,) str, sorted; and (N,) int64, the number of each, −1 if empty."""
    values = np.asarray(values).astype(StringDType())
    names, numbers = _numbered(values, values != "")
    return [str(name) for name in names], numbers


def _select(names: Sequence[str], numbers: np.ndarray) -> dict[str, np.ndarray]:
    """Return name → (N,) bool for each name that occurs; numbers (N,) are indices into the names."""
    return {names[number]: numbers == number for number in np.unique(numbers).tolist() if number >= 0}


def _numbered(values: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    numbers = np.full(len(values), -1)
    distinct, numbers[known] = np.unique(values[known], return_inverse=True)
    return distinct, numbers
