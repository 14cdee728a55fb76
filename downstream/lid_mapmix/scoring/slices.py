"""Every score over all utterances, and over those of one nominal duration, one source, one cluster."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .detection import summarize_detection
from .metrics import summarize, within_cluster_accuracy

MOST_DURATIONS = 12


def metrics_with_slices(
    probabilities: np.ndarray,
    truth: np.ndarray,
    *,
    cluster_indices: np.ndarray,
    cluster_names: Sequence[str],
    seconds: np.ndarray | None = None,
    source: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return the scores of metrics.py and detection.py overall and by slice, each with the counts behind it.

    Parameters
    ----------
    probabilities : (N, C) float.
    truth : (N,) int, class numbers.
    cluster_indices : (C,) int, the cluster number of each class.
    cluster_names : name of each cluster number.
    seconds : (N,) float, nominal durations, or None. Rounded to whole seconds; without slices where more than 12
        durations remain, since they are then not nominal. NaN belongs to no slice.
    source : (N,) str, or None. An empty string belongs to no slice. Where there are two, costs of detection are the
        mean of theirs.

    Returns
    -------
    ``{"overall": scores, "by_duration": {"3": scores, …}, "by_source": {…}, "by_cluster": {…}}``, where scores is
    ``{"acc": …, "wf1": …, "macro_f1": …, "c_acc": …, "ece": …, "eer": …, "cavg_1": …, "cavg_9": …, "c_primary": …,
    "c_primary_min": …, "cavg_argmax": …, "cllr": …, "targets": classes present, "sources": 1 or 2, "count": N}``; None
    where a score is not defined. A way of slicing that does not apply is absent. by_cluster slices by the true class's
    cluster and adds ``within_cluster_acc``.
    """
    truth = np.asarray(truth)
    cluster_indices = np.asarray(cluster_indices)
    with np.errstate(divide="ignore"):  # a probability of 0 is a likelihood of 0
        log_likelihoods = np.log(np.asarray(probabilities, dtype=np.float64))

    def scores(selected: np.ndarray) -> dict[str, Any]:
        sources = None if source is None else np.asarray(source)[selected]
        return {
            **summarize(probabilities[selected], truth[selected], cluster_indices),
            **summarize_detection(log_likelihoods[selected], truth[selected], sources),
            "count": int(selected.sum()),
        }

    result: dict[str, Any] = {"overall": scores(np.ones(len(truth), dtype=bool))}
    if seconds is not None and (slices := _by_duration(np.asarray(seconds, dtype=np.float64))):
        result["by_duration"] = {name: scores(selected) for name, selected in slices.items()}
    if source is not None and (slices := _by_source(np.asarray(source))):
        result["by_source"] = {name: scores(selected) for name, selected in slices.items()}
    result["by_cluster"] = {}
    for number, name in enumerate(cluster_names):
        selected = cluster_indices[truth] == number
        if selected.any():
            within = within_cluster_accuracy(probabilities[selected], truth[selected], cluster_indices)
            result["by_cluster"][name] = {**scores(selected), "within_cluster_acc": within}
    return result


def _by_duration(seconds: np.ndarray) -> Mapping[str, np.ndarray]:
    nominal = np.floor(seconds + 0.5)
    durations = np.unique(nominal[np.isfinite(nominal)])
    if len(durations) > MOST_DURATIONS:
        return {}
    return {str(int(duration)): nominal == duration for duration in durations}


def _by_source(source: np.ndarray) -> Mapping[str, np.ndarray]:
    return {str(name): source == name for name in np.unique(source) if name}
