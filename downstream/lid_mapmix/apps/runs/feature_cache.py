"""--cache-features: what is refused, how much disk it takes, and the wires between runner, task and cache."""

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
    """Put the cache between a runner, its upstream and the task, where the configuration names one.

    Parameters
    ----------
    runner : S3PRL's, as :func:`..host.runner.make_runner` makes it.
    settings : of the run.
    mode : train or evaluate.

    Returns
    -------
    what stands in the upstream's place.

    Raises
    ------
    UserError : the cache holds other features, is too large for its limit or for the disk.
    """
    task, args, section = settings.task, settings.args, settings.runner
    if task.cache.directory is None:
        return None
    expert = getattr(runner.downstream.model, "module", runner.downstream.model)
    featurizer = getattr(runner.featurizer.model, "module", runner.featurizer.model)
    upstream = CachedUpstream(
        runner.upstream.model, Selection(featurizer.feature_selection, args.upstream_layer_selection)
    )
    names = {"upstream": args.upstream, "precision": str(read_precision(section))}
    cache = FeatureCache(Path(task.cache.directory), upstream, names, featurizer.downsample_rate, args.device)
    windows = _windows(expert, settings, mode)
    _check_disk(cache, windows, task.cache.limit_gb)
    for split, (rows, sizes, cut) in windows.items():
        audio = expert.corpus.split(split).audio_digest(rows)
        store = cache.open(split, sizes, {"cut": cut, "audio": audio, "slots": len(rows)})
        expert.keep_features(split, KeptFeatures(store.holds, partial(upstream.announce, store)))
    runner.upstream.model = upstream
    quicken_weighted_sum(featurizer)
    return upstream


def _windows(expert: DownstreamExpert, settings: Settings, mode: str) -> dict[str, tuple[np.ndarray, np.ndarray, str]]:
    """Return what is to be kept: split → windows, samples of each waveform, and in words how they are cut."""
    config: TaskConfig = expert.config
    kept = {}
    if expert.run is not None and expert.run.crops.grid is not None:
        grid = expert.run.crops.grid
        cut = f"crops of {config.data.crop_seconds:g} s every {config.data.crop_step_seconds:g} s"
        kept[_TRAIN] = grid, np.full(len(grid), expert.run.crops.samples), cut
    # The run that scores the test split comes after the one that trains, and its share of the disk is counted here.
    splits = [settings.args.evaluate_split]
    if mode == "train":
        splits = [*settings.splits, *([_TEST] if expert.corpus.has(_TEST) else [])]
    evaluation = config.evaluation
    for split in dict.fromkeys(splits if config.cache.evaluation else []):
        rows = expert.evaluation.windows(split)
        cut = f"windows of {evaluation.window_seconds:g} s every {evaluation.hop_seconds:g} s"
        if split == "dev":
            cut = f"the middle {evaluation.dev_crop_seconds:g} s"
        # A training split may be evaluated as well, and is cut otherwise then.
        if split != _TRAIN:
            kept[split] = rows, rows[:, 2], cut
    return kept


def _check_disk(
    cache: FeatureCache, windows: Mapping[str, tuple[np.ndarray, np.ndarray, str]], limit_gb: float
) -> None:
    """Say how much disk the cache takes once it is full, before any of it is taken."""
    needed = {split: cache.layout(sizes).byte_count for split, (_, sizes, _) in windows.items()}
    there = sum(allocated_bytes(cache.folder / split) for split in needed)
    total, slots = sum(needed.values()), sum(len(rows) for rows, _, _ in windows.values())
    advice = (
        "use a larger data.crop_step_seconds or a shorter data.crop_seconds, one layer (-l, or -s last_hidden_state), "
        "or leave dev and test out (cache.evaluation=false)"
    )
    by_split = ", ".join(f"{split} {_gigabytes(size)}" for split, size in needed.items())
    if total > limit_gb * _GIGABYTE:
        raise UserError(
            f"{cache.folder}: the feature cache would take {_gigabytes(total)} ({by_split}), expected at most "
            f"{limit_gb:g} GB. Allow more by --cache-limit, {advice}."
        )
    folder = next(each for each in (cache.folder, *cache.folder.absolute().parents) if each.is_dir())
    free = shutil.disk_usage(folder).free
    if total - there > free:
        raise UserError(
            f"{cache.folder}: the feature cache would take {_gigabytes(total - there)} more, found {_gigabytes(free)} "
            f"free on that disk. Choose another disk, {advice}."
        )
    if is_rank_zero():
        print(
            f"[lid_mapmix] feature cache: {_gigabytes(total)} for {slots:,} crops and windows ({by_split}) in "
            f"{cache.folder}, {_gigabytes(there)} of it there already"
        )


def _gigabytes(size: int) -> str:
    return f"{size / _GIGABYTE:.1f} GB" if size >= _GIGABYTE / 10 else f"{size / 10**6:.1f} MB"
