"""Checks and patches of an upstream before and after S3PRL builds it.

The checks cover weights and features: S3PRL uses other features than requested without an error, or with one line among
many. The patches are in frames.py (padding), hugging_face.py (hf_* models), filter_banks.py and native.py (speed), and
downloads.py (named weights).
"""

import argparse
import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..utils.errors import UserError, is_of_the_system
from . import registry
from .adapters import add_adapter
from .filter_banks import batch_filter_banks
from .formats import check_files, check_name
from .frames import check_mixed_lengths, true_frames
from .native import speed_up, train_last_layers

# torch raises a RuntimeError that names its allocator when main memory is full.
_CPU_ALLOCATOR = "DefaultCPUAllocator"
_PLACE = "config.downstream_expert.upstream"
_PROBE_SAMPLES = 16_000


@dataclass(frozen=True)
class UpstreamSettings:
    """What a run requests of its upstream besides S3PRL's arguments."""

    train_front_end: bool = False  # whether the convolutional front end is trained when the upstream is fine-tuned
    # Whether a Hugging Face model masks frames and channels in training, as in its config.json.
    spec_augment: bool = False
    train_layers: int | None = None  # how many of its last layers are trained; None for the whole upstream
    adapter: dict[str, Any] | None = None  # what is trained instead of its weights, see adapters.py
    mix_lengths: bool = False  # whether evaluation batches utterances of different lengths


def check_upstream_arguments(args: argparse.Namespace, settings: UpstreamSettings | None = None) -> None:
    """Check an upstream as far as possible without building it.

    Raises UserError: an unknown upstream, weights that are not given or do not exist, or settings that it does not
    support.

    `args`: S3PRL's arguments. `settings`: the run's other requests.
    """
    settings = settings or UpstreamSettings()
    if getattr(args, "hub", "torch") != "torch":
        return
    check_name(args.upstream)
    registry.check_upstream(args.upstream)
    check_files(args.upstream, args.upstream_ckpt, getattr(args, "upstream_model_config", None))
    weights = args.upstream_ckpt
    if registry.needs_weights(args.upstream) and weights is None:
        raise UserError(f"upstream {args.upstream}: expected weights, found none. Pass a file or folder by -k.")
    if weights is not None and not _may_be_downloaded(args.upstream, weights) and not Path(weights).exists():
        raise UserError(f"-k {weights}: no such file or folder. Pass the upstream's weights.")
    parts = ("train_front_end", "train_layers", "adapter")
    for key in ("spec_augment", *parts):
        if getattr(settings, key) and not args.upstream_trainable:
            raise UserError(f"{_PLACE}.{key}: expected a fine-tuned upstream (-f). Omit it, or add -f.")
    if len(trained := [key for key in parts if getattr(settings, key)]) > 1:
        raise UserError(f"{_PLACE}: {trained[0]} and {trained[1]} exclude each other. Omit one of them.")
    if settings.adapter and args.upstream not in registry.HUGGING_FACE:
        raise UserError(f"{_PLACE}.adapter: expected a model of Hugging Face, found {args.upstream}. Omit it.")
    if settings.spec_augment and args.upstream not in registry.HUGGING_FACE:
        raise UserError(
            f"{_PLACE}.spec_augment: expected a model of Hugging Face (hf_auto), found {args.upstream}. Use S3PRL's "
            "own specaug section, which masks the features of any upstream."
        )


def refuse_unread_weights(upstream: str, weights: str) -> None:
    """Raise a UserError for -k if S3PRL would silently use other weights."""
    if registry.takes_weights(upstream):
        return
    local = f"{upstream.partition('_')[0]}_local"
    advice = f"use -u {local}" if local in registry.upstream_names() else "use an upstream named *_local"
    raise UserError(f"-k {weights}: the upstream {upstream} does not read weights from -k. Remove -k, or {advice}.")


def check_weights(upstream: Any, args: argparse.Namespace) -> None:
    """Raise a UserError if a weight is NaN or infinite, as after a diverged pretraining or in a damaged file."""
    broken = [name for name, weight in upstream.named_parameters() if not weight.isfinite().all()]
    if broken:
        source = f"upstream {args.upstream}" if args.upstream_ckpt is None else f"-k {args.upstream_ckpt}"
        raise UserError(
            f"{source}: expected finite weights, found NaN or infinity in {len(broken)} of them ({broken[0]}, …). Use "
            "an undamaged checkpoint."
        )


def patch_upstream(
    upstream: Any, args: argparse.Namespace, settings: UpstreamSettings, runner: Mapping[str, Any]
) -> None:
    """Patch an upstream that has just been built: padding, speed, and which parts are trained.

    Raises UserError: it has no trainable front end or no mask settings, or it cannot be compiled or checkpointed.

    `upstream`: its model, changed in place, before it is wrapped for distributed training. `args`: S3PRL's arguments.
    `settings`: the run's other requests. `runner`: the ``runner`` section, see :func:`.native.speed_up`.
    """
    true_frames(upstream)
    if args.upstream in registry.HUGGING_FACE:
        upstream.train_front_end(settings.train_front_end)
        upstream.spec_augment(settings.spec_augment)
    elif settings.train_front_end:
        native: Any = getattr(upstream, "model", None)
        if not hasattr(native, "feature_grad_mult"):
            raise UserError(
                f"{_PLACE}.train_front_end: expected an upstream with a convolutional front end that S3PRL freezes, "
                f"found {args.upstream}. Set it to false."
            )
        native.feature_grad_mult = 1.0
    if settings.train_layers is not None:
        train_last_layers(upstream, args.upstream, settings.train_layers)
    if settings.adapter:
        add_adapter(upstream, args.upstream_ckpt or args.upstream, settings.adapter)
    batch_filter_banks(upstream)
    speed_up(upstream, args.upstream, runner)


def check_features(
    upstream: Any, featurizer: Any, args: argparse.Namespace, settings: UpstreamSettings | None = None
) -> None:
    """Check that S3PRL uses the requested features, and that they are independent of batching and padding.

    Raises UserError: the upstream does not have the features of -s, or lengths are to be mixed and its features depend
    on padding.

    `upstream`: the upstream's model. `featurizer`: S3PRL's featurizer, made for it. `args`: S3PRL's arguments.
    `settings`: the run's other requests.
    """
    if featurizer.feature_selection != args.upstream_feature_selection:
        raise _no_features(args, _probe(upstream, args))
    if settings is not None and settings.mix_lengths:
        check_mixed_lengths(upstream, featurizer.feature_selection, args.upstream, args.device)


def check_layer(upstream: Any, args: argparse.Namespace) -> None:
    """Check the layer of -l, as S3PRL's featurizer does not. Raises UserError: the upstream does not have it."""
    asked, layer = args.upstream_feature_selection, args.upstream_layer_selection
    # Names with an underscore are notes for S3PRL's featurizer, not features.
    is_note = asked.startswith("_")
    if layer is None and not is_note:
        return
    features = _probe(upstream, args)
    if asked not in features or is_note:
        raise _no_features(args, features)
    selected = features[asked]
    layers = len(selected) if isinstance(selected, list | tuple | dict) else 1
    if not 0 <= layer < layers:
        raise UserError(
            f"-l {layer}: upstream {args.upstream} has layers 0 to {layers - 1} of {asked}. Choose one, or omit -l."
        )


def _probe(upstream: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Return an upstream's features for one second of silence."""
    training = upstream.training
    upstream.eval()
    with torch.no_grad():
        features = upstream([torch.zeros(_PROBE_SAMPLES, device=args.device)])
    upstream.train(training)
    return features


def _no_features(args: argparse.Namespace, features: dict[str, Any]) -> UserError:
    offered = ", ".join(sorted(key for key in features if not key.startswith("_")))
    asked = args.upstream_feature_selection
    return UserError(
        f"-s {asked}: expected features that upstream {args.upstream} has ({offered}), found {asked!r}. Choose others."
    )


@contextlib.contextmanager
def explained(args: argparse.Namespace) -> Iterator[None]:
    """Raise a UserError that names the weights for any error while S3PRL builds an upstream from them."""
    try:
        yield
    except (UserError, ImportError):  # a package is missing or too old, whatever the weights are
        raise
    # The exception for a damaged or unsuitable file depends on where S3PRL and torch stop.
    except Exception as error:
        if is_out_of_memory(error):
            raise out_of_memory(f"upstream {args.upstream}", args.device) from error
        if is_of_the_system(error):
            raise
        reason = " ".join(str(error).split())[:200]
        found = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
        weights = args.upstream_ckpt
        if weights is None:
            raise UserError(
                f"upstream {args.upstream} cannot be built ({found}). If its weights are damaged, download them again "
                "by -r."
            ) from error
        raise UserError(
            f"-k {weights}: cannot be loaded as {args.upstream} ({found}). Use a complete checkpoint of that kind."
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that GPU or main memory is full."""
    return isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or _CPU_ALLOCATOR in str(error)


def out_of_memory(what: str, device: str) -> UserError:
    """Return the error that `what` does not fit into the memory of a device, by torch's name for it."""
    place, other = ("the machine", "") if device == "cpu" else (device, ", or use --device cpu")
    return UserError(
        f"{what}: {place} has too little free memory for it. End other programs that use that memory, or use a smaller "
        f"upstream{other}."
    )


def _may_be_downloaded(upstream: str, weights: str) -> bool:
    """Return whether -k may be remote: an address, or a Hugging Face repository, owner/name."""
    repository = upstream in registry.HUGGING_FACE and weights.count("/") == 1 and not weights.startswith((".", "/"))
    return "://" in weights or upstream.endswith("_gdriveid") or repository
