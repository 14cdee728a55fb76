"""S3PRL's native wav2vec 2.0, HuBERT, data2vec and WavLM made quicker; what they compute stays the same.

Nothing of S3PRL is edited. Modules of one upstream that has been built are given another `forward`; names and values of
the parameters stay, and so do checkpoints.

- Waveforms of one length, as training crops are, go without a padding mask. S3PRL makes one always: on a GPU it waits
  for the lengths to do so, HuBERT attends with it, and an odd number of frames is padded to an even one, with a mask.
- Attention is torch's scaled_dot_product_attention and nothing around it (attention.py).
- GELU is torch's, which takes half precisions and computes in float32 inside; S3PRL copies to float32 and back.
- Inputs that only pretraining looks at are not made ready for it.
- On request a layer is compiled (``runner.compile``), or computed again in the backward pass in place of being kept
  (``runner.gradient_checkpointing``).
"""

# ruff: noqa: PLC0415 - torch takes seconds to import, and the command line's help needs none of it.

import functools
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import UserError
from .attention import use_fused_attention

# Whether the waveforms are normalised, by the family's module under s3prl.upstream.
_NORMALISES: Mapping[str, Callable[[Any], bool]] = {
    "wav2vec2": lambda upstream: upstream.wav_normalize,
    "hubert": lambda upstream: upstream.task_cfg.normalize,
    "data2vec": lambda upstream: upstream.wav_normalize,
    "wavlm": lambda upstream: upstream.cfg.normalize,
}
# The keys of the `runner` section that are read here.
SWITCHES = ("compile", "gradient_checkpointing")
_COMPILERS = ("c++", "g++", "clang++")


def speed_up(upstream: Any, name: str, runner: Mapping[str, Any]) -> None:
    """Make an upstream quicker in place; one of another family stays as it is.

    Parameters
    ----------
    upstream : as S3PRL has built it, before it is wrapped to be distributed.
    name : as the user writes it, for errors.
    runner : the ``runner`` section, with ``compile`` and ``gradient_checkpointing``.

    Raises
    ------
    UserError : it is to be compiled, or checkpointed, and cannot be.
    """
    family = _family(upstream)
    compiles, checkpoints = bool(runner.get("compile")), bool(runner.get("gradient_checkpointing"))
    if family is None:
        if compiles or checkpoints:
            key = "compile" if compiles else "gradient_checkpointing"
            raise UserError(
                f"runner.{key}: needs an upstream of {', '.join(_NORMALISES)}, found {name}. Set it to false."
            )
        return
    _go_without_mask(upstream, _NORMALISES[family](upstream))
    encoder = upstream.model.encoder
    use_fused_attention(encoder)
    _use_fused_gelu(encoder)
    if compiles:
        _check_compiler()
    for layer in encoder.layers:
        if compiles:
            _compile(layer)
        if checkpoints:
            _checkpoint(layer)


def _family(upstream: Any) -> str | None:
    """Return which of the native families an upstream belongs to, or None."""
    package, _, module = type(upstream).__module__.rpartition(".")
    root, _, family = package.rpartition(".")
    is_native = root == "s3prl.upstream" and module == "expert" and type(upstream).__name__ == "UpstreamExpert"
    # Some keep layers of theirs in place of the hooks; S3PRL's runner never asks for those.
    if not is_native or family not in _NORMALISES or getattr(upstream, "feature_selection", None) is not None:
        return None
    return family


def _go_without_mask(upstream: Any, normalises: bool) -> None:
    from torch import nn

    # An odd number of frames would be padded to an even one, and masked.
    if hasattr(upstream.model.encoder, "required_seq_len_multiple"):
        upstream.model.encoder.required_seq_len_multiple = 1
    # The copy it is applied to is for pretraining.
    if hasattr(upstream.model, "dropout_features"):
        upstream.model.dropout_features = nn.Identity()
    upstream.forward = functools.partial(_forward, upstream, upstream.forward, normalises)


def _forward(upstream: Any, original: Callable[..., Any], normalises: bool, wavs: Sequence[Any]) -> Any:
    """Extract features of waveforms of one length without a mask; those of several lengths as S3PRL does.

    The lengths are known here without asking the GPU. Hooks, which S3PRL's upstreams have, keep what comes of it.
    """
    import torch
    from torch.nn import functional

    samples = len(wavs[0])
    if any(len(wav) != samples for wav in wavs) or getattr(upstream, "numpy_wav_normalize", False):
        return original(wavs)
    waveforms = torch.stack(list(wavs))
    if normalises:
        waveforms = functional.layer_norm(waveforms, (samples,))
    upstream.model.extract_features(waveforms, None)
    return None


def _use_fused_gelu(encoder: Any) -> None:
    from torch.nn import functional

    for layer in encoder.layers:
        # S3PRL has other activations as well, and one of them, gelu_accurate, is another function.
        if getattr(getattr(layer, "activation_fn", None), "__name__", None) == "gelu":
            layer.activation_fn = functional.gelu


def _compile(layer: Any) -> None:
    import torch

    # The layer alone: hooks between layers stay what they are, and one piece of code serves all layers.
    layer.forward = torch.compile(layer.forward)


def _checkpoint(layer: Any) -> None:
    """Let a layer keep its input only, and compute the rest again when it is needed; dropout repeats itself."""
    import torch
    from torch.utils.checkpoint import checkpoint

    original = layer.forward

    def forward(*arguments: Any, **keywords: Any) -> Any:
        if layer.training and torch.is_grad_enabled():
            return checkpoint(original, *arguments, use_reentrant=False, **keywords)
        return original(*arguments, **keywords)

    layer.forward = forward


def _check_compiler() -> None:
    if not any(map(shutil.which, (os.environ.get("CXX") or _COMPILERS[0], *_COMPILERS))):
        raise UserError("runner.compile: needs a C++ compiler, found none. Install g++, or set it to false.")
