"""The jobs of a grid: one command per run, and one per shared data map.

A data map is trained by its own job with ``-v datamap`` and passed to the runs by -o. Runs share a data map if
datamap_stage.py would request the same one: the same training data, upstream, seed, and settings that determine a data
map.
"""

import hashlib
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ...config.settings import Settings
from ...data.corpus import Corpus
from ...data.manifest.manifest import find_manifest
from ...training.plan import check_class_similarity
from ...training.schedule import fill_schedule
from ...utils.digests import file_digest, weights_digest
from ...utils.errors import UserError
from ...utils.run_folder import DATAMAP_STAGE, RunFolder
from ..runs.datamap_stage import map_request
from ..settings.arguments import make_parser
from ..settings.from_flags import new_settings
from .grid import Grid, Run
from .state import State, Status, duration, read_state

_SPLITS = ("train", "dev", "test")
_MAPS = "maps"
# Digits of a data map's digest in the name of its folder.
_DIGITS = 8


@dataclass(frozen=True)
class Data:
    """A folder of data."""

    name: str  # in the grid
    digests: Mapping[str, str | None]  # file name → digest, of manifests and labels
    corpus: Corpus  # manifests and labels

    def changed(self) -> list[str]:
        """List the files that have changed since they were read."""
        paths = [*map(self.corpus.manifest_path, _SPLITS), self.corpus.labels_path]
        now = {path.name: file_digest(path) for path in paths}
        return [name for name in now.keys() | self.digests.keys() if now.get(name) != self.digests.get(name)]


@dataclass(frozen=True, eq=False)
class Job:
    """A training command."""

    title: str  # its name in messages
    folder: Path  # of the run, absolute
    flags: tuple[str, ...]  # of run_downstream.py, without folder, settings file, data map and device
    settings: Mapping[str, Any]  # content of the settings file (-c)
    request: Mapping[str, Any]  # all that determines its result
    steps: int  # maximum number of optimizer steps; the regions of a later data map may hold fewer anchors
    run: Run | None = None  # run of the grid; None for a data map
    datamap: "Job | None" = None  # job that trains its data map; None if it needs none
    data: Data | None = None  # training data


def datamap_flags(path: Path) -> list[str]:
    """Return the flags that pass a data map."""
    return ["-o", f"config.downstream_expert.mapmix.datamap={path.as_posix()}"]


def make_jobs(grid: Grid) -> list[Job]:
    """Return the jobs of a grid, each data map before the first run that needs it.

    Raises UserError: settings, data or weights are missing or invalid.
    """
    data = {name: _read_data(name, Path(folder)) for name, folder in grid.data.items()}
    maps: dict[Path, Job] = {}
    jobs: list[Job] = []
    for run in grid.runs():
        try:
            job = _make_job(grid, run, data[run.data], maps)
        except UserError as error:
            raise UserError(f"{run.upstream} {run.variant}: {error}") from None
        jobs += [each for each in (job.datamap,) if each is not None and each not in jobs]
        jobs.append(job)
    return jobs


def _make_job(grid: Grid, run: Run, data: Data, maps: dict[Path, Job]) -> Job:
    upstream, request, settings = grid.upstreams[run.upstream], grid.request(run), grid.settings_of(run)
    if upstream.weights and upstream.made_by and not Path(upstream.weights).exists():
        made_by = " ".join(upstream.made_by.split())
        raise UserError(f"weights: expected {upstream.weights}, found no such file or folder. Make it by: {made_by}")
    common = ["-u", request["upstream"], "--data", str(Path(grid.data[run.data]).resolve())]
    common += ["--seed", str(run.seed)]
    # Paths in the file of the grid are relative to the working directory, as those of flags are.
    common += ["-k", _resolved(upstream.weights)] if upstream.weights else []
    common += ["--frozen"] if upstream.frozen else []
    common += ["--cache-features", _resolved(upstream.cache_features)] if upstream.cache_features else []
    flags = [*common, "-v", request["variant"]]
    merged = _merged(flags, settings)
    merged.check_host(trains=True)
    task = merged.task
    check_class_similarity(task.mapmix, Corpus(None, task.labels).labels if task.labels else data.corpus.labels)
    datamap = None
    if task.needs_datamap and task.mapmix.datamap is None:
        datamap = _make_map(grid, run, merged, common=common, data=data, maps=maps)
    request |= {
        "weights": weights_digest(merged.args.upstream_ckpt),
        "manifests": dict(data.digests),
        "data map": None if datamap is None else datamap.request,
    }
    folder = (grid.folder / run.folder).resolve()
    return Job(str(run), folder, tuple(flags), settings, request, _steps(merged, data), run, datamap, data)


def _make_map(
    grid: Grid, run: Run, merged: Settings, *, common: Sequence[str], data: Data, maps: dict[Path, Job]
) -> Job:
    stage = merged.datamap_stage()
    request = map_request(stage, data.corpus)
    digest = hashlib.sha256(json.dumps(request, sort_keys=True, default=str).encode()).hexdigest()
    name = f"{run.data}-seed-{run.seed}-{digest[:_DIGITS]}"
    folder = (grid.folder / _MAPS / run.upstream / name).resolve()
    if folder not in maps:
        # An upstream has several data maps if variants assign regions in different ways.
        title = f"{run.upstream} {DATAMAP_STAGE}-{digest[:_DIGITS]} {run.data} seed {run.seed}"
        flags = (*common, "-v", DATAMAP_STAGE)
        settings, steps = stage.for_s3prl("train")[1], _steps(stage, data)
        maps[folder] = Job(title, folder, flags, settings, {"digest": digest}, steps, data=data)
    return maps[folder]


def _merged(flags: Sequence[str], settings: Mapping[str, Any]) -> Settings:
    """Return the settings of the run, for a GPU with enough memory for the batch."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "settings.yaml")
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
        return new_settings(make_parser("").parse_args([*flags, "-c", str(path), "-p", folder]))


def _steps(settings: Settings, data: Data) -> int:
    task, runner = settings.task, dict(settings.runner)
    epochs = task.datamap.epochs if task.datamap.record else task.epochs
    batches = math.ceil(len(data.corpus.manifest("train")) / task.data.batch_size)
    fill_schedule(runner, batches, epochs, runner.get("gradient_accumulate_steps") or 1)
    return int(runner["total_steps"])


def _read_data(name: str, folder: Path) -> Data:
    """Read and check the manifests and labels of a folder.

    Raises UserError: a manifest is missing, or has a class that the labels lack.
    """
    if absent := next((split for split in _SPLITS if not find_manifest(folder, split).is_file()), None):
        raise UserError(
            f"data {name}: {folder}: expected {absent}.csv, found none. Name a folder with all three, such as "
            "one that 'lid-mapmix prepare' wrote."
        )
    corpus = Corpus(str(folder), None)
    corpus.check_manifests(_SPLITS)
    digests = {corpus.manifest_path(split).name: corpus.manifest(split).digest for split in _SPLITS}
    return Data(name, digests | {corpus.labels_path.name: file_digest(corpus.labels_path)}, corpus)


def _resolved(path: str) -> str:
    return str(Path(path).resolve()) if Path(path).exists() or "://" not in path else path


def spent(folder: Path, state: State) -> float:
    """Return the seconds spent on a run; for an attempt that was killed, those up to its last checkpoint."""
    kept = RunFolder(folder).checkpoints()
    if state.status is not Status.RUNNING or not state.started or not kept:
        return state.seconds
    return state.seconds + max(0.0, kept[-1].stat().st_mtime - state.started)


def describe(jobs: Sequence[Job]) -> list[str]:
    """Return the lines of --dry-run: status, remaining steps (of a complete job all) and time spent per job; totals."""
    width = max(len(job.title) for job in jobs)
    lines = [f"{'run':<{width}}  {'status':<9}  {'steps':>9}  {'time':>9}"]
    remaining = []
    for job in jobs:
        state, steps = read_state(job.folder), job.steps
        if state.status is not Status.COMPLETE:
            steps = max(0, steps - RunFolder(job.folder).last_step())
            remaining.append(steps)
        time = duration(spent(job.folder, state))
        lines.append(f"{job.title:<{width}}  {state.status:<9}  {steps:>9,}  {time:>9}")
    maps = sum(job.run is None for job in jobs)
    lines.append(
        f"{len(jobs) - maps} runs and {maps} data maps; {len(remaining)} remain, with at most {sum(remaining):,} steps"
    )
    return lines
