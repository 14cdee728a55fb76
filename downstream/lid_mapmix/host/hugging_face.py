"""Patched `hf_wav2vec2_custom` and `hf_hubert_custom`, which can be fine-tuned; they replace S3PRL's.

With transformers 5, S3PRL's versions return wrong layers in training: randomly dropped layers have no entry in the
list, and the last entry lacks the final layer norm. They also mask frames at random, train the convolutional front end,
and look for another model's preprocessor on the network if a folder has none. Here:

- no layer is dropped; ``hidden_states`` always has one entry per layer and one before them, the last of them after the
  final layer norm; there is also ``last_hidden_state``, as in S3PRL's native upstreams;
- the front end is frozen and nothing is masked, unless :class:`~.upstreams.UpstreamSettings` request it;
- waveforms are normalised on their device, as in pretraining (fairseq) and in S3PRL's native upstreams, and batches of
  one length have no attention mask;
- weights are float32, whatever the dtype of the file.

A config.json that belongs to another model than the weights is refused if the names or shapes of the weights show it.
They do not show ``do_stable_layer_norm`` (both values have the same weights), the number of heads and the activation.
"""

# ruff: noqa: PLC0415 - transformers takes seconds to import, and only these upstreams need it.

import contextlib
import functools
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import layer_norm
from torch.nn.utils.rnn import pad_sequence

from ..utils.errors import UserError
from . import downloads, registry
from .trust import check_settings
from .upstreams import MODEL_TYPES, is_out_of_memory

_SAMPLE_RATE = 16_000
_FRAME_STEP, _FRAME_WINDOW = 320, 400
# Heads, quantizers and adapters are omitted on purpose; the positions' weights have several names.
_OF_THE_MODEL = re.compile(r"^(\w+\.)?(feature_extractor|feature_projection|encoder)\.(?!pos_conv_embed)(?!.*adapter)")
_PREPROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")


class HuggingFaceUpstream(torch.nn.Module):
    """A wav2vec 2.0 or HuBERT model of transformers, with S3PRL's interface of an upstream.

    Parameters
    ----------
    model : of transformers.
    normalize : whether waveforms are normalised.
    """

    def __init__(self, model: Any, normalize: bool) -> None:
        super().__init__()
        self.model = model
        self.model.config.layerdrop = 0.0
        self.model.config.tie_last_hidden_states = True
        self.model.config.apply_spec_augment = False
        self.normalize = normalize
        self._spec_augment = False

    @classmethod
    def of_checkpoint(cls, name: str, ckpt: str) -> "HuggingFaceUpstream":
        """Load a checkpoint.

        Parameters
        ----------
        name : ``hf_wav2vec2_custom`` or ``hf_hubert_custom``.
        ckpt : a folder written by `save_pretrained`, or a Hugging Face repository, owner/name.

        Raises
        ------
        UserError : the checkpoint is of another kind, incomplete or missing, or its frames are not those that S3PRL
            assumes.
        """
        # Without a network, transformers would retry for half a minute.
        only_here = Path(ckpt).exists() or not downloads.reachable(_endpoint())
        return cls(_load(name, ckpt, only_here), _normalizes(ckpt, only_here))

    @classmethod
    def of_architecture(cls, name: str, *, config: dict[str, Any], normalize: bool) -> "HuggingFaceUpstream":
        """Build a model with fresh weights from the result of :meth:`architecture`."""
        config_class, model_class = _classes(MODEL_TYPES[name])
        settings = _plain_config(config_class, config)
        _check_frames(name, settings)
        return cls(model_class(settings), normalize)

    def architecture(self) -> dict[str, Any]:
        """Return the settings of the model, as plain values."""
        return {"config": self.model.config.to_dict(), "normalize": self.normalize}

    def train_front_end(self, trains: bool) -> None:
        """Train the convolutional front end, or freeze it."""
        front_end = self.model.feature_extractor
        front_end.requires_grad_(trains)
        front_end._requires_grad = trains  # transformers' own flag

    def spec_augment(self, masks: bool) -> None:
        """Switch on masking of frames and channels in training as in config.json, or switch it off.

        Raises
        ------
        UserError : config.json masks nothing.
        """
        config = self.model.config
        if masks and not (config.mask_time_prob > 0 or config.mask_feature_prob > 0):
            raise UserError(
                "upstream.spec_augment: expected mask_time_prob or mask_feature_prob above 0 in the checkpoint's "
                "config.json, found 0. Set one of them there, or set spec_augment to false."
            )
        self._spec_augment = masks

    def get_downsample_rates(self, key: str | None = None) -> int:
        """Return the number of samples between two frames."""
        return _FRAME_STEP

    def forward(self, wavs: list[torch.Tensor]) -> dict[str, Any]:
        """Return features of waveforms.

        Parameters
        ----------
        wavs : (samples,) float32 torch.Tensor each, at 16 kHz, with at least 400 samples.

        Returns
        -------
        ``hidden_states``, a tuple of (batch, frames, dim); ``last_hidden_state``, the last of them.
        """
        if self.normalize:
            wavs = [layer_norm(wav, wav.shape) for wav in wavs]
        lengths = torch.tensor([len(wav) for wav in wavs], device=wavs[0].device)
        padded = pad_sequence(wavs, batch_first=True)
        equal = len({len(wav) for wav in wavs}) == 1
        mask = None if equal else torch.arange(padded.shape[1], device=lengths.device) < lengths[:, None]
        with self._masking(min(len(wav) for wav in wavs)):
            output = self.model(padded, attention_mask=mask, output_hidden_states=True)
        return {"hidden_states": output.hidden_states, "last_hidden_state": output.last_hidden_state}

    @contextlib.contextmanager
    def _masking(self, samples: int) -> Iterator[None]:
        """Switch masking on for a step, if it is requested and the shortest waveform is longer than a mask."""
        config = self.model.config
        frames = (samples - _FRAME_WINDOW) // _FRAME_STEP + 1
        config.apply_spec_augment = self.training and self._spec_augment and frames > config.mask_time_length
        if not config.apply_spec_augment:
            yield
            return
        # transformers draws from NumPy's global generator; the generator of a step is torch's (data/loader.py).
        state = np.random.get_state()  # noqa: NPY002
        np.random.seed(int(torch.randint(2**31, ())))  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002
            config.apply_spec_augment = False


def hugging_face_builders() -> dict[str, Callable[..., Any]]:
    """Return name → function that builds this hf_* upstream, in place of S3PRL's."""

    def build(name: str, ckpt: str, **_: Any) -> Any:
        with registry.missing_package_named(name):
            return HuggingFaceUpstream.of_checkpoint(name, ckpt)

    return {name: functools.partial(build, name) for name in MODEL_TYPES}


def _load(name: str, ckpt: str, only_here: bool) -> Any:
    """Read a model's configuration, check it, and load the weights."""
    import transformers

    with _explained(ckpt):
        # transformers treats a folder without this file like one with an empty file.
        if Path(ckpt).exists() and not (Path(ckpt) / "config.json").is_file():
            raise FileNotFoundError("there is no config.json")
        settings, _ = transformers.PretrainedConfig.get_config_dict(ckpt, local_files_only=only_here)
    kind = MODEL_TYPES[name]
    if (found := settings.get("model_type")) != kind:
        fitting = next((upstream for upstream, model_type in MODEL_TYPES.items() if model_type == found), None)
        advice = f"Use -u {fitting}." if fitting else f"It loads only model_type {kind}."
        raise UserError(f"-k {ckpt}: config.json has model_type {found!r}; {name} loads {kind!r}. {advice}")
    config_class, model_class = _classes(kind)
    with _explained(ckpt):
        config = _plain_config(config_class, settings)
    _check_frames(ckpt, config)
    with _explained(ckpt):
        model, report = model_class.from_pretrained(
            ckpt, config=config, dtype=torch.float32, output_loading_info=True, local_files_only=only_here
        )
    # Some fine-tuned models lack the vector that replaces masked frames.
    if missing := sorted(set(report["missing_keys"]) - {"masked_spec_embed"}):
        raise UserError(
            f"-k {ckpt}: expected all weights of a {kind} model, found {len(missing)} missing ({missing[0]}, …), which "
            "would be random. Use a complete checkpoint."
        )
    # Weights without a place in the model show that config.json belongs to another model.
    if extra := sorted(key for key in report["unexpected_keys"] if _OF_THE_MODEL.search(key)):
        raise UserError(
            f"-k {ckpt}: expected the weights of the model in config.json, found {len(extra)} others ({extra[0]}, …). "
            "Use the config.json of these weights."
        )
    return model


def _classes(kind: str) -> tuple[Any, Any]:
    """Return the classes of configuration and model for a model_type."""
    import transformers

    classes: dict[str, tuple[Any, Any]] = {
        "wav2vec2": (transformers.Wav2Vec2Config, transformers.Wav2Vec2Model),
        "hubert": (transformers.HubertConfig, transformers.HubertModel),
    }
    return classes[kind]


def _plain_config(config_class: Any, settings: dict[str, Any]) -> Any:
    """Return a configuration with the settings of the model's architecture only.

    Others may make transformers download or import code (``auto_map``, ``_attn_implementation``,
    ``quantization_config``).
    """
    check_settings(settings)
    known = {key for key in config_class().to_dict() if not key.startswith("_")}
    return config_class.from_dict({key: value for key, value in settings.items() if key in known})


def _check_frames(ckpt: str, config: Any) -> None:
    """Refuse front ends whose frames are not those that S3PRL, and the padding masks, assume."""
    window = 1 + sum(
        (kernel - 1) * math.prod(config.conv_stride[:layer]) for layer, kernel in enumerate(config.conv_kernel)
    )
    step = math.prod(config.conv_stride)
    if (step, window) != (_FRAME_STEP, _FRAME_WINDOW):
        raise UserError(
            f"-k {ckpt}: expected frames of {_FRAME_WINDOW} samples every {_FRAME_STEP}, as S3PRL assumes, found "
            f"{window} every {step}. Use a checkpoint with the usual front end."
        )
    if getattr(config, "add_adapter", False):
        raise UserError(
            f"-k {ckpt}: expected no adapter, found one, which reduces the number of frames. Use a checkpoint with "
            "add_adapter: false."
        )


def _normalizes(ckpt: str, only_here: bool) -> bool:
    """Return whether waveforms are normalised; true for models without a preprocessor file.

    Raises
    ------
    UserError : the model expects another sampling rate, or the file cannot be read.
    """
    from transformers import Wav2Vec2FeatureExtractor

    folder = Path(ckpt)
    if folder.exists() and not any((folder / name).is_file() for name in _PREPROCESSOR_FILES):
        return True
    try:
        preprocessor = Wav2Vec2FeatureExtractor.from_pretrained(ckpt, local_files_only=only_here)
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
    return bool(preprocessor.do_normalize)


def _endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT


@contextlib.contextmanager
def _explained(ckpt: str) -> Iterator[None]:
    """Raise a UserError of one line for errors of transformers, whose messages are a paragraph about its cache."""
    try:
        yield
    except (UserError, ImportError):  # transformers' models are not importable with an old torch
        raise
    # transformers, safetensors and torch have their own exceptions for a damaged file.
    except Exception as error:
        if is_out_of_memory(error):
            raise
        if Path(ckpt).exists():
            reason = " ".join(str(error).split())
            raise UserError(
                f"-k {ckpt}: expected a complete folder of save_pretrained (config.json, model.safetensors), found "
                f"another content: {reason}. Use an undamaged checkpoint."
            ) from error
        raise UserError(
            f"-k {ckpt}: is neither a folder nor in the cache, and cannot be downloaded from {_endpoint()}. Download "
            "its config.json, preprocessor_config.json and model.safetensors into a folder, and pass that by -k."
        ) from error
