"""Small random models in the formats of real checkpoints."""

import importlib
from dataclasses import asdict
from pathlib import Path

import torch
from lid_mapmix.host import compat, registry

_CONVOLUTIONS = "[(16, 10, 5)] + [(16, 3, 2)] * 4 + [(16, 2, 2)] * 2"


def write_wav2vec2(path: Path, *, seed: int = 0, layers: int = 2) -> Path:
    """Write a wav2vec 2.0 of 32 dimensions as S3PRL's wav2vec2_local reads it."""
    compat.apply()
    registry.install_lazy_hub()
    module = importlib.import_module("s3prl.upstream.wav2vec2.wav2vec2_model")
    config = module.Wav2Vec2Config(
        encoder_layers=layers,
        encoder_embed_dim=32,
        encoder_ffn_embed_dim=64,
        encoder_attention_heads=2,
        conv_feature_layers=_CONVOLUTIONS,
        conv_pos=16,
        conv_pos_groups=2,
        latent_vars=4,
        final_dim=8,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weights = module.Wav2Vec2Model(config).state_dict()
    settings = {key: getattr(value, "value", value) for key, value in asdict(config).items()}
    torch.save({"task_cfg": {"normalize": False}, "model_cfg": settings, "model_weight": weights}, path)
    return path
