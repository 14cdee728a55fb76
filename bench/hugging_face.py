"""Configuration and weights of a native wav2vec 2.0 of S3PRL's as transformers has them."""

import re
from typing import Any

import torch
from torch import nn

_RENAMED = (
    (r"^(feature_extractor\.conv_layers\.\d+)\.0\.", r"\1.conv."),
    (r"^(feature_extractor\.conv_layers\.\d+)\.2\.(1\.)?", r"\1.layer_norm."),
    (r"^layer_norm\.", "feature_projection.layer_norm."),
    (r"^post_extract_proj\.", "feature_projection.projection."),
    (r"^mask_emb$", "masked_spec_embed"),
    (r"^encoder\.pos_conv\.0\.weight_g$", "encoder.pos_conv_embed.conv.parametrizations.weight.original0"),
    (r"^encoder\.pos_conv\.0\.weight_v$", "encoder.pos_conv_embed.conv.parametrizations.weight.original1"),
    (r"^encoder\.pos_conv\.0\.", "encoder.pos_conv_embed.conv."),
    (r"self_attn\.", "attention."),
    (r"self_attn_layer_norm\.", "layer_norm."),
    (r"\.fc1\.", ".feed_forward.intermediate_dense."),
    (r"\.fc2\.", ".feed_forward.output_dense."),
)


def hugging_face_settings(native: Any) -> dict[str, Any]:
    """Return the keywords of transformers' configuration for a native model: no masking, no LayerDrop."""
    settings, front_end = native.cfg, [layer[0] for layer in native.feature_extractor.conv_layers]
    return {
        "hidden_size": settings.encoder_embed_dim,
        "num_hidden_layers": settings.encoder_layers,
        "num_attention_heads": settings.encoder_attention_heads,
        "intermediate_size": settings.encoder_ffn_embed_dim,
        "conv_dim": tuple(layer.out_channels for layer in front_end),
        "conv_kernel": tuple(layer.kernel_size[0] for layer in front_end),
        "conv_stride": tuple(layer.stride[0] for layer in front_end),
        "conv_bias": settings.conv_bias,
        "feat_extract_norm": "layer" if settings.extractor_mode == "layer_norm" else "group",
        "do_stable_layer_norm": settings.layer_norm_first,
        "num_conv_pos_embeddings": settings.conv_pos,
        "num_conv_pos_embedding_groups": settings.conv_pos_groups,
        "hidden_dropout": settings.dropout,
        "attention_dropout": settings.attention_dropout,
        "activation_dropout": settings.activation_dropout,
        "feat_proj_dropout": settings.dropout_input,
        "layerdrop": 0.0,
        "apply_spec_augment": False,
    }


def hugging_face_weights(native: nn.Module) -> dict[str, torch.Tensor]:
    """Return the weights of a native wav2vec 2.0 under the names of transformers."""
    weights = {}
    for name, weight in native.state_dict().items():
        if name.startswith(("project_q", "final_proj")):  # only pretraining has a use for them
            continue
        new = name
        for pattern, replacement in _RENAMED:
            new = re.sub(pattern, replacement, new)
        weights[new] = weight
    return weights
