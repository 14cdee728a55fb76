"""What a grid comes to: runs of the launcher, and before them the data maps that they share.

A run that needs a data map is given one by -o, made by a run of ``-v datamap`` of its own. Which map it needs is what
datamap_stage.py would ask for: the same training data, upstream, seed and settings that decide about a map, so runs
that ask for the same have one map among them. How long they take is foreseen from the steps that have been measured.
"""

import hashlib
import json
import math
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ...config.settings import Settings
from ...data import LABELS_FILE
from ...data.corpus import Corpus
from ...data.manifest.manifest import find_manifest
from ...training.plan import check_likeness
from ...training.progress import Progress
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
# Of a map's digest; folders stay readable.
_DIGITS = 8


@dataclass(frozen=True)
class Data:
    """A folder of data.

    Attributes
    ----------
    name, folder : in the grid; where it is.
    digests : of its manifests and labels.
    corpus : its manifests and labels.
    """

    name: str
    folder: Path
    digests: Mapping[str, str | None]
    corpus: Corpus

    @property
    def count(self) -> int:
        """How many training utterances there are."""
        return len(self.corpus.manifest("train"))

    def changed(self) -> list[str]:
        """List the files that are not what they were when they were read."""
        now = manifest_digests(self.folder)
        return [name for name in now.keys() | self.digests.keys() if now.get(name) != self.digests.get(name)]


@dataclass(frozen=True, eq=False)
class Job:
    """A run of the launcher.

    Attributes
    ----------
    title : what to call it.
    folder : of the run, absolute.
    flags : of run_downstream.py, but for folder, settings file, data map and device.
    settings : what the file of -c holds.
    request : what decides about its result; a folder that holds the result of another one is not taken for it.
    steps : optimizer steps, at most: regions of a data map that is not there yet may hold fewer anchors.
    run : the run of the grid; None for a data map.
    datamap : the job that makes its data map; None where it needs none.
    kind : upstream and variant, by the names of the grid, whose steps take about the same time.
    data : what it is trained on.
    """

    title: str
    folder: Path
    flags: tuple[str, ...]
    settings: Mapping[str, Any]
    request: Mapping[str, Any]
    steps: int
    run: Run | None = None
    datamap: "Job | None" = None
    kind: tuple[str, str] = ("", "")
    data: Data | None = None

    def override(self) -> list[str]:
        """Return the flags that name the data map."""
        if self.datamap is None:
            return []
        return ["-o", f"config.downstream_expert.mapmix.datamap={RunFolder(self.datamap.folder).datamap}"]


def make_jobs(grid: Grid) -> list[Job]:
    """Return the runs of a grid, each data map before the first run that needs it.

    Raises
    ------
    UserError : settings, data or weights that are not there or wrong.
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
    # Paths in the grid's file are relative to the working directory, as everywhere on the command line.
    common += ["-k", _resolved(upstream.weights)] if upstream.weights else []
    common += ["--frozen"] if upstream.frozen else []
    common += ["--cache-features", _resolved(upstream.cache_features)] if upstream.cache_features else []
    flags = [*common, "-v", request["variant"]]
    merged = _merged(flags, settings)
    merged.check_host(trains=True)
    task = merged.task
    check_likeness(task.mapmix, Corpus(None, task.labels).labels if task.labels else data.corpus.labels)
    datamap = None
    if task.needs_datamap and task.mapmix.datamap is None:
        datamap = _make_map(grid, run, merged, common=common, data=data, maps=maps)
    request |= {
        "weights": weights_digest(merged.args.upstream_ckpt),
        "manifests": dict(data.digests),
        "data map": None if datamap is None else datamap.request,
    }
    folder = (grid.folder / run.folder).resolve()
    kind = (run.upstream, run.variant)
    steps = _steps(merged, data.count)
    return Job(str(run), folder, tuple(flags), settings, request, steps, run, datamap, kind, data)


def _make_map(
    grid: Grid, run: Run, merged: Settings, *, common: Sequence[str], data: Data, maps: dict[Path, Job]
) -> Job:
    stage = merged.datamap_stage()
    request = map_request(stage, data.corpus)
    digest = hashlib.sha256(json.dumps(request, sort_keys=True, default=str).encode()).hexdigest()
    name = f"{run.data}-seed-{run.seed}-{digest[:_DIGITS]}"
    folder = (grid.folder / _MAPS / run.upstream / name).resolve()
    if folder not in maps:
        # An upstream may have several, as where variants delimit regions in other ways.
        title = f"{run.upstream} {DATAMAP_STAGE}-{digest[:_DIGITS]} {run.data} seed {run.seed}"
        flags = (*common, "-v", DATAMAP_STAGE)
        steps, kind = _steps(stage, data.count), (run.upstream, DATAMAP_STAGE)
        maps[folder] = Job(
            title, folder, flags, stage.for_s3prl("train")[1], {"digest": digest}, steps, kind=kind, data=data
        )
    return maps[folder]


def _merged(flags: Sequence[str], settings: Mapping[str, Any]) -> Settings:
    """Return the settings that the launcher will come to, on a machine whose card is large enough for the batch."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "settings.yaml")
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
        return new_settings(make_parser("").parse_args([*flags, "-c", str(path), "-p", folder]))


def _steps(settings: Settings, count: int) -> int:
    task, runner = settings.task, dict(settings.runner)
    epochs = task.datamap.epochs if task.datamap.record else task.epochs
    fill_schedule(runner, math.ceil(count / task.data.batch_size), epochs, runner.get("gradient_accumulate_steps") or 1)
    return int(runner["total_steps"])


def _read_data(name: str, folder: Path) -> Data:
    """Read what there is to know of a folder of data before anything is trained on it.

    Raises
    ------
    UserError : a manifest is not there, or has a class that the labels have not.
    """
    if absent := next((split for split in _SPLITS if not find_manifest(folder, split).is_file()), None):
        raise UserError(
            f"data {name}: {folder}: expected {absent}.csv, found none. Name a folder with all three, such as "
            "'lid-mapmix prepare' makes."
        )
    corpus = Corpus(str(folder), None)
    corpus.check_manifests(_SPLITS)
    digests = {corpus.manifest_path(split).name: corpus.manifest(split).digest for split in _SPLITS}
    return Data(name, folder, digests | {corpus.labels_path.name: file_digest(corpus.labels_path)}, corpus)


def manifest_digests(folder: Path) -> dict[str, str | None]:
    """Return the digest of each manifest of a folder, and of its labels; None of one that is not there."""
    paths = [find_manifest(folder, split) for split in _SPLITS] + [folder / LABELS_FILE]
    return {path.name: file_digest(path) for path in paths}


def _resolved(path: str) -> str:
    return str(Path(path).resolve()) if Path(path).exists() or "://" not in path else path


def seconds_per_step(jobs: Sequence[Job]) -> dict[tuple[str, str], float]:
    """Return (upstream, variant) → median seconds of an optimizer step.

    A run that is complete tells it by its time, start and evaluation included; another one by the step times that it
    writes (training/progress.py).
    """
    measured: dict[tuple[str, str], list[float]] = {}
    for job in jobs:
        state = read_state(job.folder)
        # Fewer steps than foreseen where regions of a data map held fewer anchors.
        steps = RunFolder(job.folder).last_step() or job.steps
        if state.status is Status.COMPLETE and state.seconds and steps:
            rate: float | None = state.seconds / steps
        else:
            progress = Progress.read(RunFolder(job.folder))
            rate = None if progress is None else progress.seconds_per_step
        if rate:
            measured.setdefault(job.kind, []).append(rate)
    return {kind: statistics.median(values) for kind, values in measured.items()}


def spent(folder: Path, state: State) -> float:
    """Return the seconds that have gone into a run: of an attempt without an end, those up to its last checkpoint."""
    kept = RunFolder(folder).checkpoints()
    if state.status is not Status.RUNNING or not state.started or not kept:
        return state.seconds
    return state.seconds + max(0.0, kept[-1].stat().st_mtime - state.started)


def _steps_left(job: Job) -> int:
    return max(0, job.steps - RunFolder(job.folder).last_step())


def _foreseen(job: Job, measured: dict[tuple[str, str], float]) -> float | None:
    """Return the seconds that the steps of a job that are left take; None where none of its upstream was measured.

    Parameters
    ----------
    job : any.
    measured : what `seconds_per_step` returns; where the variant is not in it, the upstream's slowest is taken.
    """
    upstream, _ = job.kind
    rate = measured.get(job.kind) or max((rate for (name, _), rate in measured.items() if name == upstream), default=0)
    return _steps_left(job) * rate if rate else None


def describe(jobs: Sequence[Job], workers: int) -> list[str]:
    """Return the lines of a dry run: each job with its status, steps and time, and what is left in all."""
    measured = seconds_per_step(jobs)
    states = [read_state(job.folder) for job in jobs]
    width = max(len(job.title) for job in jobs)
    lines = [f"{'run':<{width}}  {'status':<9}  {'steps':>9}  {'time':>9}"]
    for job, state in zip(jobs, states, strict=True):
        is_complete = state.status is Status.COMPLETE
        seconds = state.seconds if is_complete else _foreseen(job, measured)
        time = "?" if seconds is None else f"{'' if is_complete else '~'}{duration(seconds)}"
        steps = job.steps if is_complete else _steps_left(job)
        lines.append(f"{job.title:<{width}}  {state.status:<9}  {steps:>9,}  {time:>9}")
    left = [job for job, state in zip(jobs, states, strict=True) if state.status is not Status.COMPLETE]
    maps = sum(job.run is None for job in jobs)
    lines.append(
        f"{len(jobs) - maps} runs and {maps} data maps; {len(left)} of them, {sum(map(_steps_left, left)):,} steps "
        "at most, are left"
    )
    times = [_foreseen(job, measured) for job in left]
    known = sum(time for time in times if time is not None)
    if known:
        shared = f", {duration(known / workers)} with {workers} jobs" if workers > 1 else ""
        lines.append(f"about {duration(known)} of one process{shared}")
    if left and None in times:
        unknown = dict.fromkeys(job.kind[0] for job, time in zip(left, times, strict=True) if time is None)
        lines.append(
            f"no step has been measured of {', '.join(unknown)}: once a run of it is under way, --dry-run says how long"
        )
    return lines
