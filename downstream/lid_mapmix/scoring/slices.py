"""Every score over all utterances, and over those of one duration, source, cluster, class, or value of any column."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.dtypes import StringDType

from .detection import class_equal_error_rate, log_likelihood_ratios, multiclass_cllr, summarize_detection
from .metrics import accuracy, cluster_accuracy, expected_calibration_error, summarize, within_cluster_accuracy

MOST_DURATIONS = 12
_OWN = ("duration", "source", "cluster", "class")


def metrics_with_slices(
    probabilities: np.ndarray,
    truth: np.ndarray,
    *,
    cluster_indices: np.ndarray,
    cluster_names: Sequence[str],
    class_names: Sequence[str] | None = None,
    seconds: np.ndarray | None = None,
    source: np.ndarray | None = None,
    columns: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """Return the scores of metrics.py and detection.py overall and by slice, each with the counts behind it.

    Parameters
    ----------
    probabilities : (N, C) float.
    truth : (N,) int, class numbers.
    cluster_indices : (C,) int, the cluster number of each class.
    cluster_names : name of each cluster number.
    class_names : name of each class number, or None for no slices by class.
    seconds : (N,) float, nominal durations, or None. Rounded to whole seconds; without slices where more than 12
        durations remain, since they are then not nominal. NaN belongs to no slice.
    source : (N,) str, or None. An empty string belongs to no slice. Where there are two, costs of detection are the
        mean of theirs.
    columns : name → (N,) str, what else to slice by, such as columns of a manifest; an empty string belongs to no
        slice. The names of the ways above are taken.

    Returns
    -------
    ``{"overall": scores, "by_duration": {"3": scores, …}, "by_source": {…}, "by_cluster": {…}, "by_class": {…},
    "by_COLUMN": {…}, …}``, where scores is what `all_scores` returns. A way of slicing that does not apply is absent.
    by_cluster slices by the true class's cluster and adds ``within_cluster_acc``. by_class is what `class_scores`
    returns.
    """
    truth = np.asarray(truth)
    cluster_indices = np.asarray(cluster_indices)
    columns = {} if columns is None else columns
    if taken := columns.keys() & set(_OWN):
        raise ValueError(f"expected columns of other names than {', '.join(_OWN)}, found {min(taken)}")
    log_likelihoods = _logarithms(probabilities)

    def scores(selected: np.ndarray) -> dict[str, Any]:
        sources = None if source is None else np.asarray(source)[selected]
        return all_scores(
            probabilities[selected],
            truth[selected],
            cluster_indices,
            sources,
            log_likelihoods=log_likelihoods[selected],
        )

    result: dict[str, Any] = {"overall": scores(np.ones(len(truth), dtype=bool))}
    if seconds is not None:
        names, numbers = number_durations(seconds)
        if 0 < len(names) <= MOST_DURATIONS:
            result["by_duration"] = {name: scores(chosen) for name, chosen in select(names, numbers).items()}
    if source is not None and (slices := select(*number_values(source))):
        result["by_source"] = {name: scores(selected) for name, selected in slices.items()}
    result["by_cluster"] = {}
    for number, name in enumerate(cluster_names):
        selected = cluster_indices[truth] == number
        if selected.any():
            within = within_cluster_accuracy(probabilities[selected], truth[selected], cluster_indices)
            result["by_cluster"][name] = {**scores(selected), "within_cluster_acc": within}
    if class_names is not None:
        result["by_class"] = class_scores(probabilities, truth, cluster_indices, class_names)
    for column, values in columns.items():
        if slices := select(*number_values(values)):
            result[f"by_{column}"] = {name: scores(selected) for name, selected in slices.items()}
    return result


def all_scores(
    probabilities: np.ndarray,
    truth: np.ndarray,
    cluster_indices: np.ndarray,
    source: np.ndarray | None = None,
    *,
    log_likelihoods: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return the scores of metrics.py and detection.py over utterances.

    Parameters
    ----------
    probabilities : (N, C) float.
    truth : (N,) int. cluster_indices : (C,) int. source : (N,) str, or None.
    log_likelihoods : (N, C) float, natural logarithms, for the scores of detection; those of the probabilities where
        None, which are likelihoods where the classes were equally frequent in training.

    Returns
    -------
    ``{"acc", "wf1", "macro_f1", "c_acc", "ece", "eer", "cavg_1", "cavg_9", "c_primary", "c_primary_min",
    "cavg_argmax", "cllr": float, "targets": classes present, "sources": 1 or 2, "count": N}``; None where a score is
    not defined, as those of detection are with one class present.
    """
    if log_likelihoods is None:
        log_likelihoods = _logarithms(probabilities)
    return {
        **summarize(probabilities, truth, cluster_indices),
        **summarize_detection(log_likelihoods, truth, source),
        "count": len(truth),
    }


def class_scores(
    probabilities: np.ndarray, truth: np.ndarray, cluster_indices: np.ndarray, class_names: Sequence[str]
) -> dict[str, dict[str, float | int | None]]:
    """Return what there is to say of each class present in the truth, in the order of the classes.

    Parameters
    ----------
    probabilities : (N, C) float. truth : (N,) int. cluster_indices : (C,) int. class_names : name of each class.

    Returns
    -------
    name of a class → its scores; None where one is not defined.

    - ``acc`` (its recall), ``c_acc``, ``ece``, ``cllr`` (bits): of the class's own utterances.
    - ``precision`` (None where it is never the answer), ``f1``, ``eer`` (None where no other class is present): of the
      class against the others, over all utterances.
    - ``answers``, ``count``: how often it is the answer, and how often the truth.
    """
    answers = np.asarray(probabilities).argmax(axis=1)
    log_likelihoods, numbers = _logarithms(probabilities), np.unique(truth).tolist()
    ratios = log_likelihood_ratios(log_likelihoods) if len(numbers) > 1 else None
    result: dict[str, dict[str, float | int | None]] = {}
    for number in numbers:
        own = truth == number
        rows, gold = probabilities[own], truth[own]
        answered, hits = int((answers == number).sum()), int((answers[own] == number).sum())
        result[class_names[number]] = {
            "acc": accuracy(rows, gold),
            "c_acc": cluster_accuracy(rows, gold, cluster_indices),
            "ece": expected_calibration_error(rows, gold),
            "cllr": multiclass_cllr(log_likelihoods[own], gold),
            "precision": hits / answered if answered else None,
            "f1": 2 * hits / (answered + len(gold)),
            "eer": None if ratios is None else class_equal_error_rate(ratios[:, number], own),
            "answers": answered,
            "count": len(gold),
        }
    return result


def number_durations(seconds: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return the names of the durations, rounded to whole seconds, ascending; and (N,) int64, −1 where unknown.

    Parameters
    ----------
    seconds : (N,) float; NaN and infinity are unknown.
    """
    nominal = np.floor(np.asarray(seconds, dtype=np.float64) + 0.5)
    values, numbers = _numbered(nominal, np.isfinite(nominal))
    return [str(int(value)) for value in values], numbers


def number_values(values: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return what stands in a column (N,) str, sorted; and (N,) int64, which of them, −1 where it is empty."""
    values = np.asarray(values).astype(StringDType())
    names, numbers = _numbered(values, values != "")
    return [str(name) for name in names], numbers


def select(names: Sequence[str], numbers: np.ndarray) -> dict[str, np.ndarray]:
    """Return name → (N,) bool, whose numbers (N,) are its place among the names; names without any are left out."""
    return {names[number]: numbers == number for number in np.unique(numbers).tolist() if number >= 0}


def _numbered(values: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    numbers = np.full(len(values), -1)
    distinct, numbers[known] = np.unique(values[known], return_inverse=True)
    return distinct, numbers


def _logarithms(probabilities: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):  # a probability of 0 is a likelihood of 0
        return np.log(np.asarray(probabilities, dtype=np.float64))
