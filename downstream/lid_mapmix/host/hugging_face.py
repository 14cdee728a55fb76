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
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.nn.functional import layer_norm
from torch.nn.utils.rnn import pad_sequence

from ..utils.errors import UserError
from . import registry
from .formats import MODEL_TYPES
from .pretrained import (
    FRAME_STEP,
    FRAME_WINDOW,
    check_frames,
    load_model,
    model_classes,
    normalizes,
    only_here,
    plain_config,
)


class HuggingFaceUpstream(torch.nn.Module):
    """A wav2vec 2.0 or HuBERT `model` of transformers, with S3PRL's interface of an upstream."""

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

        Raises UserError: the checkpoint is of another kind, incomplete or missing, or its frames are not those that
        S3PRL assumes.

        `name`: ``hf_wav2vec2_custom`` or ``hf_hubert_custom``. `ckpt`: a folder written by `save_pretrained`, or a
        Hugging Face repository, owner/name.
        """
        is_local = only_here(ckpt)
        return cls(load_model(name, ckpt, is_local), normalizes(ckpt, is_local))

    @classmethod
    def of_architecture(cls, name: str, *, config: dict[str, Any], normalize: bool) -> "HuggingFaceUpstream":
        """Build a model with fresh weights from the result of :meth:`architecture`."""
        config_class, model_class = model_classes(MODEL_TYPES[name])
        settings = plain_config(config_class, config)
        check_frames(name, settings)
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
        """Mask frames and channels in training as in config.json, or not. Raises UserError: it masks nothing."""
        config = self.model.config
        if masks and not (config.mask_time_prob > 0 or config.mask_feature_prob > 0):
            raise UserError(
                "upstream.spec_augment: expected mask_time_prob or mask_feature_prob above 0 in the checkpoint's "
                "config.json, found 0. Set one of them there, or set spec_augment to false."
            )
        self._spec_augment = masks

    def get_downsample_rates(self, key: str | None = None) -> int:
        """Return the number of samples between two frames."""
        return FRAME_STEP

    def forward(self, wavs: list[torch.Tensor]) -> dict[str, Any]:
        """Return features of waveforms.

        Returns ``hidden_states``, a tuple of (batch, frames, dim); ``last_hidden_state``, the last of them.

        `wavs`: (samples,) float32 torch.Tensor each, at 16 kHz, with at least 400 samples.
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
        frames = (samples - FRAME_WINDOW) // FRAME_STEP + 1
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
