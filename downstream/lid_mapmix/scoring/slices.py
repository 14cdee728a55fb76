"""Every score over all utterances, and over those of one nominal duration, one source, one cluster."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

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
    """Return the scores of metrics.py overall and by slice, each with the number of utterances behind it.

    Parameters
    ----------
    probabilities : (N, C) float.
    truth : (N,) int, class numbers.
    cluster_indices : (C,) int, the cluster number of each class.
    cluster_names : name of each cluster number.
    seconds : (N,) float, nominal durations, or None. Rounded to whole seconds; without slices where more than 12
        durations remain, since they are then not nominal. NaN belongs to no slice.
    source : (N,) str, or None. An empty string belongs to no slice.

    Returns
    -------
    ``{"overall": scores, "by_duration": {"3": scores, …}, "by_source": {…}, "by_cluster": {…}}``, where scores is
    ``{"acc": …, "wf1": …, "macro_f1": …, "c_acc": …, "ece": …, "count": N}``. A way of slicing that does not apply is
    absent. by_cluster slices by the true class's cluster and adds ``within_cluster_acc``.
    """
    truth = np.asarray(truth)
    cluster_indices = np.asarray(cluster_indices)

    def scores(selected: np.ndarray) -> dict[str, float]:
        return {
            **summarize(probabilities[selected], truth[selected], cluster_indices),
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
