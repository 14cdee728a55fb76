"""What is checked of an upstream before and after S3PRL builds it: weights that are named, features that exist.

S3PRL takes other features than those asked for without a word, or with one line among many.
"""

import argparse
from pathlib import Path
from typing import Any

from ..errors import UserError
from . import registry

# Upstreams whose weights the user names by -k; S3PRL tells them by their names.
_NEED_WEIGHTS = ("_local", "_url", "_gdriveid", "_custom")
_HUGGING_FACE = "hf_"
_PROBE_SAMPLES = 16_000


def check_upstream_arguments(args: argparse.Namespace) -> None:
    """Check what can be known of an upstream without building it.

    Parameters
    ----------
    args : S3PRL's arguments.

    Raises
    ------
    UserError : an unknown upstream, weights that are not named or not there, or fine-tuning that would go wrong.
    """
    if args.hub != "torch":
        return
    registry.check_upstream(args.upstream)
    weights = args.upstream_ckpt
    if args.upstream.endswith(_NEED_WEIGHTS) and weights is None:
        raise UserError(f"upstream {args.upstream} needs weights. Name its file or folder by -k.")
    if weights is not None and not _may_be_downloaded(args.upstream, weights) and not Path(weights).exists():
        raise UserError(f"-k {weights}: no such file or folder. Name the upstream's weights.")
    if args.upstream.startswith(_HUGGING_FACE) and args.upstream_trainable:
        raise UserError(
            f"upstream {args.upstream} cannot be fine-tuned safely: it drops layers and masks frames in training, and "
            "S3PRL then takes other layers than those asked for. Use --frozen, or S3PRL's own wav2vec2_local or "
            "hubert_local with converted weights."
        )


def check_features(upstream: Any, featurizer: Any, args: argparse.Namespace) -> None:
    """Check that the features which were asked for are those S3PRL took.

    Parameters
    ----------
    upstream : the upstream's model.
    featurizer : S3PRL's featurizer, made for it.
    args : S3PRL's arguments.

    Raises
    ------
    UserError : the upstream does not offer the features of -s, or has no layer -l.
    """
    asked, layer = args.upstream_feature_selection, args.upstream_layer_selection
    if featurizer.feature_selection == asked and layer is None:
        return
    import torch  # noqa: PLC0415 - takes seconds, and the command line's help needs none of it

    training = upstream.training
    upstream.eval()
    with torch.no_grad():
        features = upstream([torch.zeros(_PROBE_SAMPLES, device=args.device)])
    upstream.train(training)
    if featurizer.feature_selection != asked:
        offered = ", ".join(sorted(key for key in features if not key.startswith("_")))
        raise UserError(f"upstream {args.upstream} has no features {asked!r}; it has {offered}. Choose by -s.")
    selected = features[asked]
    layers = len(selected) if isinstance(selected, list | tuple | dict) else 1
    if not 0 <= layer < layers:
        raise UserError(f"upstream {args.upstream} has the layers 0 to {layers - 1} of {asked}; -l asks for {layer}.")


def _may_be_downloaded(upstream: str, weights: str) -> bool:
    """Say whether -k names something that is elsewhere: an address, or a repository of Hugging Face's, owner/name."""
    repository = upstream.startswith(_HUGGING_FACE) and weights.count("/") == 1 and not weights.startswith((".", "/"))
    return "://" in weights or upstream.endswith("_gdriveid") or repository
