"""Small random upstreams of S3PRL's native families, in the formats of the real checkpoints."""

import torch

WIDTH = 24
KINDS = ("wav2vec2", "xlsr", "hubert", "wavlm", "data2vec")
_FAMILIES = {"xlsr": "wav2vec2"}


def family(kind):
    """Return what `-u FAMILY_local` builds a kind with."""
    return _FAMILIES.get(kind, kind)


def save_upstream(path, kind, dropout=0.0, layers=2):
    """Write a checkpoint: wav2vec2 and hubert have group norm and norm after attention, xlsr layer norm and before."""
    stable = kind == "xlsr"
    settings = {
        "extractor_mode": "layer_norm" if kind in ("xlsr", "data2vec") else "default",
        "layer_norm_first": stable,
        "conv_bias": stable,
        "encoder_layers": layers,
        "encoder_embed_dim": WIDTH,
        "encoder_ffn_embed_dim": 2 * WIDTH,
        "encoder_attention_heads": 4,
        "conv_feature_layers": "[(16,10,5)] + [(16,3,2)] * 4 + [(16,2,2)] * 2",
        "conv_pos": 16,
        "conv_pos_groups": 4,
        **dict.fromkeys(
            ("dropout", "attention_dropout", "activation_dropout", "dropout_input", "dropout_features"), dropout
        ),
    }
    torch.manual_seed(0)
    torch.save(_MAKERS[family(kind)](settings, {"normalize": stable or kind == "data2vec"}), path)
    return path


def _wav2vec2(settings, task):
    from s3prl.upstream.wav2vec2.wav2vec2_model import Wav2Vec2Config, Wav2Vec2Model

    return _native(Wav2Vec2Model(Wav2Vec2Config(**settings)), settings, task)


def _hubert(settings, task):
    from s3prl.upstream.hubert.hubert_model import HubertConfig, HubertModel, HubertPretrainingConfig

    settings, task = settings | {"label_rate": 50.0}, task | {"label_rate": 50.0}
    model = HubertModel(HubertConfig(**settings), HubertPretrainingConfig(**task), [["a", "b"]])
    return _native(model, settings, task) | {"dictionaries_symbols": [["a", "b"]]}


def _data2vec(settings, task):
    from s3prl.upstream.data2vec.data2vec_model import Data2VecAudioConfig, Data2VecAudioModel

    settings = settings | {"pos_conv_depth": 5, "conv_pos": 25}
    model = Data2VecAudioModel(Data2VecAudioConfig(**settings))
    model.remove_pretraining_modules()
    states = _native(model, settings, task)
    states["model_weight"]["_ema"] = {}
    return states


def _wavlm(settings, task):
    from s3prl.upstream.wavlm.WavLM import WavLM, WavLMConfig

    settings = settings | task | {"relative_position_embedding": True, "gru_rel_pos": True}
    return {"cfg": settings, "model": WavLM(WavLMConfig(settings)).state_dict()}


def _native(model, settings, task):
    return {"task_cfg": task, "model_cfg": settings, "model_weight": model.state_dict()}


_MAKERS = {"wav2vec2": _wav2vec2, "hubert": _hubert, "data2vec": _data2vec, "wavlm": _wavlm}
