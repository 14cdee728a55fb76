"""What a run has left in its folder, read for the report; whatever is absent says which command makes it."""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...config.checks import task_config
from ...config.schema import TaskConfig
from ...config.sources import TASK_KEY, read_yaml
from ...data.labels import Labels, labels_from_mapping, labels_from_names
from ...mapmix.datamap_files import DataMap, read_datamap
from ...scoring.files.own import Scores, read_scores
from ...training.plan import DATAMAP_NAME
from ...training.run_folder import kept_settings
from ...utils.errors import UserError
from ..settings.settings import follow_moved_datamap
from .missing import Missing, command, evaluate_command
from .reliability import Reliability, find_reliability

_SPLITS = ("test", "dev")


@dataclass(frozen=True, eq=False)
class Latents:
    """Latents (N, dim) float32 of N utterances, and the row of each in the scores, (N,) int64."""

    rows: np.ndarray
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class Findings:
    """All that a report is made of, but for audio and training curves.

    Attributes
    ----------
    expdir, split : of the run.
    scores, labels : of that split.
    metrics : what SPLIT_metrics.json holds.
    truncation : cut length in seconds → scores.
    task : the run's settings; None where the folder has none.
    upstream : its name; empty where the folder has no settings.
    files : settings files of the run, name → text.
    """

    expdir: Path
    split: str
    scores: Scores
    labels: Labels
    metrics: Mapping[str, Any]
    reliability: Reliability
    truncation: dict[float, dict[str, float]] | Missing
    datamap: DataMap | Missing
    latents: Latents | Missing
    task: TaskConfig | None
    upstream: str
    files: Mapping[str, str]

    @property
    def truth(self) -> np.ndarray:
        """The number of each utterance's class in the order of `labels`, (N,) int64."""
        return self._numbers(self.scores.truth)

    @property
    def predictions(self) -> np.ndarray:
        """The number of each utterance's answer in the order of `labels`, (N,) int64."""
        return self._numbers(self.scores.predictions)

    @property
    def data_directory(self) -> Path | None:
        """The folder of the run's data, as far as its settings name it."""
        directory = None if self.task is None else self.task.data.directory
        return None if directory is None else Path(directory)

    def _numbers(self, names: np.ndarray) -> np.ndarray:
        number_of = {name: number for number, name in enumerate(self.labels.classes)}
        return np.array([number_of[name] for name in names.tolist()], dtype=np.int64)


def choose_split(expdir: Path, split: str | None) -> str:
    """Return the split to report on: the one that is asked for, or else test, or else dev.

    Raises
    ------
    UserError : no such folder, or no scores of it.
    """
    if not expdir.is_dir():
        raise UserError(f"{expdir}: no such folder. Name the folder of a trained run.")
    found = [name for name in ([split] if split else _SPLITS) if (expdir / f"{name}_scores.csv").is_file()]
    if not found:
        wanted = split or _SPLITS[0]
        remake = evaluate_command(expdir, wanted)
        raise UserError(f"{expdir}: expected {wanted}_scores.csv, found none. Score the split by '{remake}'.")
    return found[0]


def gather(expdir: Path, split: str) -> Findings:
    """Read the folder of a run.

    Raises
    ------
    UserError : a file that is there cannot be read.
    """
    scores = read_scores(expdir / f"{split}_scores.csv")
    settings, task, files = _read_settings(expdir)
    labels = _labels(scores, task)
    metrics = _read_json(expdir / f"{split}_metrics.json")
    return Findings(
        expdir=expdir,
        split=split,
        scores=scores,
        labels=labels,
        metrics=metrics,
        reliability=find_reliability(expdir, split, scores, metrics),
        truncation=_read_truncation(expdir, split),
        datamap=_read_map(expdir, settings, task),
        latents=_read_latents(expdir, split, scores),
        task=task,
        upstream=str(settings.get("args", {}).get("upstream") or ""),
        files=files,
    )


def _read_settings(expdir: Path) -> tuple[dict[str, dict], TaskConfig | None, dict[str, str]]:
    """Return S3PRL's arguments and the configuration as they were kept, the task's part checked, and their texts."""
    try:
        paths = {name: kept_settings(expdir, name) for name in ("config", "args")}
    except UserError:
        return {}, None, {}
    settings = {name: read_yaml(path) for name, path in paths.items()}
    texts = {path.name: path.read_text(encoding="utf-8") for path in paths.values()}
    return settings, task_config(settings["config"].get(TASK_KEY)), texts


def _labels(scores: Scores, task: TaskConfig | None) -> Labels:
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
        raise UserError(f"{path}: is no valid JSON ({error}). Make it anew.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected an object, found {type(content).__name__}. Make it anew.")
    return content


def _read_truncation(expdir: Path, split: str) -> dict[float, dict[str, float]] | Missing:
    path = expdir / f"{split}_truncation.json"
    seconds = _read_json(path).get("seconds")
    if not seconds:
        return Missing(
            "How the scores grow with the length of the same utterances has not been measured.",
            command("lid-mapmix", "truncation", expdir, "--split", split),
        )
    try:
        return {float(length): dict(seconds[length]) for length in sorted(seconds, key=float)}
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: expected seconds and their scores, found others ({error}). Make it anew.") from None


def _read_map(expdir: Path, settings: Mapping[str, dict], task: TaskConfig | None) -> DataMap | Missing:
    """Read the map that the run has recorded, or the one it was trained on."""
    if task is None:
        return Missing("The settings of the run are not there, so its data map is not known.")
    if task.datamap.record:
        path = expdir / DATAMAP_NAME
    else:
        config = settings["config"][TASK_KEY]
        follow_moved_datamap(config, Path(settings["args"].get("expdir") or expdir), expdir)
        given = (config.get("mapmix") or {}).get("datamap")
        if given is None:
            return Missing("This run used no data map.", command("lid-mapmix", "run", "-v", "mapmix", "-u", "UPSTREAM"))
        path = Path(given)
    if not path.is_file():
        remake = command("lid-mapmix", "datamap", path.parent)
        return Missing(f"The data map is not where the run had it, {path}.", remake)
    return read_datamap(path)


def _read_latents(expdir: Path, split: str, scores: Scores) -> Latents | Missing:
    path, remake = expdir / f"{split}_latents.npz", evaluate_command(expdir, split)
    if not path.is_file():
        return Missing("The latents of this split were not kept.", remake)
    try:
        with np.load(path) as content:
            ids, values = content["ids"].astype(str), content["latents"].astype(np.float32)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: expected ids and latents, found something else ({error}). Make it anew.") from None
    row_of = {name: row for row, name in enumerate(scores.ids.tolist())}
    known = np.array([name in row_of for name in ids.tolist()], dtype=bool)
    if values.ndim != 2 or len(ids) != len(values) or not known.any() or not np.isfinite(values).all():  # noqa: PLR2004
        return Missing("The latents that were kept are not those of these scores.", remake)
    return Latents(np.array([row_of[name] for name in ids[known].tolist()], dtype=np.int64), values[known])
