"""The settings of a run, from flags: merged from files for a new run, or taken from a checkpoint."""

import argparse
import copy
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ...config.renamed import rename_settings
from ...config.settings import Settings, moved_path
from ...config.sources import DEFAULT_CONFIG, TASK_KEY, merge, read_variant, read_yaml, upstream_config_path
from ...config.upstreams import Protocol, read_upstream
from ...data.audio.reading import MINIMUM_SAMPLES, SAMPLE_RATE
from ...host.registry import takes_weights, upstream_names
from ...host.trust import NAMED_FILES, check_named_files, record_named_files
from ...training.checkpoints import read_checkpoint
from ...training.resuming import check_complete
from ...utils.errors import UserError
from .arguments import OWN_FLAGS, make_parser
from .gpu_batch import divide_batch
from .override import apply_override, sets

# S3PRL takes these from the command line even when all else comes from a checkpoint.
_NEVER_FROM_CHECKPOINT = (
    *("mode", "evaluate_split", "override", "backend", "local_rank", "past_exp", "device"),
    # Unlike S3PRL, which would write to the folder in which the checkpoint was made.
    "expdir",
    # What reaches outside the run's folder is only done if the user requests it.
    *("hub", "from_hf_hub", "push_to_hf_hub", "hf_hub_org", "upstream_refresh"),
)
# Folder of the run, checkpoint to start from, and files of the upstream always come from the flags.
_WHERE = ("expname", "auto_resume", "init_ckpt", "upstream_ckpt", "upstream_model_config")


def new_settings(options: argparse.Namespace) -> Settings:
    """Merge defaults, variant, upstream, the settings file, flags and overrides, in ascending precedence.

    Raises UserError: a file is missing or invalid, or an override is invalid.
    """
    variant, upstream = options.downstream_variant, options.upstream
    protocol = "frozen" if options.frozen else "finetune"
    needs: Protocol = getattr(read_upstream(upstream), protocol)
    has_file = upstream_config_path(upstream) is not None
    source = f"upstream_configs/{upstream}.yaml" if has_file else "upstreams without a file"
    layers = [
        (DEFAULT_CONFIG.name, read_yaml(DEFAULT_CONFIG)),
        (f"variants/{variant}.yaml", read_variant(variant)),
        (f"{source} ({protocol})", needs.config),
        (f"-c {options.config}", rename_settings(read_yaml(Path(options.config)), warn=True) if options.config else {}),
        ("--data", {TASK_KEY: {"data": {"directory": _absolute(options.data)}}} if options.data else {}),
        ("--cache-features", _cache_flags(options)),
    ]
    config: dict[str, Any] = {}
    for _, layer in layers:
        config = merge(config, layer)
    config[TASK_KEY]["variant"] = variant
    args = argparse.Namespace(**{key: value for key, value in vars(options).items() if key not in OWN_FLAGS})
    for key, value in asdict(needs.arguments).items():
        if getattr(args, key) is None:
            setattr(args, key, value)
    if args.upstream_ckpt is not None:
        _refuse_unread_weights(upstream, args.upstream_ckpt)
        args.upstream_ckpt = _weights_path(args.upstream_ckpt)
    if args.upstream_model_config is not None:
        args.upstream_model_config = _weights_path(args.upstream_model_config)
    sources = [name for name, layer in layers if layer]
    if apply_override(options.override, args, config):
        sources.append(f"-o {options.override}")
    record_named_files(args)
    settings = _with_crop_grid(_with_absolute_folders(Settings.make(args, config, sources)))
    return divide_batch(settings, needs.batch_sizes)


def settings_from_checkpoint(options: argparse.Namespace, checkpoint: Path) -> Settings:
    """Take arguments and configuration from a checkpoint, as S3PRL does, but use the folder that holds it now.

    ``--data``, ``--cache-features``, ``-k``, ``-p``, ``-n`` and ``-o`` override the checkpoint.

    Raises UserError: the checkpoint cannot be read, is of another task, or its crops cannot be cached.
    """
    states = read_checkpoint(checkpoint)
    kept, config = dict(vars(states["Args"])), rename_settings(copy.deepcopy(states["Config"]))
    if TASK_KEY not in config or kept.get("downstream") != options.downstream:
        raise UserError(
            f"{checkpoint}: expected the task {options.downstream}, found {kept.get('downstream')}. Name it by -d."
        )
    check_complete(checkpoint, states, options.mode)
    args = argparse.Namespace(**{key: value for key, value in vars(options).items() if key not in OWN_FLAGS})
    for key, value in kept.items():
        if key not in _NEVER_FROM_CHECKPOINT:
            setattr(args, key, value)
    args.expdir = options.expdir or str(checkpoint.parent)
    args.init_ckpt = str(checkpoint)
    task, sources = config[TASK_KEY], [str(checkpoint)]
    if ignored := _ignored_flags(options, kept):
        sources.append(f"(ignored, since the checkpoint has its own values: {', '.join(ignored)})")
    if given := (task.get("mapmix") or {}).get("datamap"):
        task["mapmix"]["datamap"] = moved_path(given, Path(kept["expdir"]), checkpoint.parent)
    sources += _choose_files(args, kept, options, checkpoint)
    if options.data:
        task["data"]["directory"] = _absolute(options.data)
        sources.append("--data")
    if cache := _cache_flags(options):
        config = merge(config, cache)
        sources.append("--cache-features")
    elif options.mode != "train" and "cache" in task:
        # Using a trained run does not fill the feature cache of its training.
        task["cache"]["directory"] = None
    if sets(options.override, "config", TASK_KEY, "epochs"):
        # The checkpoint holds the number of steps of the old number of epochs.
        config["runner"]["total_steps"] = None
    if apply_override(options.override, args, config):
        sources.append(f"-o {options.override}")
    settings = _with_absolute_folders(Settings.make(args, config, sources))
    task_settings = settings.task
    if options.mode == "train" and task_settings.cache.directory and task_settings.data.crop_step_seconds is None:
        raise UserError(
            f"--cache-features: expected a run with crops on a grid, found random crops in {checkpoint}. "
            "Resume without --cache-features, or train in another folder."
        )
    return settings


def _choose_files(
    args: argparse.Namespace, kept: Mapping[str, Any], options: argparse.Namespace, checkpoint: Path
) -> list[str]:
    """Take -k and -g from the flags, or from the checkpoint if it may name them; return the flags."""
    given = {name: value for name in NAMED_FILES if (value := getattr(options, name))}
    check_named_files(argparse.Namespace(**{**kept, **dict.fromkeys(given)}), checkpoint)
    if options.upstream_ckpt:
        _refuse_unread_weights(args.upstream, options.upstream_ckpt)
    for name, value in given.items():
        setattr(args, name, _weights_path(value))
    record_named_files(args)
    return [NAMED_FILES[name] for name in given]


def _cache_flags(options: argparse.Namespace) -> dict[str, Any]:
    """Return the part of the configuration that --cache-features and --cache-limit set."""
    cache: dict[str, Any] = {}
    if options.cache_features is not None:
        cache["directory"] = _absolute(options.cache_features)
    if options.cache_limit is not None:
        cache["limit_gb"] = options.cache_limit
    return {TASK_KEY: {"cache": cache}} if cache else {}


def _with_absolute_folders(settings: Settings) -> Settings:
    """Make the folders of noise and rooms absolute."""
    task, given = settings.task, settings.task.data.augment
    noise, rir = (folder and _absolute(folder) for folder in (given.noise, given.rir))
    data = replace(task.data, augment=replace(given, noise=noise, rir=rir))
    return replace(settings, task=replace(task, data=data))


def _with_crop_grid(settings: Settings) -> Settings:
    """Put crops on a grid if their features are cached."""
    task = settings.task
    if task.cache.directory is None or task.data.crop_step_seconds is not None:
        return settings
    step = max(task.data.crop_seconds / 2, MINIMUM_SAMPLES / SAMPLE_RATE)
    return replace(settings, task=replace(task, data=replace(task.data, crop_step_seconds=step)))


def _ignored_flags(options: argparse.Namespace, kept: Mapping[str, Any]) -> list[str]:
    """List the given flags that differ from the checkpoint, whose values are used."""
    defaults = vars(make_parser("").parse_args([]))
    names = [
        name
        for name, value in vars(options).items()
        if name in kept and name not in (*_NEVER_FROM_CHECKPOINT, *_WHERE) and value not in (defaults[name], kept[name])
    ]
    if options.frozen and kept.get("upstream_trainable"):
        names.append("frozen")
    return [f"--{name}" for name in names]


def _refuse_unread_weights(upstream: str, weights: str) -> None:
    """Refuse -k if S3PRL would silently use other weights."""
    if takes_weights(upstream):
        return
    local = f"{upstream.partition('_')[0]}_local"
    advice = f"use -u {local}" if local in upstream_names() else "use an upstream named *_local"
    raise UserError(f"-k {weights}: the upstream {upstream} does not read weights from -k. Remove -k, or {advice}.")


def _weights_path(weights: str) -> str:
    """Return -k with an absolute path; a URL or a repository is unchanged."""
    return _absolute(weights) if Path(weights).exists() else weights


def _absolute(folder: str) -> str:
    # A run can then be used from any working directory.
    return str(Path(folder).resolve())
