"""What a grid comes to: runs of the launcher, and before them the data maps that they share.

A run that needs a data map is given one by -o, made by a run of ``-v datamap`` of its own. Which map it needs is what
datamap_stage.py would ask for: the same training data, upstream, seed and settings that decide about a map, so runs
that ask for the same have one map among them.
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
from ...training.plan import check_likeness
from ...training.schedule import fill_schedule
from ...utils.digests import file_digest, weights_digest
from ...utils.errors import UserError
from ...utils.run_folder import DATAMAP_STAGE, RunFolder
from ..runs.datamap_stage import map_request
from ..settings.arguments import make_parser
from ..settings.from_flags import new_settings
from .grid import Grid, Run

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
        raise UserError(f"data {name}: {folder}: expected {absent}.csv, found none. Name a folder with all three.")
    corpus = Corpus(str(folder), None)
    corpus.check_manifests(_SPLITS)
    digests = {corpus.manifest_path(split).name: corpus.manifest(split).digest for split in _SPLITS}
    return Data(name, folder, digests | {corpus.labels_path.name: file_digest(corpus.labels_path)}, corpus)


def manifest_digests(folder: Path) -> dict[str, str | None]:
    """Return the digest of each manifest of a folder, and of its labels; None of one that is not there."""
    paths = [find_manifest(folder, split) for split in _SPLITS] + [folder / "labels.yaml"]
    return {path.name: file_digest(path) for path in paths}


def _resolved(path: str) -> str:
    return str(Path(path).resolve()) if Path(path).exists() or "://" not in path else path
