r"""Anchors per step that fit into a GPU of 24 or 80 GB: the batch sizes of upstream_configs/.

    .venv/bin/python bench/memory.py
    .venv/bin/python bench/memory.py --kinds large --seconds 4 --precision bf16

The estimate is computed on a CPU: the tensors that one waveform keeps for the backward pass are counted on models with
one and with two layers of random weights, and their difference is multiplied by the number of layers. Added are the
largest tensors of the front end, weights, gradients, both moments of Adam, and the memory of CUDA itself. With a frozen
upstream the hidden states of the layers are counted instead: as a list, stacked, and weighted. With checkpointing
(runner.gradient_checkpointing) each layer keeps its input only, and one layer at a time all its tensors.
"""

import argparse
import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from lid_mapmix.data.audio.reading import SAMPLE_RATE
from lid_mapmix.host import compat, registry
from lid_mapmix.host.hugging_face import HuggingFaceUpstream
from lid_mapmix.host.native import use_fused_attention
from lid_mapmix.model import DialectClassifier, Encoder

_LARGE = {"extractor_mode": "layer_norm", "conv_bias": True, "layer_norm_first": True}
_WAVLM = {"relative_position_embedding": True, "num_buckets": 320, "max_distance": 800, "gru_rel_pos": True}
_STABLE = {"feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True}


@dataclass(frozen=True)
class Kind:
    """An architecture: its name, where S3PRL has it, and its settings."""

    name: str
    family: str
    layers: int
    dim: int
    ffn: int
    heads: int
    more: dict[str, Any]


KINDS = (
    Kind("base", "wav2vec2", 12, 768, 3072, 12, {}),
    Kind("data2vec_base", "wav2vec2", 12, 768, 3072, 12, {"extractor_mode": "layer_norm"}),
    Kind("large", "wav2vec2", 24, 1024, 4096, 16, _LARGE),
    Kind("1b", "wav2vec2", 48, 1280, 5120, 16, _LARGE),
    Kind("2b", "wav2vec2", 48, 1920, 7680, 16, _LARGE),
    Kind("wavlm_base", "wavlm", 12, 768, 3072, 12, _WAVLM),
    Kind(
        "wavlm_large", "wavlm", 24, 1024, 4096, 16, {**_WAVLM, "extractor_mode": "layer_norm", "layer_norm_first": True}
    ),
    # Built by transformers, by their model_type.
    Kind("mhubert_147", "hubert", 12, 768, 3072, 12, {}),
    Kind("mms_300m", "hf_wav2vec2", 24, 1024, 4096, 16, _STABLE),
    Kind("mms_1b", "hf_wav2vec2", 48, 1280, 5120, 16, _STABLE),
    Kind(
        "w2v_bert_2", "wav2vec2-bert", 24, 1024, 4096, 16, {"hidden_act": "swish", "feature_projection_input_dim": 160}
    ),
    Kind("whisper_small", "whisper", 12, 768, 3072, 12, {"num_mel_bins": 80}),
    Kind("whisper_large_v3", "whisper", 32, 1280, 5120, 20, {"num_mel_bins": 128}),
)
_FLOAT = 4
# Weights, gradients, and Adam's two moments.
_BYTES_A_WEIGHT = 4 * _FLOAT
# CUDA's own, and what the allocator cannot use.
_CONTEXT, _USABLE = 1.0, 0.9  # GiB; share of the card
_FRAME_STEP, _FBANK_STEP, _FBANK_DIM = 320, 160, 240
_FRONT_END_CHANNELS, _FIRST_STRIDE, _FRONT_END_COPIES = 512, 5, 3
_STATE_COPIES = 3


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--kinds",
        nargs="+",
        choices=[kind.name for kind in KINDS],
        metavar="KIND",
        help="kinds of upstreams; default: all",
    )
    parser.add_argument("--seconds", type=float, default=8.0, help="duration of a crop; default: 8")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--checkpointing", action="store_true", help="assume runner.gradient_checkpointing")
    parser.add_argument("--cards", type=int, nargs="+", default=[24, 80], metavar="GB", help="default: 24 80")
    options = parser.parse_args()
    compat.apply()
    registry.install_lazy_hub()
    print(f"crops of {options.seconds:g} s, {options.precision}; anchors per step, each with a partner")
    columns = ["weights", "MiB per waveform", *(f"fine-tuned {card} GB" for card in options.cards)]
    columns += [f"frozen {card} GB" for card in options.cards]
    print(f"{'':<14}" + "".join(f"{column:>18}" for column in columns))
    for kind in KINDS:
        if options.kinds is None or kind.name in options.kinds:
            _print(kind, options)
    if options.kinds is None:
        _print_filter_banks(options)


def _print(kind: Kind, options: argparse.Namespace) -> None:
    samples = round(options.seconds * SAMPLE_RATE)
    models = [build_model(kind, layers) for layers in (1, 2)]
    one, two = (
        kept_bytes(
            lambda waveforms, model=model: run_forward(model.train(), waveforms),
            model,
            samples,
            options.precision,
        )
        for model in models
    )
    a_layer = two - one
    kept = one + a_layer * (kind.layers - 1)
    if options.checkpointing:
        kept = one + (kind.layers - 1) * (samples // _FRAME_STEP) * kind.dim * _FLOAT
    smaller, larger = (sum(each.numel() for each in model.parameters()) for model in models)
    weights = smaller + (larger - smaller) * (kind.layers - 1)
    front_end = _FRONT_END_COPIES * _FRONT_END_CHANNELS * samples // _FIRST_STRIDE * _FLOAT
    states = _STATE_COPIES * (kind.layers + 1) * (samples // _FRAME_STEP) * kind.dim * _FLOAT
    sizes = [_anchors(card, weights * _BYTES_A_WEIGHT, kept + front_end) for card in options.cards]
    sizes += [_anchors(card, weights * _FLOAT, states + front_end) for card in options.cards]
    _print_row(kind.name, weights, kept, sizes)


def _print_filter_banks(options: argparse.Namespace) -> None:
    """The x-vector network of fbank.yaml and mfcc.yaml on filter banks."""
    samples = round(options.seconds * SAMPLE_RATE)
    model = DialectClassifier(_FBANK_DIM, _FBANK_STEP, 100, encoder=Encoder.XVECTOR, encoder_channels=512).train()

    def latents(waveforms: torch.Tensor) -> torch.Tensor:
        counts = torch.full((len(waveforms),), samples)
        features = torch.randn(len(waveforms), (samples - 400) // _FBANK_STEP + 1, _FBANK_DIM)
        return model.latents(features, torch.zeros_like(counts), counts)

    kept = kept_bytes(latents, model, samples, options.precision)
    weights = sum(each.numel() for each in model.parameters())
    sizes = [_anchors(card, weights * _BYTES_A_WEIGHT, kept) for card in options.cards]
    _print_row("fbank, mfcc", weights, kept, sizes * 2)


def _print_row(name: str, weights: int, kept: int, sizes: list[int]) -> None:
    cells = [f"{weights / 1e6:.0f} M", f"{kept / 2**20:.0f}", *map(str, sizes)]
    print(f"{name:<14}" + "".join(f"{cell:>18}" for cell in cells), flush=True)


def _anchors(card: int, fixed: int, a_waveform: int) -> int:
    free = (card * _USABLE - _CONTEXT) * 2**30 - fixed
    return max(math.floor(free / (2 * a_waveform)), 1)


def run_forward(model: Any, waveforms: torch.Tensor) -> Any:
    """Return the features that a model of :func:`build_model` computes of (batch, samples) waveforms."""
    return model(list(waveforms)) if hasattr(model, "architecture") else model.extract_features(waveforms, None)


def _hugging_face(kind: Kind, layers: int) -> Any:
    names = ("d_model", "encoder_layers", "encoder_ffn_dim", "encoder_attention_heads")
    if kind.family != "whisper":
        names = ("hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads")
    settings = dict(zip(names, (kind.dim, layers, kind.ffn, kind.heads), strict=True))
    settings |= {"model_type": kind.family.removeprefix("hf_"), **kind.more}
    model = HuggingFaceUpstream.of_architecture(kind.name, config=settings, normalize=True)
    model.train_front_end(False)
    return model


def build_model(kind: Kind, layers: int) -> Any:
    """Build a model of an architecture, with random weights and another number of layers."""
    if kind.family not in ("wav2vec2", "wavlm"):
        return _hugging_face(kind, layers)
    settings = {
        "encoder_layers": layers,
        "encoder_embed_dim": kind.dim,
        "encoder_ffn_embed_dim": kind.ffn,
        "encoder_attention_heads": kind.heads,
        "encoder_layerdrop": 0.0,
        **kind.more,
    }
    if kind.family == "wavlm":
        from s3prl.upstream.wavlm.WavLM import WavLM, WavLMConfig  # noqa: PLC0415

        model = WavLM(WavLMConfig(settings))
    else:
        from s3prl.upstream.wav2vec2.wav2vec2_model import Wav2Vec2Config, Wav2Vec2Model  # noqa: PLC0415

        model = Wav2Vec2Model(Wav2Vec2Config(**settings))
        model.encoder.required_seq_len_multiple = 1
    # As S3PRL fine-tunes it: the front end is frozen.
    model.feature_grad_mult = 0.0
    use_fused_attention(model.encoder)
    return model


def kept_bytes(forward: Callable[[torch.Tensor], Any], model: Any, samples: int, precision: str) -> int:
    """Count the bytes that one more waveform leaves for the backward pass, so that weights do not count."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    totals = []
    for count in (1, 2):
        kept: dict[int, torch.UntypedStorage] = {}

        def keep(tensor: torch.Tensor, kept: dict[int, torch.UntypedStorage] = kept) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = storage
            return tensor

        autocast = torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), autocast:
            forward(torch.randn(count, samples))
        totals.append(sum(storage.nbytes() for storage in kept.values()))
    return totals[1] - totals[0]


if __name__ == "__main__":
    main()
