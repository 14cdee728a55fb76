"""The results of a grid: scores per run, from its score files, and means per row over its runs.

Everything is computed from files in the folders of the runs, so that a bundle reproduces it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...config.sources import TASK_KEY, read_yaml
from ...data.labels import labels_from_mapping, labels_from_names
from ...scoring.calibration import Calibration, read_calibration_of
from ...scoring.calibration_fit import fit
from ...scoring.choices import Kind
from ...scoring.class_priors import divide_out, ordered_priors, read_priors
from ...scoring.files.own import ScoreFile, read_scores
from ...scoring.proper import log_loss
from ...scoring.scorecard import all_scores
from ...utils.errors import UserError
from ...utils.run_folder import RunFolder
from .comparison import Compared, best_row, resample
from .grid import Run
from .state import REMEDY, State, Status, read_state

# Column → its title, and whether higher is better.
COLUMNS: Mapping[str, tuple[str, bool]] = {
    "acc": ("Acc", True),
    "wf1": ("WF1", True),
    "c_acc": ("C.Acc", True),
    "log_loss": ("Log loss", False),
    "log_loss_calibrated": ("Log loss cal.", False),
    "ece": ("ECE", False),
    "c_primary": ("C_primary", False),
}


@dataclass(frozen=True, eq=False)
class RunResult:
    """The result of a run."""

    run: Run  # run of the grid
    state: State
    scores: Mapping[str, float | None]  # column → score of the test split; empty if the run is not complete
    # parameters, trained: number of parameters of the whole model, and of trained ones; None if unknown.
    parameters: int | None = None
    trained: int | None = None
    seconds: float | None = None  # time of the run and its data map
    map_command: str = ""  # command that trains its data map; empty if it needs none
    compared: Compared | None = None  # scores under resampling; None if the run is not complete


def read_result(root: Path, run: Run, samples: int) -> RunResult:
    """Read the result of a run.

    Raises UserError: a file is missing or damaged.
    """
    folder = root / run.folder
    state = read_state(folder)
    if state.status is not Status.COMPLETE:
        return RunResult(run, state, {})
    test, dev = (read_scores(RunFolder(folder).scores(split)) for split in ("test", "dev"))
    if dev.classes != test.classes:
        raise UserError(f"{dev.path}: expected the classes of {test.path.name}, found others. Evaluate again.")
    clusters = _cluster_indices(folder, test)
    source = test.source if np.any(test.source != "") else None
    prior = _class_prior(folder, test.classes)
    calibration = _calibration(folder, dev, prior)
    calibrated = calibration.log_probabilities(test.log_probabilities, seconds=test.seconds)
    likelihoods = divide_out(test.log_probabilities, prior)
    overall = all_scores(test.probabilities, test.truth_indices, clusters, source, log_likelihoods=likelihoods)
    overall["log_loss_calibrated"] = log_loss(np.exp(calibrated), test.truth_indices)
    if not (root / state.datamap).resolve().is_relative_to(root.resolve()):
        raise UserError(f"{folder}: expected a data map in the folder of the grid, found {state.datamap!a}. {REMEDY}")
    datamap = read_state(root / state.datamap) if state.datamap else State()
    return RunResult(
        run,
        state,
        {name: overall[name] for name in COLUMNS},
        *_parameter_counts(folder),
        seconds=state.seconds + datamap.seconds,
        map_command=datamap.command,
        compared=resample(test, calibrated, clusters, source, prior, samples=samples),
    )


def _calibration(folder: Path, dev: ScoreFile, prior: Sequence[float] | None) -> Calibration:
    """Return the calibration of a run, or one fitted on its dev scores if it has none, as in version 0.1.0."""
    path = RunFolder(folder).calibration
    if path.is_file():
        return read_calibration_of(path, dev.classes)
    return fit(Kind.AFFINE, dev.log_probabilities, dev.truth_indices, dev.classes, prior)


def summarize(results: Sequence[RunResult]) -> list[dict[str, Any]]:
    """Return one row per upstream and variant: mean and standard deviation over data and seeds.

    Returns per row ``{"upstream", "variant", "runs", "complete", "scores": {column: {"mean", "sd", "best", "p"}},
    "parameters", "trained", "seconds": {"mean", "sd"}}``. sd is None for one run; scores are empty if no run is
    complete. ``best``: the row is significantly better than each other row. ``p``: the largest p-value of these tests,
    only in the row with the best mean; None if it was not tested: too few runs, or the ECE.
    """
    groups: dict[tuple[str, str], list[RunResult]] = {}
    for result in results:
        groups.setdefault((result.run.upstream, result.run.variant), []).append(result)
    rows: list[dict[str, Any]] = []
    for (upstream, variant), members in groups.items():
        complete = [member for member in members if member.scores]
        rows.append(
            {
                "upstream": upstream,
                "variant": variant,
                "runs": len(members),
                "complete": len(complete),
                "scores": {
                    name: _mean_and_deviation(values)
                    for name in COLUMNS
                    if (values := [member.scores[name] for member in complete if member.scores[name] is not None])
                },
                "parameters": _only([member.parameters for member in complete]),
                "trained": _only([member.trained for member in complete]),
                "seconds": _mean_and_deviation([m.seconds for m in complete]) if complete else None,
            }
        )
    compared = [
        {(m.run.data, m.run.seed): m.compared for m in members if m.compared is not None} for members in groups.values()
    ]
    for name, (_, is_higher_better) in COLUMNS.items():
        means = [row["scores"].get(name, {}).get("mean") for row in rows]
        found = best_row(name, means, compared, is_higher_better=is_higher_better)
        if found is not None:
            number, p, is_best = found
            rows[number]["scores"][name] |= {"best": is_best, "p": p}
    return rows


def _mean_and_deviation(values: Sequence[Any]) -> dict[str, Any]:
    return {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None}


def _only(values: Sequence[int | None]) -> int | None:
    """Return the largest known value; it differs between runs only if data have different numbers of classes."""
    known = [value for value in values if value is not None]
    return max(known, default=None)


def _cluster_indices(folder: Path, scores: ScoreFile) -> np.ndarray:
    """Return the cluster number of each class, (C,) int64, by the labels in the settings of the run."""
    kept = read_yaml(RunFolder(folder).settings_file()).get(TASK_KEY, {}).get("labels")
    labels = labels_from_names(scores.classes) if kept is None else labels_from_mapping(kept, str(folder))
    number_of = dict(zip(labels.classes, labels.cluster_indices.tolist(), strict=True))
    if unknown := set(scores.classes) - number_of.keys():
        raise UserError(
            f"{scores.path}: expected the classes of the run's settings, found {min(unknown)}. Evaluate again."
        )
    return np.array([number_of[name] for name in scores.classes])


def _class_prior(folder: Path, classes: Sequence[str]) -> list[float] | None:
    """Return the class priors of training, in the order of the classes; None where the run recorded none."""
    path = RunFolder(folder).metrics("test")
    if not path.is_file():
        return None
    try:
        priors = read_priors(path)
        return None if priors is None else ordered_priors(priors, classes)
    except ValueError:
        raise UserError(f"{path}: is damaged. Evaluate the run again.") from None


def _parameter_counts(folder: Path) -> tuple[int | None, int | None]:
    """Return the number of parameters, and of trained ones; None if unknown."""
    path = RunFolder(folder).parameters
    if not path.is_file():
        return None, None
    try:
        parts = json.loads(path.read_text()).values()
        return sum(int(part["parameters"]) for part in parts), sum(int(part["trained"]) for part in parts)
    except (ValueError, TypeError, AttributeError, KeyError):
        raise UserError(f"{path}: is damaged. Delete it; the number of parameters is then unknown.") from None
