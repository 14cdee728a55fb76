"""S3PRL's native wav2vec 2.0, HuBERT, data2vec and WavLM made quicker; what they compute stays the same.

Nothing of S3PRL is edited. Modules of one upstream that has been built are given another `forward`; names and values of
the parameters stay, and so do checkpoints.

- Waveforms of one length, as training crops are, go without a padding mask. S3PRL makes one always: on a GPU it waits
  for the lengths to do so, HuBERT attends with it, and an odd number of frames is padded to an even one, with a mask.
- Attention of all but WavLM is torch's scaled_dot_product_attention alone, which on a GPU takes its quickest kernels
  where there is no mask. S3PRL calls torch's `multi_head_attention_forward`, which joins the biases anew in each layer
  and step, checks shapes and turns the padding mask into numbers that are added.
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

from ..utils.errors import UserError

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


def use_fused_attention(encoder: Any) -> None:
    """Give the self-attention in an encoder's layers another `forward`; its parameters stay.

    Parameters
    ----------
    encoder : with layers of S3PRL's; attention of another kind (WavLM's, with relative positions) is left alone.
    """
    from s3prl.upstream.wav2vec2.wav2vec2_model import MultiheadAttention

    for module in encoder.modules():
        # What subclasses and options do that these models have no use for is not done here.
        is_plain = type(module) is MultiheadAttention and module.self_attention
        if is_plain and module.bias_k is None and not module.add_zero_attn:
            # Another class, and no `forward` of its own: code that is compiled for one layer then fits the others.
            module.__class__ = _fused_class()


@functools.cache
def _fused_class() -> Any:
    """Define the subclass, once S3PRL may be imported."""
    from s3prl.upstream.wav2vec2.wav2vec2_model import MultiheadAttention

    class FusedAttention(MultiheadAttention):  # type: ignore[misc]
        """S3PRL's self-attention with another `forward`."""

        def forward(self, *arguments: Any, **keywords: Any) -> tuple[Any, Any]:
            return _attend(self, super().forward, *arguments, **keywords)

    return FusedAttention


def _attend(  # noqa: PLR0917 - the arguments of the `forward` it stands for
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
    """Attend, ``softmax(q·k / √d)·v`` in each head.

    Parameters
    ----------
    attention : the module, for its projections, its heads and its dropout.
    original : its own `forward`, which does whatever is asked for besides.
    query, key, value : (frames, batch, dim) torch.Tensor, the same thrice.
    key_padding_mask : (batch, frames) bool torch.Tensor, true where there is padding, or None.
    attn_mask, need_weights, others : as the module knows them.

    Returns
    -------
    (frames, batch, dim) torch.Tensor, and None for the weights.
    """
    from torch.nn.functional import scaled_dot_product_attention

    if need_weights or attn_mask is not None or others:
        keywords = {"key_padding_mask": key_padding_mask, "attn_mask": attn_mask, "need_weights": need_weights}
        return original(query, key, value, **keywords, **others)
    frames, batch, dim = query.shape
    heads = (frames, batch, attention.num_heads, attention.head_dim)
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    # (batch, heads, frames, dim of a head), as views.
    queries, keys, values = (project(query).view(heads).permute(1, 2, 0, 3) for project in projections)
    attended = scaled_dot_product_attention(
        queries,
        keys,
        values,
        attn_mask=None if key_padding_mask is None else ~key_padding_mask[:, None, None, :],
        dropout_p=attention.dropout_module.p if attention.training else 0.0,
    )
    return attention.out_proj(attended.permute(2, 0, 1, 3).reshape(frames, batch, dim)), None
