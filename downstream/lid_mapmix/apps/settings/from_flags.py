"""The settings of a run, from flags: merged from files for a new run, or taken from a checkpoint."""

import argparse
import copy
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from ...config.named_paths import OPENED, SETTINGS, UPSTREAM_FLAGS, check_named_paths, digests, is_of_run
from ...config.renamed import rename_settings
from ...config.settings import Settings, moved_path
from ...config.sources import DEFAULT_CONFIG, TASK_KEY, merge, read_variant, read_yaml, upstream_config_path
from ...config.upstreams import Protocol, largest_batch, read_upstream, split_batch
from ...data.audio.reading import MINIMUM_SAMPLES, SAMPLE_RATE
from ...host.pretrained import encoder_millions
from ...host.upstreams import refuse_unread_weights
from ...mapmix.mixup import MixSpace
from ...training.checkpoints import check_complete, read_checkpoint
from ...utils.errors import UserError
from ...utils.place import find_place
from ...utils.run_folder import choose_checkpoint
from .arguments import OWN_FLAGS, make_parser
from .override import apply_override, sets

# S3PRL takes these from the command line even when all else comes from a checkpoint.
_NEVER_FROM_CHECKPOINT = (
    *("mode", "evaluate_split", "override", "backend", "local_rank", "past_exp", "device"),
    # Unlike S3PRL, which would write to the folder in which the checkpoint was made.
    "expdir",
    # What reaches outside the run's folder is only done if the user requests it.
    *("hub", "from_hf_hub", "push_to_hf_hub", "hf_hub_org", "upstream_refresh", "may_download"),
)
# Folder of the run, checkpoint to start from, and files of the upstream always come from the flags.
_WHERE = ("expname", "auto_resume", "init_ckpt", "upstream_ckpt", "upstream_model_config")


def new_settings(options: argparse.Namespace, network: Mapping[str, Any] | None = None) -> Settings:
    """Merge defaults, variant, upstream, `network`, the settings file, flags and overrides, in ascending precedence.

    Raises UserError: a file or an override is invalid. `network`: sections of the task that a trained run determines.
    """
    if options.new_classes:
        return _with_new_classes(options)
    variant, upstream = options.downstream_variant, options.upstream
    protocol = "frozen" if options.frozen else "finetune"
    needs: Protocol = getattr(read_upstream(upstream), protocol)
    has_file = upstream_config_path(upstream) is not None
    source = f"upstream_configs/{upstream}.yaml" if has_file else "upstreams without a file"
    layers = [
        (DEFAULT_CONFIG.name, read_yaml(DEFAULT_CONFIG)),
        (f"variants/{variant}.yaml", read_variant(variant)),
        (f"{source} ({protocol})", needs.config),
        (f"-i {options.init_ckpt}", {TASK_KEY: network} if network else {}),
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
    _take_upstream_files(args, options)
    sources = [name for name, layer in layers if layer]
    if apply_override(options.override, args, config):
        sources.append(f"-o {options.override}")
    settings = _recorded(_with_crop_grid(_with_absolute_folders(Settings.make(args, config, sources))))
    return divide_batch(settings, needs)


def _with_new_classes(options: argparse.Namespace) -> Settings:
    """Return the settings of a new run, with the upstream and the network of the trained run of -i."""
    start = choose_checkpoint(Path(options.init_ckpt), "evaluate")
    reading = {**vars(options), "mode": "inference", "override": None, "cache_features": None}
    past = settings_from_checkpoint(argparse.Namespace(**reading), start)
    kept, flags, task = vars(past.args), {**vars(options), "new_classes": False}, past.task.as_mapping()
    was_trained = kept["upstream_trainable"]
    # A frozen upstream may be fine-tuned now; a fine-tuned one, frozen, would be missing in the new checkpoints.
    kept["upstream_trainable"] = bool(kept["upstream_trainable"] or options.upstream_trainable)
    names = ["may_download", *(name for name in flags if name.startswith("upstream") and name not in OWN_FLAGS)]
    flags |= {name: kept[name] for name in names if flags.get(name) is None or flags[name] is False}
    flags["upstream_trainable"] = kept["upstream_trainable"] and not options.frozen
    flags["frozen"], flags["upstream"] = not flags["upstream_trainable"], kept["upstream"]
    settings = new_settings(argparse.Namespace(**flags), {name: task[name] for name in ("upstream", "model")})
    given = {**vars(settings.args), "upstream": options.upstream or kept["upstream"]}
    given["adapter"] = settings.task.as_mapping()["upstream"]["adapter"]
    kept["adapter"] = task["upstream"]["adapter"] if was_trained else given["adapter"]
    for name in [*names, "adapter"]:
        if given[name] != kept[name]:
            raise UserError(f"{start}: expected {name} {kept[name]}, found {given[name]}. Omit the flag or -o for it.")
    # Nothing of a frozen upstream is in the checkpoint, which would show that the weights are others.
    path, recorded = given["upstream_ckpt"], kept.get("file_digests")
    has_digest = not was_trained and isinstance(recorded, Mapping) and "upstream_ckpt" in recorded
    if path and has_digest and not is_of_run("upstream_ckpt", path, kept, start.parent):
        raise UserError(f"{start}: expected the weights of its frozen upstream, found others in {path}. Omit -k.")
    return replace(settings.with_arguments(init_ckpt=None), start=start)


def divide_batch(settings: Settings, needs: Protocol) -> Settings:
    """Split the batch of a run if it exceeds the GPU memory (gradient accumulation), and append that to the sources.

    Values drawn once per batch, such as λ with ``lambda_per: batch``, are then drawn once per part.
    """
    device = settings.args.device
    if not needs.batch_sizes or device is None or torch.device(device).type != "cuda":
        return settings
    batch_sizes, weights = needs.batch_sizes, settings.args.upstream_ckpt
    sizes = needs.batch_sizes_by_millions
    if sizes and weights and (millions := encoder_millions(weights)) is not None:
        # Those of the smallest listed model with so many parameters, or else of the largest.
        batch_sizes = sizes[min((each for each in sizes if each >= millions), default=max(sizes))]
    gigabytes = torch.cuda.get_device_properties(torch.device(device)).total_memory / 2**30
    task, data = settings.task, settings.task.data
    waveforms = 2 if task.mapmix.mix is MixSpace.LATENT else 1
    max_size = largest_batch(batch_sizes, gigabytes, data.crop_seconds, waveforms)
    # The batch size is that of all processes together.
    max_size = None if max_size is None else max_size * find_place(os.environ).processes
    if max_size is None or data.batch_size <= max_size:
        return settings
    size, parts = split_batch(data.batch_size, max_size)
    steps = parts * (settings.runner.get("gradient_accumulate_steps") or 1)
    return replace(
        settings,
        task=replace(task, data=replace(data, batch_size=size)),
        sections={**settings.sections, "runner": {**settings.runner, "gradient_accumulate_steps": steps}},
        sources=(*settings.sources, f"{parts} batches of {size} per optimizer step, for a GPU of {gigabytes:.0f} GB"),
    )


def settings_from_checkpoint(options: argparse.Namespace, checkpoint: Path) -> Settings:
    """Take arguments and configuration from a checkpoint, as S3PRL does, but use the folder that holds it now.

    ``--data``, ``--cache-features``, ``-k``, ``-p``, ``-n`` and ``-o`` override the checkpoint.

    Raises UserError: the checkpoint cannot be read, is of another task, or its crops cannot be cached.
    """
    states = read_checkpoint(checkpoint)
    kept = dict(vars(states["Args"]))
    config = rename_settings(copy.deepcopy(states["Config"]), is_past=options.mode != "train")
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
    args.may_download = options.upstream == args.upstream or bool(options.upstream_refresh or options.upstream_ckpt)
    task, sources = config[TASK_KEY], [str(checkpoint)]
    if ignored := _ignored_flags(options, kept):
        sources.append(f"(ignored, since the checkpoint has its own values: {', '.join(ignored)})")
    if given := (task.get("mapmix") or {}).get("datamap"):
        task["mapmix"]["datamap"] = moved_path(given, Path(kept["expdir"]), checkpoint.parent)
    sources += _take_upstream_files(args, options)
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
    settings = _with_checked_paths(settings, options, checkpoint)
    return _recorded(settings) if options.mode == "train" else settings


def _take_upstream_files(args: argparse.Namespace, options: argparse.Namespace) -> list[str]:
    """Take -k and -g from the flags, and return those that were given."""
    given = {name: value for name in UPSTREAM_FLAGS if (value := getattr(options, name)) is not None}
    if "upstream_ckpt" in given:
        refuse_unread_weights(args.upstream, given["upstream_ckpt"])
    for name, value in given.items():
        # An address or a repository is unchanged.
        setattr(args, name, _absolute(value) if Path(value).exists() else value)
    return [UPSTREAM_FLAGS[name] for name in given]


def _with_checked_paths(settings: Settings, options: argparse.Namespace, checkpoint: Path) -> Settings:
    """Check the paths that only a checkpoint names, and its crops if it has a cache; drop data that are not used."""
    named = {"data": options.data, "cache": options.cache_features}
    named |= {name: getattr(options, name) for name in UPSTREAM_FLAGS}
    given = {name for name, value in named.items() if value}
    given |= {name for name, path in SETTINGS.items() if sets(options.override, "config", TASK_KEY, *path)}
    given |= {name for name in UPSTREAM_FLAGS if sets(options.override, "args", name)}
    task = settings.task
    check_named_paths(settings.args, task, checkpoint, OPENED[options.mode], given)
    if options.mode == "inference" and "data" not in given:
        return replace(settings, task=replace(task, data=replace(task.data, directory=None)))
    if options.mode == "train" and task.cache.directory and task.data.crop_step_seconds is None:
        raise UserError(
            f"--cache-features: expected a run with crops on a grid, found random crops in {checkpoint}. "
            "Resume without --cache-features, or train in another folder."
        )
    return settings


def _recorded(settings: Settings) -> Settings:
    """Record digests of the paths that settings name, so that the run's checkpoints may name them again."""
    return settings.with_arguments(file_digests=digests(settings.args, settings.task))


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


def _absolute(folder: str) -> str:
    # A run can then be used from any working directory.
    return str(Path(folder).resolve())
