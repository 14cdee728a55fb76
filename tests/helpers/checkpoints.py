"""Small random upstreams in the checkpoint formats of the real ones, as S3PRL and transformers read them.

A family's model is small in width and depth only: its front end has the real kernels and strides, so that frames come
as in the real one. Weights are larger than those a model usually starts from, unless these are asked for, or attention
would hardly look at anything and a fault in its mask would not show.
"""

import hashlib
import importlib
from dataclasses import dataclass
from pathlib import Path

import torch
from lid_mapmix.host import compat

CONVERTED = "https://huggingface.co/s3prl/converted_ckpts/resolve/main"
WIDTH, LAYERS, HEADS = 32, 3, 4
# The front end is narrower, or the native models would leave out the projection from it to the encoder.
_FRONT_WIDTH = 16
_FRONT_END = "[(16,10,5)] + [(16,3,2)] * 4 + [(16,2,2)] * 2"
_MEL = 80
_DROPOUTS = ("dropout", "attention_dropout", "activation_dropout", "dropout_input", "dropout_features")
# A layer of a Hugging Face model → the same layer of a native one.
_LAYER_NAMES = {
    "attention": "self_attn",
    "layer_norm": "self_attn_layer_norm",
    "feed_forward.intermediate_dense": "fc1",
    "feed_forward.output_dense": "fc2",
    "final_layer_norm": "final_layer_norm",
}
_OTHER_NAMES = {
    "feature_projection.layer_norm": "layer_norm",
    "feature_projection.projection": "post_extract_proj",
    "encoder.pos_conv_embed.conv.parametrizations.weight.original0": "encoder.pos_conv.0.weight_g",
    "encoder.pos_conv_embed.conv.parametrizations.weight.original1": "encoder.pos_conv.0.weight_v",
    "encoder.pos_conv_embed.conv.bias": "encoder.pos_conv.0.bias",
    "encoder.layer_norm": "encoder.layer_norm",
}


@dataclass(frozen=True)
class Shape:
    """What tells the models of a family apart.

    Attributes
    ----------
    stable : layer norm in the front end and before attention (large models, XLSR), else group norm (base models).
    dropout : probability of every dropout.
    layerdrop : probability to drop a layer in training, as pretraining leaves it in the checkpoint.
    layers : how many.
    is_initial : whether a native model has the weights that S3PRL gives it. They are larger otherwise, and wav2vec 2.0
        and HuBERT have those of the Hugging Face folder of the same seed.
    """

    stable: bool = False
    dropout: float = 0.0
    layerdrop: float = 0.0
    layers: int = LAYERS
    is_initial: bool = False


def cached(home: Path, file: str) -> Path:
    """Return where S3PRL keeps a converted checkpoint: under a hash of its address."""
    name = hashlib.sha256(f"{CONVERTED}/{file}".encode()).hexdigest()
    return Path(home) / ".cache" / "s3prl" / "download" / f"{name}.{file}"


def save_wav2vec2(path: Path, shape: Shape = Shape(), seed: int = 0) -> Path:
    """Write ``{task_cfg, model_cfg, model_weight}``, as for wav2vec2, xlsr_53 and wav2vec2_local."""
    settings, module = _native_settings(shape), _native_module("wav2vec2.wav2vec2_model")
    model = _weighed(lambda: module.Wav2Vec2Model(module.Wav2Vec2Config(**settings)), "wav2vec2", shape, seed)
    return _save(path, task_cfg={"normalize": shape.stable}, model_cfg=settings, model_weight=model.state_dict())


def save_hubert(path: Path, shape: Shape = Shape(), seed: int = 0) -> Path:
    """Write the same with ``dictionaries_symbols``, as for hubert and hubert_local."""
    settings, module = _native_settings(shape) | {"label_rate": 50.0}, _native_module("hubert.hubert_model")
    task = {"normalize": shape.stable, "label_rate": 50.0}
    symbols = [["a", "b", "c"]]
    configs = module.HubertConfig(**settings), module.HubertPretrainingConfig(**task)
    weights = _weighed(lambda: module.HubertModel(*configs, symbols), "hubert", shape, seed).state_dict()
    return _save(path, task_cfg=task, model_cfg=settings, model_weight=weights, dictionaries_symbols=symbols)


def save_wavlm(path: Path, shape: Shape = Shape(), seed: int = 0) -> Path:
    """Write ``{cfg, model}``, as for wavlm_base_plus and wavlm_local; its attention has relative positions."""
    settings, module = _native_settings(shape), _native_module("wavlm.WavLM")
    settings |= {"normalize": shape.stable, "relative_position_embedding": True, "gru_rel_pos": True}
    settings |= {"num_buckets": 32, "max_distance": 80}
    model = _weighed(lambda: module.WavLM(module.WavLMConfig(settings)), None, shape, seed)
    return _save(path, cfg=settings, model=model.state_dict())


def save_data2vec(path: Path, shape: Shape = Shape(), seed: int = 0) -> Path:
    """Write the wav2vec 2.0 format, as for data2vec_local: layer norm in front, positions by five layers."""
    settings, module = _native_settings(shape), _native_module("data2vec.data2vec_model")
    settings |= {"extractor_mode": "layer_norm", "pos_conv_depth": 5, "conv_pos": 25}
    model = _weighed(lambda: module.Data2VecAudioModel(module.Data2VecAudioConfig(**settings)), None, shape, seed)
    model.remove_pretraining_modules()
    weights = model.state_dict() | {"_ema": {}}
    return _save(path, task_cfg={"normalize": True}, model_cfg=settings, model_weight=weights)


def save_multires_hubert(path: Path, shape: Shape = Shape(), seed: int = 0) -> Path:
    """Write the format of HuBERT, as for multires_hubert_local: frames at two rates."""
    module, ratios = _native_module("multires_hubert.hubert_model"), {"label_rate_ratios": [1, 2]}
    settings = _native_settings(shape) | {"label_rate": 50.0} | ratios
    task = {"normalize": shape.stable, "label_rate": 50.0} | ratios
    symbols = [["a", "b", "c"], ["a", "b"]]
    configs = module.MultiresHubertConfig(**settings), module.MultiresHubertPretrainingConfig(**task)
    weights = _weighed(lambda: module.MultiresHubertModel(*configs, symbols), None, shape, seed).state_dict()
    return _save(path, task_cfg=task, model_cfg=settings, model_weight=weights, dictionaries_symbols=symbols)


def save_tera(path: Path, shape: Shape = Shape(), seed: int = 0) -> Path:
    """Write ``{Config, Transformer, …}``, as for tera_local: a Transformer on log mel spectrograms."""
    module = _native_module("mockingjay.model")
    settings = {
        **{"hidden_size": WIDTH, "num_hidden_layers": shape.layers, "num_attention_heads": HEADS},
        **{"intermediate_size": 2 * WIDTH, "hidden_act": "gelu", "hidden_dropout_prob": shape.dropout},
        **{"attention_probs_dropout_prob": shape.dropout, "initializer_range": 0.2, "layer_norm_eps": 1e-12},
        **{"share_layer": False, "pre_layer_norm": False},
    }
    feature = {"feat_type": "mel", "channel": 0, "log": True, "delta": 0, "cmvn": True}
    audio = {"sample_rate": 16_000, "win_ms": 25, "hop_ms": 10, "n_freq": 201, "n_mels": 80, "target_level": -25}
    audio |= {"input": feature, "target": dict(feature)}
    model = _weighed(lambda: module.TransformerModel(module.TransformerConfig(settings), 80), None, shape, seed)
    config = {"transformer": settings, "audio": audio, "task": {"sequence_length": 1500}, "dataloader": {"n_jobs": 8}}
    return _save(path, Config=config, Transformer=model.state_dict(), SpecHead={}, Global_step=1)


def save_apc(path: Path, shape: Shape = Shape(), seed: int = 0) -> Path:
    """Write ``{config, model}``, as for apc_local: recurrent layers on filter banks."""
    module = _native_module("apc.apc")
    paras = {"hidden_size": WIDTH, "num_layers": 3, "dropout": shape.dropout, "residual": True}
    model = _weighed(lambda: module.APC(40, **paras), None, shape, seed)
    audio = {"feat_type": "fbank", "feat_dim": 40, "decode_wav": False, "cmvn": True}
    config = {"data": {"audio": audio, "corpus": {"path": "LibriSpeech"}}, "model": {"paras": paras}}
    return _save(path, config=config, model=model.state_dict())


# By the names that tests give them; xlsr is a wav2vec2 with layer norm.
NATIVE = {
    "wav2vec2": save_wav2vec2,
    "xlsr": save_wav2vec2,
    "hubert": save_hubert,
    "wavlm": save_wavlm,
    "data2vec": save_data2vec,
}


def save_initial(path: Path, kind: str = "wav2vec2", seed: int = 0, layers: int = 2, dropout: float = 0.0) -> Path:
    """Write a small native model with the weights that a training begins with."""
    return NATIVE[kind](path, Shape(kind == "xlsr", dropout, layers=layers, is_initial=True), seed)


def local(kind: str) -> str:
    """Return which upstream loads a native model."""
    return f"{'wav2vec2' if kind == 'xlsr' else kind}_local"


def save_hugging_face(
    folder: Path,
    kind: str,
    shape: Shape = Shape(),
    seed: int = 0,
    *,
    preprocessor: bool = True,
    dtype: torch.dtype = torch.float32,
    **config: object,
) -> Path:
    """Write a folder as `save_pretrained` does, of the weights that the native file of this seed has, if there is one.

    Parameters
    ----------
    folder : to write.
    kind : a model_type that is loaded.
    shape, seed : the model.
    preprocessor : whether there is a preprocessor_config.json.
    dtype : of the weights in the file.
    config : of config.json, over the usual.
    """
    model = _hugging_face_model(kind, shape, seed, **config)
    model.to(dtype).save_pretrained(folder)
    if preprocessor:
        extractor(kind, shape).save_pretrained(folder)
    return folder


def extractor(kind: str, shape: Shape = Shape()):
    """Return the feature extractor of transformers for a model_type."""
    import transformers

    if kind == "whisper":
        return transformers.WhisperFeatureExtractor(feature_size=_MEL)
    if kind == "wav2vec2-bert":
        return transformers.SeamlessM4TFeatureExtractor()
    return transformers.Wav2Vec2FeatureExtractor(do_normalize=shape.stable, return_attention_mask=shape.stable)


def _hugging_face_settings(kind, shape):
    """Return what config.json holds of a small model, besides what all kinds have."""
    drops = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "final_dropout")
    usual = {
        **{"hidden_size": WIDTH, "num_hidden_layers": shape.layers, "num_attention_heads": HEADS},
        **{"intermediate_size": 2 * WIDTH, "layerdrop": shape.layerdrop, "initializer_range": 0.2},
        **dict.fromkeys(drops, shape.dropout),
    }
    front_end = {
        **{"conv_dim": (_FRONT_WIDTH,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4},
        **{"do_stable_layer_norm": shape.stable, "conv_bias": shape.stable},
        **{"feat_extract_norm": "layer" if shape.stable else "group"},
    }
    convolution = {"conv_depthwise_kernel_size": 7, "conformer_conv_dropout": shape.dropout}
    if kind == "whisper":
        sizes = {"encoder_layers": shape.layers, "encoder_attention_heads": HEADS, "encoder_ffn_dim": 2 * WIDTH}
        decoder = {name.replace("encoder", "decoder"): value for name, value in sizes.items()}
        rest = {"d_model": WIDTH, "num_mel_bins": _MEL, "vocab_size": 20, "pad_token_id": 0, "init_std": 0.2}
        rest |= {"bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1, "max_target_positions": 8}
        drops = {name: shape.dropout for name in ("dropout", "attention_dropout", "activation_dropout")}
        return sizes | decoder | rest | drops | {"encoder_layerdrop": shape.layerdrop}
    if kind == "wav2vec2-bert":
        return usual | convolution | {"left_max_position_embeddings": 16, "right_max_position_embeddings": 4}
    if kind in ("sew", "sew-d"):
        front_end["conv_dim"] = (_FRONT_WIDTH,) * 13
    if kind == "data2vec-audio":
        front_end |= {"num_conv_pos_embeddings": 5, "conv_pos_kernel_size": 7}
    if kind == "wav2vec2-conformer":
        front_end |= convolution
    if kind == "wavlm":
        front_end |= {"num_buckets": 32, "max_bucket_distance": 80}
    return usual | front_end


def _hugging_face_model(kind, shape, seed, **config):
    import transformers
    from lid_mapmix.host.formats import MODEL_TYPES

    config_class = getattr(transformers, f"{MODEL_TYPES[kind]}Config")
    model_class = getattr(transformers, f"{MODEL_TYPES[kind]}Model")
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = model_class(config_class(**_hugging_face_settings(kind, shape) | config))
        for parameter in model.parameters():
            if parameter.dim() == 1:  # they start as zeros and ones; as such a missing one would not be noticed
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def _native_settings(shape: Shape) -> dict:
    return {
        "extractor_mode": "layer_norm" if shape.stable else "default",
        "encoder_layers": shape.layers,
        "encoder_embed_dim": WIDTH,
        "encoder_ffn_embed_dim": 2 * WIDTH,
        "encoder_attention_heads": HEADS,
        "conv_feature_layers": _FRONT_END,
        "conv_bias": shape.stable,
        "layer_norm_first": shape.stable,
        "conv_pos": 16,
        "conv_pos_groups": 4,
        "final_dim": 8,
        "encoder_layerdrop": shape.layerdrop,
        **dict.fromkeys(_DROPOUTS, shape.dropout),
    }


def _native_module(name):
    compat.apply()
    return importlib.import_module(f"s3prl.upstream.{name}")


def _weighed(build, kind, shape, seed):
    """Build a native model; where it has a Hugging Face counterpart `kind`, with the weights of that one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build()
    if shape.is_initial:
        return model
    if kind is None:
        return _enlarged(model)
    theirs = _hugging_face_model(kind, shape, seed).state_dict()
    loaded = model.load_state_dict(
        {_native_name(name, shape): value for name, value in theirs.items() if _native_name(name, shape)}, strict=False
    )
    assert not loaded.unexpected_keys
    needed = [name for name in loaded.missing_keys if name.startswith(("encoder", "feature", "layer_norm", "post"))]
    assert not needed, needed
    return model


def _native_name(name: str, shape: Shape) -> str | None:
    if name == "masked_spec_embed":
        return "mask_emb"
    parts = name.split(".")
    if name.startswith("feature_extractor.conv_layers"):
        number, what, leaf = parts[2], parts[3], parts[4]
        place = "0" if what == "conv" else ("2.1" if shape.stable else "2")
        return f"feature_extractor.conv_layers.{number}.{place}.{leaf}"
    if name.startswith("encoder.layers"):
        inner, leaf = ".".join(parts[3:-1]), parts[-1]
        for theirs, ours in _LAYER_NAMES.items():
            if inner == theirs or inner.startswith(f"{theirs}."):
                return f"encoder.layers.{parts[2]}.{ours}{inner.removeprefix(theirs)}.{leaf}"
    for theirs, ours in _OTHER_NAMES.items():
        if name == theirs or name.startswith(f"{theirs}."):
            return ours + name.removeprefix(theirs)
    raise AssertionError(name)


def _enlarged(model):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2 and name.startswith("encoder"):
                parameter.mul_(3)
    return model


def _save(path: Path, **content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def spoil(path: Path, **settings: object) -> Path:
    """Replace settings in a native checkpoint; it stays plain data."""
    content = torch.load(path, weights_only=True)
    content["cfg" if "cfg" in content else "model_cfg"].update(settings)
    return _save(path, **content)


def code(marker: Path) -> str:
    """Return a text that makes a file if it is evaluated, and is a front end then."""
    return f"[open({str(marker)!r}, 'w').close() or (16,10,5)] + [(16,3,2)] * 4 + [(16,2,2)] * 2"
