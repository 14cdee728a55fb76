"""Read the files of a run for the report; a missing part names the command that makes it."""

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...config.named_paths import is_of_run
from ...config.schema import TaskConfig
from ...config.settings import moved_path, task_of_run
from ...config.sources import read_yaml
from ...data.labels import Labels, labels_from_mapping, labels_from_names
from ...mapmix.datamap_files import DataMap, read_datamap
from ...scoring.files.own import ScoreFile, read_scores
from ...scoring.metrics import reliability_curve
from ...utils.errors import UserError
from ...utils.files import encodable_name
from ...utils.run_folder import RunFolder

_SPLITS = ("test", "dev")
_MAX_POINTS = 300


@dataclass(frozen=True)
class Missing:
    """A part that the report lacks."""

    reason: str  # a sentence
    command: str = ""  # command that makes the part; may be empty


@dataclass(frozen=True, eq=False)
class Curve:
    """A value over training: (N,) int64 optimizer steps, ascending, and (N,) float64 values."""

    steps: np.ndarray
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class Reliability:
    """The points of reliability diagrams, as of `scoring.metrics.reliability_curve`."""

    before: list[dict[str, float]]  # before calibration
    after: list[dict[str, float]] | Missing  # after calibration
    kind: str


@dataclass(frozen=True, eq=False)
class Findings:
    """The content of a report, without audio and training curves."""

    # folder, split: of the run.
    folder: RunFolder
    split: str
    # scores, labels: of that split.
    scores: ScoreFile
    labels: Labels
    metrics: Mapping[str, Any]  # content of SPLIT_metrics.json
    reliability: Reliability
    truncation: dict[float, dict[str, float]] | Missing  # duration kept in seconds → scores
    datamap: DataMap | Missing
    task: TaskConfig | None  # settings of the run; None if the folder has none
    data_directory: Path | None  # of the run; None if its settings name none that is still the same
    upstream: str  # its name; empty if the folder has no settings
    files: Mapping[str, str]  # settings files of the run, name → text

    @property
    def truth(self) -> np.ndarray:
        """The true class of each utterance, by its number in `labels`, (N,) int64."""
        return self._numbers(self.scores.truth)

    @property
    def predictions(self) -> np.ndarray:
        """The predicted class of each utterance, by its number in `labels`, (N,) int64."""
        return self._numbers(self.scores.predictions)

    def _numbers(self, names: np.ndarray) -> np.ndarray:
        number_of = {name: number for number, name in enumerate(self.labels.classes)}
        return np.array([number_of[name] for name in names.tolist()], dtype=np.int64)


def choose_split(folder: RunFolder, split: str | None) -> str:
    """Return `split` if given, else test, else dev. Raises UserError: no such folder, or no scores in it."""
    if not folder.path.is_dir():
        raise UserError(f"{folder}: no such folder. Name the folder of a trained run.")
    found = [name for name in ([split] if split else _SPLITS) if folder.scores(name).is_file()]
    if not found:
        wanted = split or _SPLITS[0]
        remake = evaluate_command(folder.path, wanted)
        raise UserError(f"{folder}: expected {folder.scores(wanted).name}, found none. Score the split by '{remake}'.")
    return found[0]


def gather(folder: RunFolder, split: str) -> Findings:
    """Read the folder of a run. Raises UserError: a file cannot be read."""
    scores = read_scores(folder.scores(split))
    task, args, files = _read_settings(folder)
    metrics = _read_json(folder.metrics(split))
    data = None if task is None else task.data.directory
    return Findings(
        folder=folder,
        split=split,
        scores=scores,
        labels=_labels(scores, task),
        metrics=metrics,
        reliability=_read_reliability(folder, scores, metrics),
        truncation=_read_truncation(folder, split),
        datamap=_read_map(folder, task, args),
        task=task,
        data_directory=Path(data) if data and is_of_run("data", data, args, folder.path) else None,
        upstream=str(args.get("upstream") or ""),
        files=files,
    )


def _read_settings(folder: RunFolder) -> tuple[TaskConfig | None, Mapping[str, Any], dict[str, str]]:
    """Return the settings of the task (None if missing), S3PRL's arguments, and the texts of their files."""
    try:
        paths = [folder.settings_file(name) for name in ("config", "args")]
    except UserError:
        return None, {}, {}
    texts = {path.name: path.read_text(encoding="utf-8") for path in paths}
    return task_of_run(folder), read_yaml(paths[1]), texts


def _labels(scores: ScoreFile, task: TaskConfig | None) -> Labels:
    if task is not None and task.labels is not None:
        labels = labels_from_mapping(task.labels, "configuration: labels")
        if set(labels.classes) == set(scores.classes):
            return labels
    return labels_from_names(scores.classes)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: expected JSON, found another format ({error}). Create the file again.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected an object, found {type(content).__name__}. Create the file again.")
    return content


def _read_truncation(folder: RunFolder, split: str) -> dict[float, dict[str, float]] | Missing:
    path = folder.truncation(split)
    seconds = _read_json(path).get("seconds")
    if not seconds:
        return Missing(
            "Scores of truncated utterances have not been computed.",
            command("lid-mapmix", "truncation", folder, "--split", split),
        )
    try:
        return {float(length): dict(seconds[length]) for length in sorted(seconds, key=float)}
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{path}: expected scores by duration, found other content ({error}). Create the file again."
        ) from None


def _read_map(folder: RunFolder, task: TaskConfig | None, args: Mapping[str, Any]) -> DataMap | Missing:
    """Read the data map that the run has recorded, or the one that it was trained on."""
    if task is None:
        return Missing("The data map is not known: the settings of the run are missing.")
    if task.datamap.record:
        path = folder.datamap
    else:
        given = task.mapmix.datamap
        if given is None:
            return Missing("This run used no data map.", command("lid-mapmix", "run", "-v", "mapmix", "-u", "UPSTREAM"))
        path = Path(moved_path(given, Path(args.get("expdir") or folder.path), folder.path))
    if not path.is_file():
        remake = command("lid-mapmix", "datamap", path.parent)
        return Missing(f"The data map was not found: {path}.", remake)
    if not is_of_run("datamap", str(path), args, folder.path):
        return Missing(f"The data map is not the one of the training: {path}.")
    return read_datamap(path)


def _read_reliability(folder: RunFolder, scores: ScoreFile, metrics: Mapping[str, Any]) -> Reliability:
    """Return the reliability diagrams of SPLIT_metrics.json; without them, that of the scores alone."""
    given = metrics.get("reliability") or {}
    before = given.get("before") or reliability_curve(scores.probabilities, scores.truth_indices)
    if given.get("after"):
        return Reliability(before, given["after"], metrics["calibrated"]["kind"])
    reason = "There is no calibration: it is fitted on the scores of dev, and shown for other splits."
    return Reliability(before, Missing(reason, evaluate_command(folder.path, "dev")), "")


def read_curves(run: Path) -> dict[str, Curve]:
    """Return the training curves of a run, such as ``train-loss`` → curve; empty without TensorBoard events."""
    if not any(run.glob("events.out.tfevents.*")):
        return {}
    # Importing tensorboard takes a fifth of a second.
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415

    with encodable_name(run) as name:
        events = EventAccumulator(name, size_guidance={"scalars": 0}, purge_orphaned_data=False)
        events.Reload()
    return {
        tag.rpartition("/")[2]: last_course((event.step, event.value) for event in events.Scalars(tag))
        for tag in events.Tags()["scalars"]
    }


def last_course(points: Iterable[tuple[int, float]]) -> Curve:
    """Return the curve of (step, value) in writing order; a point replaces earlier ones of the same or later steps.

    A resumed run writes some steps again; a restarted one writes all of them again.
    """
    course: list[tuple[int, float]] = []
    for step, value in points:
        while course and course[-1][0] >= step:
            course.pop()
        course.append((step, value))
    return Curve(
        np.array([step for step, _ in course], dtype=np.int64), np.array([value for _, value in course], np.float64)
    )


def thinned(curve: Curve, max_points: int = _MAX_POINTS) -> Curve:
    """Return a curve of at most `max_points` points, which are means of neighbouring ones."""
    if len(curve.steps) <= max_points:
        return curve
    starts = np.linspace(0, len(curve.steps), max_points, endpoint=False).astype(np.int64)
    sizes = np.diff(np.append(starts, len(curve.steps)))
    last = starts + sizes - 1
    return Curve(curve.steps[last], np.add.reduceat(curve.values, starts) / sizes)


def command(*parts: object) -> str:
    """Return a command line, quoted for a shell."""
    return shlex.join(map(str, parts))


def evaluate_command(run: Path, split: str) -> str:
    """Return the command that scores a split of a run."""
    return command("python", "run_downstream.py", "-m", "evaluate", "-t", split, "-e", run)
