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

from ...checks import task_config
from ...data.corpus import Corpus
from ...data.manifest import read_manifest
from ...data.manifest_files import find_manifest
from ...errors import UserError
from ...layers import merge
from ...plan import DATAMAP_NAME
from ...schedule import fill_schedule
from ..arguments import make_parser
from ..datamap_stage import file_digest, map_request, weights_digest
from ..settings import DATAMAP_STAGE, Settings, datamap_stage, new_settings
from .grid import Grid, Run

_SPLITS = ("train", "dev", "test")
_MAPS = "maps"
# Of a map's digest; folders stay readable.
_DIGITS = 8


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
    """

    title: str
    folder: Path
    flags: tuple[str, ...]
    settings: Mapping[str, Any]
    request: Mapping[str, Any]
    steps: int
    run: Run | None = None
    datamap: "Job | None" = None

    def override(self) -> list[str]:
        """Return the flags that name the data map."""
        if self.datamap is None:
            return []
        return ["-o", f"config.downstream_expert.mapmix.datamap={self.datamap.folder / DATAMAP_NAME}"]

    @property
    def kind(self) -> tuple[str, str]:
        """Upstream and variant, whose steps take about the same time."""
        flags = list(self.flags)
        return flags[flags.index("-u") + 1], flags[flags.index("-v") + 1]


def make_jobs(grid: Grid) -> list[Job]:
    """Return the runs of a grid, each data map before the first run that needs it.

    Raises
    ------
    UserError : settings, data or weights that are not there or wrong.
    """
    data = {name: _digests(name, Path(folder)) for name, folder in grid.data.items()}
    counts = {name: len(read_manifest(find_manifest(Path(grid.data[name]), "train")).columns["id"]) for name in data}
    maps: dict[Path, Job] = {}
    jobs: list[Job] = []
    for run in grid.runs():
        job = _make_job(grid, run, data[run.data], counts[run.data], maps)
        jobs += [each for each in (job.datamap,) if each is not None and each not in jobs]
        jobs.append(job)
    return jobs


def _make_job(grid: Grid, run: Run, manifests: Mapping[str, Any], count: int, maps: dict[Path, Job]) -> Job:
    upstream, variant = grid.upstreams[run.upstream], grid.variants[run.variant]
    settings = merge(merge(grid.settings, upstream.settings), variant.settings)
    common = ["-u", upstream.upstream or run.upstream, "--data", str(Path(grid.data[run.data]).resolve())]
    common += ["--seed", str(run.seed)]
    # Paths in the grid's file are relative to the working directory, as everywhere on the command line.
    common += ["-k", _resolved(upstream.weights)] if upstream.weights else []
    common += ["--frozen"] if upstream.frozen else []
    common += ["--cache-features", _resolved(upstream.cache_features)] if upstream.cache_features else []
    flags = [*common, "-v", variant.variant or run.variant]
    merged = _merged(flags, settings)
    task = task_config(merged.task)
    datamap = None
    if task.needs_datamap and task.mapmix.datamap is None:
        datamap = _make_map(grid, run, merged, common=common, count=count, maps=maps)
    request = {
        "upstream": merged.args.upstream,
        "weights": weights_digest(merged.args.upstream_ckpt),
        "frozen": upstream.frozen,
        "variant": merged.args.downstream_variant,
        "seed": run.seed,
        "settings": settings,
        "manifests": dict(manifests),
        "data map": None if datamap is None else datamap.request,
    }
    folder = (grid.folder / run.folder).resolve()
    return Job(str(run), folder, tuple(flags), settings, request, _steps(merged, count), run, datamap)


def _make_map(
    grid: Grid, run: Run, merged: Settings, *, common: Sequence[str], count: int, maps: dict[Path, Job]
) -> Job:
    stage = datamap_stage(merged)
    request = map_request(stage)
    digest = hashlib.sha256(json.dumps(request, sort_keys=True, default=str).encode()).hexdigest()
    name = f"{run.data}-seed-{run.seed}-{digest[:_DIGITS]}"
    folder = (grid.folder / _MAPS / run.upstream / name).resolve()
    if folder not in maps:
        title = f"{run.upstream} {DATAMAP_STAGE} {run.data} seed {run.seed}"
        flags = (*common, "-v", DATAMAP_STAGE)
        maps[folder] = Job(title, folder, flags, stage.config, {"digest": digest}, _steps(stage, count))
    return maps[folder]


def _merged(flags: Sequence[str], settings: Mapping[str, Any]) -> Settings:
    """Return the settings that the launcher will come to, on a machine whose card is large enough for the batch."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "settings.yaml")
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
        return new_settings(make_parser("").parse_args([*flags, "-c", str(path), "-p", folder]))


def _steps(settings: Settings, count: int) -> int:
    task, runner = task_config(settings.task), dict(settings.config["runner"])
    epochs = task.datamap.epochs if task.datamap.record else task.epochs
    fill_schedule(runner, math.ceil(count / task.data.batch_size), epochs, runner.get("gradient_accumulate_steps") or 1)
    return int(runner["total_steps"])


def _digests(name: str, folder: Path) -> dict[str, str | None]:
    """Return the digest of each manifest of a folder, and of its labels.

    Raises
    ------
    UserError : a manifest is not there, or has a class that the labels have not.
    """
    corpus = Corpus(str(folder), None) if find_manifest(folder, "train").is_file() else None
    if absent := next((split for split in _SPLITS if not find_manifest(folder, split).is_file()), None):
        raise UserError(f"data {name}: {folder}: expected {absent}.csv, found none. Name a folder with all three.")
    if corpus is not None:
        corpus.check_manifests(_SPLITS)
    paths = [find_manifest(folder, split) for split in _SPLITS] + [folder / "labels.yaml"]
    return {path.name: file_digest(path) for path in paths}


def _resolved(path: str) -> str:
    return str(Path(path).resolve()) if Path(path).exists() or "://" not in path else path
