"""Faster forward passes of S3PRL's native wav2vec 2.0, HuBERT, data2vec and WavLM, with the same results.

S3PRL's files are not changed. Modules of an upstream that has been built get another `forward`; names and values of
the parameters, and so checkpoints, stay the same.

- Waveforms of one length, such as training crops, have no padding mask. S3PRL always makes one: on a GPU this waits for
  the lengths, HuBERT attends with the mask, and an odd number of frames is padded to an even one and masked.
- Attention, except WavLM's, is torch's scaled_dot_product_attention only, which uses the fastest GPU kernels if there
  is no mask. S3PRL calls torch's `multi_head_attention_forward`, which concatenates the biases in each layer and step,
  checks shapes and converts the padding mask to numbers.
- GELU is torch's, which accepts half precision and computes in float32 internally; S3PRL copies to float32 and back.
- Inputs that only pretraining uses are not computed.
- Optionally, layers are compiled (``runner.compile``), or recomputed in the backward pass to save memory
  (``runner.gradient_checkpointing``); so are those of Hugging Face models.
"""

import functools
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..utils.errors import UserError
from .registry import HUGGING_FACE

# Whether waveforms are normalised, by the family's module under s3prl.upstream.
_NORMALISES: Mapping[str, Callable[[Any], bool]] = {
    "wav2vec2": lambda upstream: upstream.wav_normalize,
    "hubert": lambda upstream: upstream.task_cfg.normalize,
    "data2vec": lambda upstream: upstream.wav_normalize,
    "wavlm": lambda upstream: upstream.cfg.normalize,
}
# The keys of the `runner` section that this module reads.
SWITCHES = ("compile", "gradient_checkpointing")
_COMPILERS = ("c++", "g++", "clang++")


def speed_up(upstream: Any, name: str, runner: Mapping[str, Any]) -> None:
    """Speed an upstream up, in place; other families are not changed.

    Raises UserError: compilation or checkpointing is requested and not possible.

    `upstream`: as S3PRL built it, before it is wrapped for distributed training. `name`: as given by -u, for errors.
    `runner`: the ``runner`` section, with ``compile`` and ``gradient_checkpointing``.
    """
    family = _family(upstream)
    compiles, checkpoints = bool(runner.get("compile")), bool(runner.get("gradient_checkpointing"))
    if family is not None:
        _go_without_mask(upstream, _NORMALISES[family](upstream))
        encoder = upstream.model.encoder
        use_fused_attention(encoder)
        _use_fused_gelu(encoder)
    if not (compiles or checkpoints):
        return
    layers = _layers(upstream, name, "runner.compile" if compiles else "runner.gradient_checkpointing")
    if compiles and not any(map(shutil.which, (os.environ.get("CXX") or _COMPILERS[0], *_COMPILERS))):
        raise UserError("runner.compile: expected a C++ compiler, found none. Install g++, or set it to false.")
    import torch

    for layer in layers:
        if compiles:
            # Only the layer: hooks between layers are not affected, and the compiled code serves all layers.
            layer.forward = torch.compile(layer.forward)
        if checkpoints:
            _checkpoint(layer)


def train_last_layers(upstream: Any, name: str, count: int) -> None:
    """Train the last `count` layers only. Raises UserError: an upstream without so many layers."""
    key = "config.downstream_expert.upstream.train_layers"
    layers = _layers(upstream, name, key)
    if count > len(layers):
        raise UserError(f"{key}: expected at most {len(layers)}, the layers of {name}, found {count}. Use fewer.")
    upstream.requires_grad_(False)
    for layer in layers[-count:]:
        layer.requires_grad_(True)


def _layers(upstream: Any, name: str, key: str) -> Sequence[Any]:
    """Return the layers of an upstream. Raises UserError: it is of another family. `key`: the setting that is used."""
    if name in HUGGING_FACE:
        return upstream.layers
    if _family(upstream) is None:
        known = ", ".join([*_NORMALISES, "Hugging Face"])
        raise UserError(f"{key}: expected an upstream of {known}, found {name}. Omit it.")
    return list(upstream.model.encoder.layers)


def _family(upstream: Any) -> str | None:
    """Return the native family of an upstream, or None."""
    package, _, module = type(upstream).__module__.rpartition(".")
    root, _, family = package.rpartition(".")
    is_native = root == "s3prl.upstream" and module == "expert" and type(upstream).__name__ == "UpstreamExpert"
    # With this option, layers are collected without hooks; S3PRL's runner never sets it.
    if not is_native or family not in _NORMALISES or getattr(upstream, "feature_selection", None) is not None:
        return None
    return family


def _go_without_mask(upstream: Any, normalises: bool) -> None:
    from torch import nn

    # An odd number of frames would be padded to an even one, and masked.
    if hasattr(upstream.model.encoder, "required_seq_len_multiple"):
        upstream.model.encoder.required_seq_len_multiple = 1
    # The copy that dropout is applied to is used in pretraining only.
    if hasattr(upstream.model, "dropout_features"):
        upstream.model.dropout_features = nn.Identity()
    upstream.forward = functools.partial(_forward, upstream, upstream.forward, normalises)


def _forward(upstream: Any, original: Callable[..., Any], normalises: bool, wavs: Sequence[Any]) -> Any:
    """Extract features, without a mask if all waveforms have one length, otherwise as S3PRL does.

    The lengths are known here without synchronising with the GPU. The hooks of S3PRL's upstream collect the result.
    """
    import torch
    from torch.nn import functional

    samples = wavs[0].shape[0]
    if any(wav.shape[0] != samples for wav in wavs) or getattr(upstream, "numpy_wav_normalize", False):
        return original(wavs)
    waveforms = torch.stack(list(wavs))
    if normalises:
        waveforms = functional.layer_norm(waveforms, (samples,))
    upstream.model.extract_features(waveforms, None)
    return None


def _use_fused_gelu(encoder: Any) -> None:
    from torch.nn import functional

    for layer in encoder.layers:
        # S3PRL has other activations too, and gelu_accurate is a different function.
        if getattr(getattr(layer, "activation_fn", None), "__name__", None) == "gelu":
            layer.activation_fn = functional.gelu


def _checkpoint(layer: Any) -> None:
    """Keep only a layer's input, and recompute the rest in the backward pass; dropout masks are reproduced."""
    import torch
    from torch.utils.checkpoint import checkpoint

    original = layer.forward

    def forward(*arguments: Any, **keywords: Any) -> Any:
        if layer.training and torch.is_grad_enabled():
            return checkpoint(original, *arguments, use_reentrant=False, **keywords)
        return original(*arguments, **keywords)

    layer.forward = forward


def use_fused_attention(encoder: Any) -> None:
    """Replace the `forward` of S3PRL's plain self-attention in an encoder's layers; parameters stay the same."""
    from s3prl.upstream.wav2vec2.wav2vec2_model import MultiheadAttention

    for module in encoder.modules():
        # Subclasses and options that these models do not use are not supported.
        is_plain = type(module) is MultiheadAttention and module.self_attention
        if is_plain and module.bias_k is None and not module.add_zero_attn:
            # A class instead of an instance attribute, so that code compiled for one layer serves the others.
            module.__class__ = _fused_class()


@functools.cache
def _fused_class() -> Any:
    """Define the subclass, after S3PRL has become importable."""
    from s3prl.upstream.wav2vec2.wav2vec2_model import MultiheadAttention

    class FusedAttention(MultiheadAttention):  # type: ignore[misc]
        """S3PRL's self-attention with another `forward`."""

        def forward(self, *arguments: Any, **keywords: Any) -> tuple[Any, Any]:
            return _attend(self, super().forward, *arguments, **keywords)

    return FusedAttention


def _attend(  # noqa: PLR0917 - the arguments of the replaced `forward`
    attention: Any,
    original: Any,
    query: Any,
    key: Any,
    value: Any,
    key_padding_mask: Any = None,
    attn_mask: Any = None,
    need_weights: bool = True,
    **others: Any,
) -> tuple[Any, Any]:
    """Compute attention, ``softmax(q·k / √d)·v`` in each head.

    Returns (frames, batch, dim) torch.Tensor, and None for the weights.

    `attention`: the module, for its projections, heads and dropout. `original`: its own `forward`, used for all other
    options. `query`, `key`, `value`: (frames, batch, dim) torch.Tensor, all three the same. `key_padding_mask`: (batch,
    frames) bool torch.Tensor, true for padding, or None. `attn_mask`, `need_weights`, `others`: the module's own
    options.
    """
    from torch.nn.functional import scaled_dot_product_attention

    if need_weights or attn_mask is not None or others:
        keywords = {"key_padding_mask": key_padding_mask, "attn_mask": attn_mask, "need_weights": need_weights}
        return original(query, key, value, **keywords, **others)
    frames, batch, dim = query.shape
    heads = (frames, batch, attention.num_heads, attention.head_dim)
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    # (batch, heads, frames, head_dim), as views.
    queries, keys, values = (project(query).view(heads).permute(1, 2, 0, 3) for project in projections)
    attended = scaled_dot_product_attention(
        queries,
        keys,
        values,
        attn_mask=None if key_padding_mask is None else ~key_padding_mask[:, None, None, :],
        dropout_p=attention.dropout_module.p if attention.training else 0.0,
    )
    return attention.out_proj(attended.permute(2, 0, 1, 3).reshape(frames, batch, dim)), None
