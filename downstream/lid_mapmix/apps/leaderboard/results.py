"""What the runs of a grid came to: the scores of each from its score files, and of each row the mean over its runs.

Everything here is computed from what lies in the folders of the runs, so that a bundle of them says the same.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...config.sources import TASK_KEY, read_yaml
from ...data.labels import labels_from_mapping, labels_from_names
from ...scoring.calibration import apply_temperature, fit_temperature
from ...scoring.files.own import ScoreFile, read_scores
from ...scoring.metrics import expected_calibration_error
from ...scoring.scorecard import all_scores
from ...utils.errors import UserError
from ...utils.run_folder import RunFolder
from .comparison import Compared, best_row, resample
from .grid import Run
from .state import State, Status, read_state

# Column → what it is called, and whether more is better.
COLUMNS: Mapping[str, tuple[str, bool]] = {
    "acc": ("Acc", True),
    "wf1": ("WF1", True),
    "c_acc": ("C.Acc", True),
    "ece": ("ECE", False),
    "ece_calibrated": ("ECE cal.", False),
    "c_primary": ("C_primary", False),
}


@dataclass(frozen=True, eq=False)
class RunResult:
    """A run of the grid.

    Attributes
    ----------
    run : which.
    state : how far it came.
    scores : of its test split, by column; empty where it is not complete.
    parameters, trained : of the whole model; None where the run does not say.
    seconds : that it took, and its data map.
    map_command : makes the data map that its own command reads; empty where it needs none.
    compared : its scores under resampling; None where it is not complete, or nothing is compared.
    """

    run: Run
    state: State
    scores: Mapping[str, float | None]
    parameters: int | None = None
    trained: int | None = None
    seconds: float | None = None
    map_command: str = ""
    compared: Compared | None = None


def read_result(root: Path, run: Run, samples: int) -> RunResult:
    """Read what a run has left.

    Parameters
    ----------
    root : folder of the grid.
    run : of the grid.
    samples : resamples; 0 for none.

    Raises
    ------
    UserError : a file is not there or damaged.
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
    calibrated = apply_temperature(test.log_probabilities, fit_temperature(dev.log_probabilities, dev.truth_indices))
    overall = all_scores(test.probabilities, test.truth_indices, clusters, source)
    overall["ece_calibrated"] = expected_calibration_error(np.exp(calibrated), test.truth_indices)
    counts = _parameter_counts(folder)
    datamap = read_state(root / state.datamap) if state.datamap else State()
    return RunResult(
        run,
        state,
        {name: overall[name] for name in COLUMNS},
        parameters=None if counts is None else sum(part["parameters"] for part in counts.values()),
        trained=None if counts is None else sum(part["trained"] for part in counts.values()),
        seconds=state.seconds + datamap.seconds,
        map_command=datamap.command,
        compared=resample(test, calibrated, clusters, source, samples) if samples else None,
    )


def summarize(results: Sequence[RunResult]) -> list[dict[str, Any]]:
    """Return the rows: of each upstream and variant the mean and standard deviation over data and seeds.

    Returns
    -------
    ``{"upstream", "variant", "runs", "complete", "scores": {column: {"mean", "sd", "best", "p"}}, "parameters",
    "trained", "seconds": {"mean", "sd"}}`` a row; sd is None of one run, and scores are empty where none is complete.
    ``best`` is set where a test says that the row is better than each other one; ``p`` is the largest of its tests, and
    stands at the row with the best mean only.
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
    for name, (_, is_more_better) in COLUMNS.items():
        means = [row["scores"].get(name, {}).get("mean") for row in rows]
        found = best_row(name, means, compared, is_more_better=is_more_better)
        if found is not None:
            number, p, is_best = found
            rows[number]["scores"][name] |= {"best": is_best, "p": p}
    return rows


def _mean_and_deviation(values: Sequence[Any]) -> dict[str, Any]:
    return {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None}


def _only(values: Sequence[int | None]) -> int | None:
    """Return the value that all have; data of other classes have another number of outputs, and then the largest."""
    known = [value for value in values if value is not None]
    return max(known, default=None)


def _cluster_indices(folder: Path, scores: ScoreFile) -> np.ndarray:
    """Return the cluster number of each class, (C,) int64, by the labels that the run has kept."""
    kept = read_yaml(RunFolder(folder).settings_file()).get(TASK_KEY, {}).get("labels")
    labels = labels_from_names(scores.classes) if kept is None else labels_from_mapping(kept, str(folder))
    number_of = dict(zip(labels.classes, labels.cluster_indices.tolist(), strict=True))
    if unknown := set(scores.classes) - number_of.keys():
        raise UserError(f"{scores.path}: expected the classes of the run's settings, found {min(unknown)}.")
    return np.array([number_of[name] for name in scores.classes])


def _parameter_counts(folder: Path) -> dict[str, dict[str, int]] | None:
    path = RunFolder(folder).parameters
    if not path.is_file():
        return None
    try:
        return {name: {key: int(part[key]) for key in part} for name, part in json.loads(path.read_text()).items()}
    except (ValueError, TypeError, AttributeError):
        raise UserError(f"{path}: is damaged. Delete it, and parameters are unknown.") from None
