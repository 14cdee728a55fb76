"""Speech encoders of transformers as upstreams: ``hf_auto``, the named ones, and S3PRL's ``hf_*_custom`` in its place.

With transformers 5, S3PRL's versions return wrong layers in training: randomly dropped layers have no entry in the
list, and the last entry lacks the final layer norm. They also mask frames at random, train the convolutional front end,
and look for another model's preprocessor on the network if a folder has none. Here:

- no layer is dropped; ``hidden_states`` always has one entry per layer and one before them, the last of them after the
  final layer norm; there is also ``last_hidden_state``, as in S3PRL's native upstreams;
- the front end is frozen and nothing is masked, unless :class:`~.upstreams.UpstreamSettings` request it;
- waveforms are normalised on their device, as in pretraining (fairseq) and in S3PRL's native upstreams, and log mel
  features are computed there (mel.py); batches of one length have no attention mask;
- every model has a frame per 20 ms of real audio. w2v-BERT and SEW, which take frames in pairs, have none for a last
  frame without a second one; the frame before it is repeated. SEW's layers have a frame per pair, which is repeated;
- Whisper's encoder attends to real audio only, instead of 30 s with silence;
- weights are float32, whatever the dtype of the file.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import dropout, gelu, layer_norm, pad
from torch.nn.utils.rnn import pad_sequence

from ..utils.errors import UserError
from . import registry
from .frames import MaskedConvolutions
from .mel import stacked_filter_banks, whisper_spectrogram
from .pretrained import FRAME_STEP, FRAME_WINDOW, check_frames, load_model, model_classes, plain_config

_Features = tuple[Sequence[torch.Tensor], list[int]]


class HuggingFaceUpstream(torch.nn.Module):
    """A speech encoder of transformers, `model`, with S3PRL's interface of an upstream."""

    def __init__(self, model: Any, normalize: bool) -> None:
        super().__init__()
        self.model = model
        self.model.config.layerdrop = 0.0
        self.model.config.tie_last_hidden_states = True
        self.model.config.apply_spec_augment = False
        self.normalize = normalize
        self._spec_augment = False
        encoder = getattr(model, "encoder", model)  # of Whisper, the model is the encoder
        # SEW-D has its layers one level deeper.
        self.layers = list(encoder.layers if hasattr(encoder, "layers") else encoder.encoder.layer)
        self._kind, self._pair = model.config.model_type, getattr(model.config, "squeeze_factor", 1)
        convolutions = {
            "data2vec-audio": lambda: encoder.pos_conv_embed.layers,
            "wav2vec2-conformer": lambda: [layer.conv_module.depthwise_conv for layer in self.layers],
        }
        if self._kind in convolutions:
            MaskedConvolutions().install(encoder, convolutions[self._kind]())

    @classmethod
    def of_architecture(cls, name: str, *, config: dict[str, Any], normalize: bool) -> "HuggingFaceUpstream":
        """Build a model with fresh weights from the result of :meth:`architecture`."""
        config_class, model_class = model_classes(name, config)
        settings = plain_config(config_class, config)
        check_frames(name, settings)
        return cls(model_class(settings), normalize)

    def architecture(self) -> dict[str, Any]:
        """Return the settings of the model as plain values, without transformers' own, such as its folder."""
        config = {key: value for key, value in self.model.config.to_dict().items() if not key.startswith("_")}
        return {"config": config, "normalize": self.normalize}

    def train_front_end(self, trains: bool) -> None:
        """Train the convolutional front end, or freeze it. Raises UserError: there is none to train."""
        front_end = getattr(self.model, "feature_extractor", None)
        if front_end is not None:
            front_end.requires_grad_(trains)
            front_end._requires_grad = trains  # transformers' own flag
        elif trains:
            raise UserError(
                "upstream.train_front_end: expected a model with a convolutional front end, found "
                f"{self._kind}, of which all layers are trained. Set it to false."
            )

    def spec_augment(self, masks: bool) -> None:
        """Mask frames and channels in training as in config.json, or not. Raises UserError: it masks nothing."""
        config = self.model.config
        can_mask = hasattr(self.model, "_mask_hidden_states")
        if masks and not (can_mask and (config.mask_time_prob > 0 or config.mask_feature_prob > 0)):
            found = "0" if can_mask else f"{self._kind}, which has none"
            raise UserError(
                "upstream.spec_augment: expected mask_time_prob or mask_feature_prob above 0 in the checkpoint's "
                f"config.json, found {found}. Set one of them there, or set spec_augment to false."
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
        wanted = [_frames(wav.shape[0]) for wav in wavs]
        computations = {"whisper": self._of_whisper, "wav2vec2-bert": self._of_filter_banks}
        states, counts = computations.get(self._kind, self._of_waveforms)(wavs)
        frames, last = max(wanted), states[-1].shape[1]
        if all(count >= want for count, want in zip(counts, wanted, strict=True)) and states[0].shape[1] == last:
            found = tuple(state[:, :frames] for state in states)
        else:
            ends = torch.tensor(counts, device=wavs[0].device)[:, None] - 1
            position = torch.arange(frames, device=ends.device).expand(len(wavs), -1).minimum(ends)[..., None]
            # A layer of SEW has a frame per pair.
            places = [position // (1 if state.shape[1] == last else self._pair) for state in states]
            pairs = zip(states, places, strict=True)
            found = tuple(state.gather(1, place.expand(-1, -1, state.shape[2])) for state, place in pairs)
        return {"hidden_states": found, "last_hidden_state": found[-1]}

    def _of_waveforms(self, wavs: Sequence[torch.Tensor]) -> _Features:
        if self.normalize:
            wavs = [layer_norm(wav, wav.shape) for wav in wavs]
        # Alone and in a batch, a frame without a second one is left out.
        wavs = [
            wav if _frames(wav.shape[0]) % self._pair == 0 else _of_length(wav, self._in_pairs(wav)) for wav in wavs
        ]
        lengths = [wav.shape[0] for wav in wavs]
        return self._states(pad_sequence(list(wavs), batch_first=True), lengths, [_frames(each) for each in lengths])

    def _in_pairs(self, wav: torch.Tensor) -> int:
        frames = max(_frames(wav.shape[0]) // self._pair, 1) * self._pair
        return (frames - 1) * FRAME_STEP + FRAME_WINDOW

    def _of_filter_banks(self, wavs: Sequence[torch.Tensor]) -> _Features:
        shortest = FRAME_WINDOW + FRAME_STEP // 2
        features, counts = stacked_filter_banks([_of_length(wav, max(wav.shape[0], shortest)) for wav in wavs])
        return self._states(features, counts, counts)

    def _states(self, features: torch.Tensor, lengths: list[int], counts: list[int]) -> _Features:
        with self._masking(min(counts)):
            output = self.model(features, attention_mask=_mask(features, lengths), output_hidden_states=True)
        return output.hidden_states, counts

    def _of_whisper(self, wavs: Sequence[torch.Tensor]) -> _Features:
        """Compute what transformers' WhisperEncoder does for audio of its only length, for any length."""
        from transformers.masking_utils import create_bidirectional_mask

        encoder = self.model
        config, limit = encoder.config, encoder.config.max_source_positions
        mel, lengths = whisper_spectrogram(wavs, config.num_mel_bins)
        counts = [(length - 1) // 2 + 1 for length in lengths]
        if max(counts) > limit:
            raise UserError(
                f"upstream whisper: expected at most {limit * FRAME_STEP / 16_000:g} s of audio at a time, found "
                f"{max(map(len, wavs)) / 16_000:g} s. Use shorter crops and windows (data.crop_seconds, evaluation)."
            )
        hidden = gelu(encoder.conv1(mel))
        if (real := _mask(mel.mT, lengths)) is not None:
            hidden = hidden * real[:, None]
        hidden = gelu(encoder.conv2(hidden)).mT
        hidden = dropout(hidden + encoder.embed_positions.weight[: hidden.shape[1]], encoder.dropout, self.training)
        mask = create_bidirectional_mask(config=config, inputs_embeds=hidden, attention_mask=_mask(hidden, counts))
        states = []
        for layer in self.layers:
            states.append(hidden)
            hidden = layer(hidden, mask)
        return [*states, encoder.layer_norm(hidden)], counts

    @contextlib.contextmanager
    def _masking(self, frames: int) -> Iterator[None]:
        """Switch masking on for a step, if it is requested and the shortest waveform is longer than a mask."""
        config = self.model.config
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


def builders() -> dict[str, Callable[..., Any]]:
    """Return name → function that builds this upstream, in place of S3PRL's; those of the user are among them."""

    def build(name: str, ckpt: str | None = None, refresh: bool = False, **_: Any) -> Any:
        with registry.missing_package_named(name):
            return HuggingFaceUpstream(*load_model(ckpt or registry.HUGGING_FACE[name] or "", refresh))

    return {name: functools.partial(build, name) for name in registry.HUGGING_FACE} | registry.own_upstreams()


def _frames(samples: int) -> int:
    return (samples - FRAME_WINDOW) // FRAME_STEP + 1


def _of_length(wav: torch.Tensor, samples: int) -> torch.Tensor:
    return pad(wav, (0, samples - wav.shape[0]))  # a negative number of samples is cut off


def _mask(features: torch.Tensor, lengths: list[int]) -> torch.Tensor | None:
    """Return (batch, length) bool, true for real values of (batch, length, …) features; None if there are no others."""
    if all(length == lengths[0] for length in lengths):
        return None
    ends = torch.tensor(lengths, device=features.device)
    return torch.arange(features.shape[1], device=features.device) < ends[:, None]
