"""What is checked and patched of an upstream before and after S3PRL builds it.

Weights are named, features exist: S3PRL takes other features than those asked for without a word, or with one line
among many. The patches stand in frames.py (padding), hugging_face.py (hf_* models), filter_banks.py and native.py
(speed) and downloads.py (named weights).
"""

# ruff: noqa: PLC0415 - torch takes seconds to import, and the command line's help needs none of it.

import argparse
import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..utils.errors import UserError
from . import registry
from .native import speed_up

# Those that hugging_face.py builds → the model_type of config.json that each loads.
MODEL_TYPES = {"hf_wav2vec2_custom": "wav2vec2", "hf_hubert_custom": "hubert"}
_HUGGING_FACE = "hf_"
# torch raises a RuntimeError that names its allocator where the machine's own memory is full.
_CPU_ALLOCATOR = "DefaultCPUAllocator"
_PLACE = "config.downstream_expert.upstream"
_PROBE_SAMPLES = 16_000
_ALL = "hidden_states"


@dataclass(frozen=True)
class UpstreamSettings:
    """What a run asks of its upstream besides S3PRL's arguments.

    Attributes
    ----------
    train_front_end : whether the convolutional front end learns, where the upstream does.
    spec_augment : whether an hf_* model masks frames and channels in training, as its config.json says.
    mix_lengths : whether evaluation batches utterances of different lengths.
    """

    train_front_end: bool = False
    spec_augment: bool = False
    mix_lengths: bool = False


def check_upstream_arguments(args: argparse.Namespace, settings: UpstreamSettings | None = None) -> None:
    """Check what can be known of an upstream without building it.

    Parameters
    ----------
    args : S3PRL's arguments.
    settings : what else is asked of it.

    Raises
    ------
    UserError : an unknown upstream, weights that are not named or not there, or settings that it cannot follow.
    """
    settings = settings or UpstreamSettings()
    if args.hub != "torch":
        return
    registry.check_upstream(args.upstream)
    weights = args.upstream_ckpt
    if registry.takes_weights(args.upstream) and weights is None:
        raise UserError(f"upstream {args.upstream} needs weights. Name its file or folder by -k.")
    if weights is not None and not _may_be_downloaded(args.upstream, weights) and not Path(weights).exists():
        raise UserError(f"-k {weights}: no such file or folder. Name the upstream's weights.")
    for key in ("train_front_end", "spec_augment"):
        if getattr(settings, key) and not args.upstream_trainable:
            raise UserError(f"{_PLACE}.{key}: needs an upstream that is fine-tuned (-f). Set it to false, or give -f.")
    if settings.spec_augment and not args.upstream.startswith(_HUGGING_FACE):
        raise UserError(
            f"{_PLACE}.spec_augment: is for hf_wav2vec2_custom and hf_hubert_custom; found {args.upstream}. Use "
            "S3PRL's own specaug section, which masks features of any upstream."
        )


def check_weights(upstream: Any, args: argparse.Namespace) -> None:
    """Check that an upstream's weights are numbers; those of a diverged pretraining, or of a damaged file, may not be.

    Parameters
    ----------
    upstream : its model.
    args : S3PRL's arguments.

    Raises
    ------
    UserError : a weight is NaN or infinite.
    """
    broken = [name for name, weight in upstream.named_parameters() if not weight.isfinite().all()]
    if broken:
        source = f"upstream {args.upstream}" if args.upstream_ckpt is None else f"-k {args.upstream_ckpt}"
        raise UserError(
            f"{source}: expected numbers, found NaN or infinity in {len(broken)} of its weights ({broken[0]}, …). Use "
            "an undamaged checkpoint."
        )


def patch_upstream(
    upstream: Any, args: argparse.Namespace, settings: UpstreamSettings, runner: Mapping[str, Any]
) -> None:
    """Let an upstream that has just been built know its padding, be quick, and train what it is to train.

    Parameters
    ----------
    upstream : its model, changed in place, before it is wrapped to be distributed.
    args : S3PRL's arguments.
    settings : what else is asked of it.
    runner : the ``runner`` section, see :func:`.native.speed_up`.

    Raises
    ------
    UserError : it has no front end that can be trained, or nothing to mask by; it cannot be compiled or checkpointed.
    """
    from .filter_banks import batch_filter_banks
    from .frames import true_frames

    true_frames(upstream)
    if args.upstream in MODEL_TYPES:
        upstream.train_front_end(settings.train_front_end)
        upstream.spec_augment(settings.spec_augment)
    elif settings.train_front_end:
        native: Any = getattr(upstream, "model", None)
        if not hasattr(native, "feature_grad_mult"):
            raise UserError(
                f"{_PLACE}.train_front_end: upstream {args.upstream} has no convolutional front end that S3PRL "
                "freezes. Set it to false."
            )
        native.feature_grad_mult = 1.0
    batch_filter_banks(upstream)
    speed_up(upstream, args.upstream, runner)


def check_features(
    upstream: Any, featurizer: Any, args: argparse.Namespace, settings: UpstreamSettings | None = None
) -> None:
    """Check that the features which were asked for are those S3PRL took, and the same in any company.

    Parameters
    ----------
    upstream : the upstream's model.
    featurizer : S3PRL's featurizer, made for it.
    args : S3PRL's arguments.
    settings : what else is asked of it.

    Raises
    ------
    UserError : the upstream does not offer the features of -s, or gives other features beside a longer utterance
        although lengths are to be mixed.
    """
    if featurizer.feature_selection != args.upstream_feature_selection:
        raise _no_features(args, _probe(upstream, args))
    if settings is not None and settings.mix_lengths:
        from .frames import check_mixed_lengths

        check_mixed_lengths(upstream, featurizer.feature_selection, args.upstream, args.device)


def check_layer(upstream: Any, args: argparse.Namespace) -> None:
    """Check that an upstream has the layer of -l, which S3PRL's featurizer takes without a look, and features for it.

    Parameters
    ----------
    upstream : the upstream's model.
    args : S3PRL's arguments.

    Raises
    ------
    UserError : it has not.
    """
    asked, layer = args.upstream_feature_selection, args.upstream_layer_selection
    # Names that begin so are what upstreams tell S3PRL's featurizer, and no features.
    is_note = asked.startswith("_")
    if layer is None and not is_note:
        return
    features = _probe(upstream, args)
    if asked not in features or is_note:
        raise _no_features(args, features)
    selected = features[asked]
    layers = len(selected) if isinstance(selected, list | tuple | dict) else 1
    if not 0 <= layer < layers:
        found, advice = f"the layers 0 to {layers - 1}", "Choose one of them"
        if layers == 1:
            found, advice = "one layer", "Leave -l out" + ("" if asked == _ALL else f", or take -s {_ALL}")
        raise UserError(f"upstream {args.upstream} has {found} of {asked}; -l asks for {layer}. {advice}.")


def _probe(upstream: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Return what an upstream makes of a second of silence."""
    import torch

    training = upstream.training
    upstream.eval()
    with torch.no_grad():
        features = upstream([torch.zeros(_PROBE_SAMPLES, device=args.device)])
    upstream.train(training)
    return features


def _no_features(args: argparse.Namespace, features: dict[str, Any]) -> UserError:
    offered = ", ".join(sorted(key for key in features if not key.startswith("_")))
    asked = args.upstream_feature_selection
    return UserError(f"upstream {args.upstream} has no features {asked!r}; it has {offered}. Choose by -s.")


@contextlib.contextmanager
def explained(args: argparse.Namespace) -> Iterator[None]:
    """Turn what goes wrong while S3PRL builds an upstream from its weights into one line that names them.

    Parameters
    ----------
    args : S3PRL's arguments.
    """
    try:
        yield
    except UserError:
        raise
    # What a file of another kind, or half a file, raises depends on where S3PRL and torch come to a stop.
    except Exception as error:
        if is_out_of_memory(error):
            raise out_of_memory(f"upstream {args.upstream}", args.device) from error
        reason = " ".join(str(error).split())[:200]
        found = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
        weights = args.upstream_ckpt
        if weights is None:
            raise UserError(
                f"upstream {args.upstream} cannot be built ({found}). If its weights are damaged, fetch them by -r."
            ) from error
        raise UserError(
            f"-k {weights}: cannot be loaded as {args.upstream} ({found}). Name a complete checkpoint of that kind."
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error tells of a full memory, a GPU's or the machine's; torch's by name, without importing it."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, MemoryError) or "OutOfMemoryError" in names or _CPU_ALLOCATOR in str(error)


def out_of_memory(what: str, device: str) -> UserError:
    """Return the error that says what has no room where.

    Parameters
    ----------
    what : has no room.
    device : as torch names it.
    """
    place, other = ("the machine", "") if device == "cpu" else (device, ", or say --device cpu")
    return UserError(
        f"{what}: {place} has too little memory left for it. End what else uses that memory, or take a smaller "
        f"upstream{other}."
    )


def _may_be_downloaded(upstream: str, weights: str) -> bool:
    """Say whether -k names something that is elsewhere: an address, or a repository of Hugging Face's, owner/name."""
    repository = upstream.startswith(_HUGGING_FACE) and weights.count("/") == 1 and not weights.startswith((".", "/"))
    return "://" in weights or upstream.endswith("_gdriveid") or repository
