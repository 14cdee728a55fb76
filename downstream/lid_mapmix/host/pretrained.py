"""Read a folder of `save_pretrained`, or a Hugging Face repository: its settings, and its weights, which are checked.

A config.json that belongs to another model than the weights is refused if the names or shapes of the weights show it.
They do not show ``do_stable_layer_norm`` (both values have the same weights), the number of heads and the activation.
"""

import contextlib
import json
import logging
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants

from ..utils.distributed import is_rank_zero
from ..utils.errors import UserError, is_of_the_system
from . import downloads, registry
from .formats import MODEL_TYPES
from .trust import check_settings, parameters_limited
from .upstreams import is_out_of_memory

logger = logging.getLogger(__name__)
_SAMPLE_RATE = 16_000
FRAME_STEP, FRAME_WINDOW = 320, 400
_WEIGHTS, _MAX_INDEX_BYTES = ("*.safetensors", "*.bin"), 10_000_000
_WHISPER, _STACKED = "whisper", 160
# The settings of mel.py, where a preprocessor_config.json has them.
_FEATURES = {_WHISPER: {"n_fft": 400, "hop_length": 160}, "wav2vec2-bert": {"num_mel_bins": 80, "stride": 2}}
_PREPROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")


def encoder_millions(ckpt: str) -> float | None:
    """Return the millions of parameters in the layers of the model that config.json describes; None without one."""
    try:
        with registry.missing_package_named("hf_auto"):
            settings = _read_config(ckpt, only_here(ckpt))
            config = plain_config(model_classes(ckpt, settings)[0], settings)
        width, inner = config.hidden_size, getattr(config, "encoder_ffn_dim", None) or config.intermediate_size
        # A Conformer has two feed-forward networks and, in its convolutions, three more matrices.
        matrices, networks = (7, 2) if hasattr(config, "conv_depthwise_kernel_size") else (4, 1)
        return config.num_hidden_layers * (matrices * width**2 + 2 * networks * width * inner) / 1e6
    except (UserError, AttributeError, TypeError, ValueError):
        return None  # loading explains it


def load_model(ckpt: str, refresh: bool = False) -> tuple[Any, bool]:
    """Read a model's configuration, check it, and load the weights; return the model, and whether to normalise audio.

    Raises UserError: an unknown kind of model, incomplete or missing weights, or frames that S3PRL does not assume.

    `ckpt`: a folder of `save_pretrained`, or a Hugging Face repository, owner/name. `refresh`: whether to
    download weights that are in the cache again.
    """
    is_local = only_here(ckpt)
    settings = _read_config(ckpt, is_local)
    config_class, model_class = model_classes(f"-k {ckpt}", settings)
    with _explained(ckpt):
        config = plain_config(config_class, settings)
    check_frames(ckpt, config)
    normalizes = _normalizes(ckpt, config, is_local)
    with _explained(ckpt), _unreported(), parameters_limited(_checked_sizes(ckpt)):
        model, report = model_class.from_pretrained(
            ckpt,
            config=config,
            dtype=torch.float32,
            output_loading_info=True,
            local_files_only=is_local,
            force_download=refresh and not is_local,
            ignore_mismatched_sizes=True,
            # The encoder of Whisper is a model of its own.
            key_mapping={r"^(model\.)?encoder\.": ""} if config.model_type == _WHISPER else None,
        )
    own_config = f"-k {ckpt}: expected the weights of the model in config.json, found"
    if differing := sorted(report["mismatched_keys"]):
        key, stored, expected = differing[0]
        raise UserError(
            f"{own_config} {len(differing)} of another shape ({key}: {tuple(stored)} instead of {tuple(expected)}). "
            "Use the config.json of these weights."
        )
    # Some fine-tuned models lack the vector that replaces masked frames.
    if missing := sorted(set(report["missing_keys"]) - {"masked_spec_embed"}):
        raise UserError(
            f"-k {ckpt}: expected all weights of a {config.model_type} model, found {len(missing)} missing "
            f"({missing[0]}, …), which would be random. Use a complete checkpoint."
        )
    if "masked_spec_embed" in report["missing_keys"]:
        # Equal whenever the model is read: the base of an adapter is in no checkpoint, only its digest.
        torch.nn.init.uniform_(model.masked_spec_embed, generator=torch.Generator().manual_seed(0))
    # Weights without a place in the model show that config.json belongs to another model.
    # Heads, quantizers, decoders and adapters are omitted on purpose; the positions' weights have several names.
    parts = "|".join(name for name, _ in model.named_children())
    of_the_model = re.compile(rf"^(?!.*(adapter|decoder|pos_conv_embed))(\w+\.)?({parts})\.")
    if extra := sorted(key for key in report["unexpected_keys"] if of_the_model.search(key)):
        raise UserError(f"{own_config} {len(extra)} others ({extra[0]}, …). Use the config.json of these weights.")
    if is_rank_zero() and (unused := sorted(report["unexpected_keys"])):
        logger.warning("-k %s: %d weights are not used (%s, …)", ckpt, len(unused), unused[0])
    if is_rank_zero() and getattr(config, "adapter_attn_dim", None):
        logger.warning("-k %s: the adapters in its weights are loaded, and make features for one language", ckpt)
    return model, normalizes


def only_here(ckpt: str) -> bool:
    """Return whether nothing is to be downloaded. Without a network, transformers would retry for half a minute."""
    return Path(ckpt).exists() or not downloads.are_allowed() or not downloads.reachable(constants.ENDPOINT)


def _read_config(ckpt: str, is_local: bool) -> dict[str, Any]:
    import transformers

    with _explained(ckpt):
        # transformers treats a folder without this file like one with an empty file.
        if Path(ckpt).exists() and not (Path(ckpt) / "config.json").is_file():
            raise FileNotFoundError("there is no config.json")
        return transformers.PretrainedConfig.get_config_dict(ckpt, local_files_only=is_local)[0]


def _checked_sizes(ckpt: str) -> list[int]:
    """Return the bytes of a folder's weights. Raises ValueError: its list names other files, or is too large."""
    folder = Path(ckpt)
    files = {path.name: path.stat().st_size for pattern in _WEIGHTS for path in folder.glob(pattern)}
    for index in folder.glob("*.index.json"):
        if index.stat().st_size > _MAX_INDEX_BYTES:
            raise ValueError(f"expected at most {_MAX_INDEX_BYTES:,} bytes of {index.name}, found more")
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        if unknown := [name for name in names if not isinstance(name, str) or name not in files]:
            raise ValueError(f"{index.name}: expected files of weights in this folder, found {unknown[0]!a:.80}")
    return list(files.values())


@contextlib.contextmanager
def _unreported() -> Iterator[None]:
    """Silence transformers' report about weights, which are checked here."""
    from transformers.utils import logging as log

    verbosity = log.get_verbosity()
    log.set_verbosity_error()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)


def model_classes(place: str, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the classes of configuration and model for a config.json.

    Raises UserError: a model_type that is not loaded, or a model that needs the code of its repository.

    `place`: of the settings, for errors.
    """
    import transformers
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    kind = settings.get("model_type")
    if not isinstance(kind, str) or kind not in MODEL_TYPES:
        raise UserError(
            f"{place}: expected a config.json with a model_type of {', '.join(MODEL_TYPES)}, found {kind!a:.80}. Use "
            "another model."
        )
    if settings.get("auto_map"):
        raise UserError(
            f"{place}: expected a model of transformers, found one with its own code (auto_map in config.json), which "
            "is not run. Use a model without it; if its weights fit transformers' own model, remove that line."
        )
    model_class = WhisperEncoder if kind == _WHISPER else getattr(transformers, f"{MODEL_TYPES[kind]}Model")
    return getattr(transformers, f"{MODEL_TYPES[kind]}Config"), model_class


def plain_config(config_class: Any, settings: dict[str, Any]) -> Any:
    """Return a configuration with the settings of the model's architecture only.

    Others may make transformers download or import code (``auto_map``, ``_attn_implementation``,
    ``quantization_config``).
    """
    check_settings(settings)
    known = {key for key in config_class().to_dict() if not key.startswith("_")}
    return config_class.from_dict({key: value for key, value in settings.items() if key in known})


def check_frames(ckpt: str, config: Any) -> None:
    """Refuse front ends whose frames are not those that S3PRL, and the padding masks, assume."""
    if config.model_type == "wav2vec2-bert" and config.feature_projection_input_dim != _STACKED:
        raise UserError(
            f"-k {ckpt}: expected frames of {_STACKED} mel values, as of w2v-BERT 2.0, found "
            f"{config.feature_projection_input_dim}. Use a checkpoint with the usual features."
        )
    if hasattr(config, "conv_stride"):
        steps = [math.prod(config.conv_stride[:layer]) for layer in range(len(config.conv_kernel) + 1)]
        window = 1 + sum((kernel - 1) * step for kernel, step in zip(config.conv_kernel, steps, strict=False))
        if (steps[-1], window) != (FRAME_STEP, FRAME_WINDOW):
            raise UserError(
                f"-k {ckpt}: expected frames of {FRAME_WINDOW} samples every {FRAME_STEP}, as S3PRL assumes, found "
                f"{window} every {steps[-1]}. Use a checkpoint with the usual front end."
            )
    if getattr(config, "add_adapter", False):
        raise UserError(
            f"-k {ckpt}: expected no adapter, found one, which reduces the number of frames. Use a checkpoint with "
            "add_adapter: false."
        )


def _normalizes(ckpt: str, config: Any, is_local: bool) -> bool:
    """Return whether waveforms are normalised; true for models without a preprocessor file.

    Raises UserError: the model expects another sampling rate or other features, or the file cannot be read.
    """
    from transformers import Wav2Vec2FeatureExtractor

    folder = Path(ckpt)
    if folder.exists() and not any((folder / name).is_file() for name in _PREPROCESSOR_FILES):
        return True
    try:
        preprocessor = Wav2Vec2FeatureExtractor.from_pretrained(ckpt, local_files_only=is_local)
    except OSError as error:
        if folder.exists():
            raise UserError(
                f"-k {ckpt}: preprocessor_config.json cannot be read: {error}. Use an undamaged checkpoint."
            ) from error
        return True  # a repository without one
    if preprocessor.sampling_rate != _SAMPLE_RATE:
        raise UserError(
            f"-k {ckpt}: expected a model for audio at {_SAMPLE_RATE} Hz, found {preprocessor.sampling_rate} Hz. Use "
            "another checkpoint."
        )
    for key, value in _FEATURES.get(config.model_type, {}).items():
        if (found := getattr(preprocessor, key, value)) != value:
            raise UserError(
                f"-k {ckpt}: expected {key} {value} in preprocessor_config.json, as of {config.model_type}, found "
                f"{found!a:.80}. Use a checkpoint with the usual features."
            )
    return bool(preprocessor.do_normalize)


@contextlib.contextmanager
def _explained(ckpt: str) -> Iterator[None]:
    """Raise a UserError of one line for errors of transformers, whose messages are a paragraph about its cache."""
    try:
        yield
    except (UserError, ImportError):  # transformers' models are not importable with an old torch
        raise
    # transformers, safetensors and torch have their own exceptions for a damaged file.
    except Exception as error:
        if is_out_of_memory(error) or is_of_the_system(error):
            raise
        if Path(ckpt).exists():
            reason = " ".join(str(error).split())
            raise UserError(
                f"-k {ckpt}: expected a complete folder of save_pretrained (config.json, model.safetensors), found "
                f"another content: {reason}. Use an undamaged checkpoint."
            ) from error
        raise UserError(
            f"-k {ckpt}: is neither a folder nor in the cache, and cannot be downloaded from {constants.ENDPOINT}. "
            "Download config.json, preprocessor_config.json and model.safetensors into a folder, and pass that by -k."
        ) from error
