"""--cache-features: checks, disk usage, and the connection of runner, task and cache."""

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...config.schema import TaskConfig
from ...config.settings import Settings
from ...data.crops import KeptFeatures
from ...expert import DownstreamExpert
from ...host.feature_cache import CachedUpstream, FeatureCache, Selection, quicken_weighted_sum
from ...host.feature_store import allocated_bytes
from ...host.precision import read_precision
from ...utils.distributed import is_rank_zero
from ...utils.errors import UserError

_GIGABYTE = 10**9
_TRAIN, _TEST = "train", "test"


def attach_cache(runner: Any, settings: Settings, mode: str) -> CachedUpstream | None:
    """Replace the upstream of a runner by a cached one, if the configuration names a cache.

    Raises UserError: the cache holds other features, or exceeds its limit or the disk. `mode`: train or evaluate.
    """
    task, args, section = settings.task, settings.args, settings.runner
    if task.cache.directory is None:
        return None
    expert = getattr(runner.downstream.model, "module", runner.downstream.model)
    featurizer = getattr(runner.featurizer.model, "module", runner.featurizer.model)
    windows = _windows(expert, settings, mode)
    if not windows:
        return None
    upstream = CachedUpstream(
        runner.upstream.model, Selection(featurizer.feature_selection, args.upstream_layer_selection)
    )
    names = {"upstream": args.upstream, "precision": str(read_precision(section))}
    cache = FeatureCache(Path(task.cache.directory), upstream, names, featurizer.downsample_rate, args.device)
    _check_disk(cache, windows, task.cache.limit_gb)
    for split, (rows, sizes, cut) in windows.items():
        audio = expert.corpus.split(split).audio_digest(rows)
        store = cache.open(split, sizes, {"cut": cut, "audio": audio, "slots": len(rows)})
        expert.keep_features(split, KeptFeatures(store.holds, partial(upstream.announce, store)))
    runner.upstream.model = upstream
    quicken_weighted_sum(featurizer)
    return upstream


def _windows(expert: DownstreamExpert, settings: Settings, mode: str) -> dict[str, tuple[np.ndarray, np.ndarray, str]]:
    """Return what to cache: split → (windows, samples per waveform, description of the windows)."""
    config: TaskConfig = expert.config
    kept = {}
    if expert.run is not None and expert.run.crops.grid is not None:
        grid = expert.run.crops.grid
        cut = f"crops of {config.data.crop_seconds:g} s every {config.data.crop_step_seconds:g} s"
        kept[_TRAIN] = grid, np.full(len(grid), expert.run.crops.samples), cut
    # The test split is scored after training; its disk usage is counted here.
    splits = [settings.args.evaluate_split]
    if mode == "train":
        splits = [*settings.splits, *([_TEST] if expert.corpus.has(_TEST) else [])]
    evaluation = config.evaluation
    for split in dict.fromkeys(splits if config.cache.evaluation else []):
        rows = expert.evaluation.windows(split)
        cut = f"windows of {evaluation.window_seconds:g} s every {evaluation.hop_seconds:g} s"
        if split == "dev":
            cut = f"the middle {evaluation.dev_crop_seconds:g} s"
        # Evaluations of train and dev use other windows than training.
        if split != _TRAIN and (split != "dev" or mode == "train"):
            kept[split] = rows, rows[:, 2], cut
    return kept


def _check_disk(
    cache: FeatureCache, windows: Mapping[str, tuple[np.ndarray, np.ndarray, str]], limit_gb: float
) -> None:
    """Check and print the disk usage of the full cache, before anything is written."""
    needed = {split: cache.layout(sizes).byte_count for split, (_, sizes, _) in windows.items()}
    there = sum(allocated_bytes(cache.folder / split) for split in needed)
    total, slots = sum(needed.values()), sum(len(rows) for rows, _, _ in windows.values())
    advice = (
        "use a larger data.crop_step_seconds or a shorter data.crop_seconds, one layer (-l, or -s last_hidden_state), "
        "or exclude dev and test (cache.evaluation=false)"
    )
    by_split = ", ".join(f"{split} {_gigabytes(size)}" for split, size in needed.items())
    if total > limit_gb * _GIGABYTE:
        raise UserError(
            f"{cache.folder}: expected a feature cache of at most {limit_gb:g} GB, found one of "
            f"{_gigabytes(total)} ({by_split}). Increase --cache-limit, {advice}."
        )
    folder = next(each for each in (cache.folder, *cache.folder.absolute().parents) if each.is_dir())
    free = shutil.disk_usage(folder).free
    if total - there > free:
        raise UserError(
            f"{cache.folder}: expected {_gigabytes(total - there)} free for the feature cache, found "
            f"{_gigabytes(free)}. Choose another disk, {advice}."
        )
    if is_rank_zero():
        print(
            f"[lid_mapmix] feature cache: {_gigabytes(total)} for {slots:,} crops and windows ({by_split}) in "
            f"{cache.folder}, of which {_gigabytes(there)} exist"
        )


def _gigabytes(size: int) -> str:
    return f"{size / _GIGABYTE:.1f} GB" if size >= _GIGABYTE / 10 else f"{size / 10**6:.1f} MB"
