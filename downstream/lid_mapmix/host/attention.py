"""Attention of S3PRL's native wav2vec 2.0, HuBERT and data2vec by torch's scaled_dot_product_attention alone.

S3PRL calls torch's `multi_head_attention_forward`, which joins the biases anew in each layer and step, checks shapes
and turns the padding mask into numbers that are added. Here the three projections go straight into
`scaled_dot_product_attention`, which on a GPU takes its quickest kernels where there is no mask.
"""

# ruff: noqa: PLC0415 - torch takes seconds to import, and the command line's help needs none of it.

import functools
from typing import Any


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
