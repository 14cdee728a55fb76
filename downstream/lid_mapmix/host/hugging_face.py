"""`hf_wav2vec2_custom` and `hf_hubert_custom` so that they can be fine-tuned, in place of S3PRL's own.

With transformers 5 S3PRL's give other layers than those asked for as soon as they are trained: layers are dropped at
random and leave no entry in the list, and the last entry lacks the final layer norm. They also mask frames at random,
train the convolutional front end, and ask the network for another model's preprocessor where a folder has none. Here:

- no layer is dropped; ``hidden_states`` always has one entry a layer and one before them, the last of them after the
  final layer norm, and ``last_hidden_state`` is offered, as by S3PRL's native upstreams;
- the front end is frozen and nothing is masked, unless :class:`~.upstreams.UpstreamSettings` say otherwise;
- waveforms are normalised where they are, as in pretraining (fairseq) and in S3PRL's native upstreams, and batches of
  one length have no attention mask;
- weights are float32, whatever the file holds.

A config.json that is of another model than the weights is refused where it shows in the names or shapes of the weights.
It does not in ``do_stable_layer_norm`` (either way there are the same weights), the number of heads and the activation.
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
from .upstreams import MODEL_TYPES, is_out_of_memory

_SAMPLE_RATE = 16_000
_FRAME_STEP, _FRAME_WINDOW = 320, 400
# Not heads, quantizers and adapters, which are left out on purpose; the positions' weights go by several names.
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
        """Load one.

        Parameters
        ----------
        name : ``hf_wav2vec2_custom`` or ``hf_hubert_custom``.
        ckpt : a folder from `save_pretrained`, or a repository of Hugging Face's, owner/name.

        Raises
        ------
        UserError : the checkpoint is of another kind, incomplete, not there, or its frames are not those S3PRL counts
            with.
        """
        # Without a network transformers would try for half a minute.
        only_here = Path(ckpt).exists() or not downloads.reachable(_endpoint())
        return cls(_load(name, ckpt, only_here), _normalizes(ckpt, only_here))

    @classmethod
    def of_architecture(cls, name: str, *, config: dict[str, Any], normalize: bool) -> "HuggingFaceUpstream":
        """Make one of fresh weights from what :meth:`architecture` has returned."""
        config_class, model_class = _classes(MODEL_TYPES[name])
        settings = config_class.from_dict(config)
        _check_frames(name, settings)
        return cls(model_class(settings), normalize)

    def architecture(self) -> dict[str, Any]:
        """Return the settings that the model is built from, as plain values."""
        return {"config": self.model.config.to_dict(), "normalize": self.normalize}

    def train_front_end(self, trains: bool) -> None:
        """Let the convolutional front end learn, or freeze it."""
        front_end = self.model.feature_extractor
        front_end.requires_grad_(trains)
        front_end._requires_grad = trains  # transformers' own note of it

    def spec_augment(self, masks: bool) -> None:
        """Mask frames and channels in training as config.json says, or nothing.

        Raises
        ------
        UserError : config.json masks nothing.
        """
        config = self.model.config
        if masks and not (config.mask_time_prob > 0 or config.mask_feature_prob > 0):
            raise UserError(
                "upstream.spec_augment: the checkpoint's config.json has mask_time_prob and mask_feature_prob 0. Set "
                "one of them there, or spec_augment: false."
            )
        self._spec_augment = masks

    def get_downsample_rates(self, key: str | None = None) -> int:
        """Return how many samples lie between two frames."""
        return _FRAME_STEP

    def forward(self, wavs: list[torch.Tensor]) -> dict[str, Any]:
        """Return features of waveforms.

        Parameters
        ----------
        wavs : a (samples,) float32 torch.Tensor each, at 16 kHz, at least 400 samples.

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
        """Switch masking on for a step, where it is asked for and the shortest waveform has room for a mask."""
        config = self.model.config
        frames = (samples - _FRAME_WINDOW) // _FRAME_STEP + 1
        config.apply_spec_augment = self.training and self._spec_augment and frames > config.mask_time_length
        if not config.apply_spec_augment:
            yield
            return
        # transformers draws from numpy's global generator; the state of a step is torch's (data/loader.py).
        state = np.random.get_state()  # noqa: NPY002
        np.random.seed(int(torch.randint(2**31, ())))  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002
            config.apply_spec_augment = False


def hugging_face_builders() -> dict[str, Callable[..., Any]]:
    """Return what builds the hf_* upstreams in place of S3PRL's own functions, by their names."""

    def build(name: str, ckpt: str, **_: Any) -> Any:
        with registry.missing_package_named(name):
            return HuggingFaceUpstream.of_checkpoint(name, ckpt)

    return {name: functools.partial(build, name) for name in MODEL_TYPES}


def _load(name: str, ckpt: str, only_here: bool) -> Any:
    """Read a model's configuration, refuse what cannot work, and load its weights."""
    import transformers

    with _explained(ckpt):
        # transformers takes a folder without this file for one whose file is empty.
        if Path(ckpt).exists() and not (Path(ckpt) / "config.json").is_file():
            raise FileNotFoundError("there is no config.json")
        settings, _ = transformers.PretrainedConfig.get_config_dict(ckpt, local_files_only=only_here)
    kind = MODEL_TYPES[name]
    if (found := settings.get("model_type")) != kind:
        fitting = next((upstream for upstream, model_type in MODEL_TYPES.items() if model_type == found), None)
        advice = f"Use -u {fitting}." if fitting else f"It loads only model_type {kind}."
        raise UserError(f"-k {ckpt}: config.json has model_type {found!r}; {name} loads {kind!r}. {advice}")
    config_class, model_class = _classes(kind)
    config = config_class.from_dict(settings)
    _check_frames(ckpt, config)
    with _explained(ckpt):
        model, report = model_class.from_pretrained(
            ckpt, config=config, dtype=torch.float32, output_loading_info=True, local_files_only=only_here
        )
    # The vector that stands for masked frames is no part of some fine-tuned models.
    if missing := sorted(set(report["missing_keys"]) - {"masked_spec_embed"}):
        raise UserError(
            f"-k {ckpt}: {len(missing)} weights are missing ({missing[0]}, …), and would be random. Use a complete "
            f"checkpoint of a {kind} model."
        )
    # Weights that find no place in the model tell that config.json is of another one.
    if extra := sorted(key for key in report["unexpected_keys"] if _OF_THE_MODEL.search(key)):
        raise UserError(
            f"-k {ckpt}: {len(extra)} weights have no place in the model of its config.json ({extra[0]}, …). Use the "
            "config.json that belongs to them."
        )
    return model


def _classes(kind: str) -> tuple[Any, Any]:
    """Return the classes of settings and model of a model_type."""
    import transformers

    classes: dict[str, tuple[Any, Any]] = {
        "wav2vec2": (transformers.Wav2Vec2Config, transformers.Wav2Vec2Model),
        "hubert": (transformers.HubertConfig, transformers.HubertModel),
    }
    return classes[kind]


def _check_frames(ckpt: str, config: Any) -> None:
    """Refuse front ends whose frames are not those S3PRL, and the masks of padding, count with."""
    window = 1 + sum(
        (kernel - 1) * math.prod(config.conv_stride[:layer]) for layer, kernel in enumerate(config.conv_kernel)
    )
    step = math.prod(config.conv_stride)
    if (step, window) != (_FRAME_STEP, _FRAME_WINDOW):
        raise UserError(
            f"-k {ckpt}: has frames of {window} samples every {step}; S3PRL counts with {_FRAME_WINDOW} every "
            f"{_FRAME_STEP}. Use a checkpoint with the usual front end."
        )
    if getattr(config, "add_adapter", False):
        raise UserError(
            f"-k {ckpt}: its adapter makes fewer frames of what the encoder gives, which S3PRL does not know of. Use "
            "a checkpoint without one (add_adapter: false)."
        )


def _normalizes(ckpt: str, only_here: bool) -> bool:
    """Say whether waveforms are normalised; models without a preprocessor's file are taken to be trained so.

    Raises
    ------
    UserError : the model is for another sampling rate, or the file cannot be read.
    """
    from transformers import Wav2Vec2FeatureExtractor

    folder = Path(ckpt)
    if folder.exists() and not any((folder / name).is_file() for name in _PREPROCESSOR_FILES):
        return True
    try:
        preprocessor = Wav2Vec2FeatureExtractor.from_pretrained(ckpt, local_files_only=only_here)
    except OSError as error:
        if folder.exists():
            raise UserError(f"-k {ckpt}: its preprocessor_config.json cannot be read: {error}") from error
        return True  # a repository that has none
    if preprocessor.sampling_rate != _SAMPLE_RATE:
        raise UserError(
            f"-k {ckpt}: is for audio at {preprocessor.sampling_rate} Hz; S3PRL gives {_SAMPLE_RATE}. Use another "
            "checkpoint."
        )
    return bool(preprocessor.do_normalize)


def _endpoint() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT


@contextlib.contextmanager
def _explained(ckpt: str) -> Iterator[None]:
    """Say in one line what is missing; transformers' words are a paragraph about its cache."""
    try:
        yield
    except UserError:
        raise
    # transformers, safetensors and torch each have errors of their own for a damaged file.
    except Exception as error:
        if is_out_of_memory(error):
            raise
        if Path(ckpt).exists():
            reason = " ".join(str(error).split())
            raise UserError(
                f"-k {ckpt}: is no complete folder of save_pretrained (config.json, model.safetensors): {reason}"
            ) from error
        raise UserError(
            f"-k {ckpt}: is neither a folder nor cached, and cannot be fetched from {_endpoint()}. Fetch its "
            "config.json, preprocessor_config.json and model.safetensors elsewhere into a folder, and name that by -k."
        ) from error
