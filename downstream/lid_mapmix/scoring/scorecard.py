"""The scores of a system overall, with confidence intervals, by slice, and against another system.

A system that gives answers only has the scores of `ANSWER_SCORES`; the others take scores to tell.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..utils.errors import UserError
from .bootstrap import Difference, Interval, bootstrap, paired_bootstrap
from .detection import summarize_detection
from .files.system_output import SystemOutput, class_numbers
from .metrics import summarize
from .slices import number_durations, number_values, select

ANSWER_SCORES = ("acc", "wf1", "macro_f1", "c_acc")
MOST_SLICES = 200


@dataclass(frozen=True, eq=False)
class System:
    """A system's output with the truth, ready to be scored.

    Attributes
    ----------
    output : of N utterances and C classes; its truth is known.
    truth : (N,) int64, class numbers.
    cluster_names : name of each cluster number.
    cluster_indices : (C,) int64, the cluster number of each class.
    log_likelihoods : (N, C) float64; of answers, 0 for the answer and minus infinity for the others.
    """

    output: SystemOutput
    truth: np.ndarray
    cluster_names: tuple[str, ...]
    cluster_indices: np.ndarray
    log_likelihoods: np.ndarray

    @property
    def is_right(self) -> np.ndarray:
        """Whether the likeliest class is the true one, (N,) bool."""
        return self.log_likelihoods.argmax(axis=1) == self.truth

    def has(self, score: str) -> bool:
        """Say whether the system's file tells a score."""
        return self.output.log_likelihoods is not None or score in ANSWER_SCORES


def make_system(output: SystemOutput, cluster_of: Mapping[str, str]) -> System:
    """Return what is needed to score a system's output.

    Parameters
    ----------
    output : with its truth.
    cluster_of : class → its cluster, of all classes, in the order of the clusters.

    Raises
    ------
    UserError : a true class that the system does not know.
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
    )


def scores_of(system: System, rows: np.ndarray | None = None) -> dict[str, Any]:
    """Return the scores of metrics.py and detection.py, and ``count``; None where a score is not defined.

    Parameters
    ----------
    system : with N utterances.
    rows : (N,) bool, the utterances that count; at least one. None: all.
    """
    rows = np.ones(len(system.truth), dtype=bool) if rows is None else rows
    values, truth = system.log_likelihoods[rows], system.truth[rows]
    scores: dict[str, Any] = summarize(np.exp(values), truth, system.cluster_indices)
    if system.output.log_likelihoods is not None:
        source = system.output.column("source")
        ratios = system.output.ratios
        scores |= summarize_detection(
            values, truth, None if source is None else source[rows], None if ratios is None else ratios[rows]
        )
    return {name: value for name, value in scores.items() if system.has(name)} | {"count": int(rows.sum())}


def slices_of(system: System, way: str) -> dict[str, np.ndarray]:
    """Return the slices of a way of slicing, name → (N,) bool, in order; an utterance without a value is in none.

    Parameters
    ----------
    system : with N utterances.
    way : ``duration`` (rounded to whole seconds), ``cluster`` and ``class`` of the truth, or the name of a column.

    Raises
    ------
    UserError : nothing is known by which to slice so, or there are more than `MOST_SLICES`.
    """
    output = system.output
    names: Sequence[str]
    if way == "duration":
        names, numbers = number_durations(output.seconds)
    elif way == "cluster":
        names, numbers = system.cluster_names, system.cluster_indices[system.truth]
    elif way == "class":
        names, numbers = output.classes, system.truth
    else:
        values = output.column(way)
        names, numbers = number_values(np.full(len(output), "") if values is None else values)
    count = len(np.unique(numbers[numbers >= 0]))
    if not 1 <= count <= MOST_SLICES:
        known = ["duration", "cluster", "class", *(name for name in output.columns if output.column(name) is not None)]
        raise UserError(
            f"--by {way}: expected 1 to {MOST_SLICES} values in {output.path}, found {count or 'none'}. Slice by "
            f"{', '.join(known)}, or give a key that has it."
        )
    return select(names, numbers)


def intervals_of(system: System, samples: int, seed: int) -> dict[str, Interval]:
    """Return the confidence intervals of `scores_of`; see `bootstrap`. Whole groups are drawn where there are some."""
    columns = system.output.column
    found = bootstrap(
        system.log_likelihoods,
        system.truth,
        system.cluster_indices,
        group=columns("group"),
        source=columns("source"),
        ratios=system.output.ratios,
        samples=samples,
        seed=seed,
    )
    return {name: interval for name, interval in found.items() if system.has(name)}


def differences_of(first: System, second: System, samples: int, seed: int) -> dict[str, Difference]:
    """Return the differences second less first of the scores that both have; see `paired_bootstrap`."""
    columns = first.output.column
    found = paired_bootstrap(
        first.log_likelihoods,
        second.log_likelihoods,
        first.truth,
        first.cluster_indices,
        group=columns("group"),
        source=columns("source"),
        ratios=(first.output.ratios, second.output.ratios),
        samples=samples,
        seed=seed,
    )
    return {name: difference for name, difference in found.items() if first.has(name) and second.has(name)}
