"""A trained run as one ONNX file, from waveform to calibrated probabilities: ``lid-mapmix export RUN --out DIR --onnx``.

Input ``waveform``, (1, samples) float32 at 16 kHz; output ``probabilities``, (1, classes) float32, those of
:class:`.Identifier` without voice-activity detection; NaN for more samples than a window has. docs/onnx.md lists the
metadata.
"""

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.audio.reading import MINIMUM_SAMPLES, SAMPLE_RATE
from ..host.precision import Precision
from ..model import audio_samples
from ..scoring.calibration import MIN_LOG_PROBABILITY
from ..utils.errors import UserError
from ..utils.files import replace_when_complete
from .identifier import Identifier
from .trained import Trained

ONNX_NAME = "model.onnx"
_FORMAT = "lid_mapmix onnx 1"
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_TOLERANCE = 1e-4
_MAX_BYTES = 2**31  # of a file of Protocol Buffers
_NOT_DONE = (
    "voice-activity detection, resampling, mixing of channels, windows of recordings longer than max_samples, segments, "
    "novelty, rejection"
)


def require_onnx() -> None:
    """Raise a UserError if a package that --onnx needs is not installed."""
    if missing := [name for name in _PACKAGES if find_spec(name) is None]:
        raise UserError(f"--onnx needs {', '.join(missing)}, not installed. Run 'pip install \"lid-mapmix[onnx]\"'.")


def write_onnx(path: Path, trained: Trained, **about: Any) -> None:
    """Write a run as one ONNX file, and compare it with the run, in onnxruntime, before it is in place.

    Raises UserError: it is too large, its upstream cannot be exported, or the probabilities differ by more than 1e-4.

    `trained`: on the CPU. `about`: metadata besides that of the run.
    """
    modules = (trained.features.upstream, trained.features.featurizer, trained.model)
    size = sum(weight.nbytes for module in modules for weight in module.state_dict().values())
    name = f"--onnx: upstream {trained.selection.upstream}"
    if size >= _MAX_BYTES:
        raise UserError(
            f"{name}: expected weights below {_MAX_BYTES / 1e9:.1f} GB, which one ONNX file can hold, found "
            f"{size / 1e9:.1f} GB. Export without --onnx."
        )
    network = _Network(trained).eval()
    expected = [(wav, _probabilities(trained, network, wav)) for wav in _test_waveforms(network.max_samples)]
    try:
        program = _convert(network, expected[-1][0])
    # torch's exception depends on what it cannot export.
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = f"{type(cause).__name__}: {' '.join(str(cause).split())}"[:300]
        raise UserError(f"{name}: torch cannot export it to ONNX ({reason}). Export without --onnx.") from error
    # Each node has lines of this machine's source files.
    for graph in (program.model.graph, *program.model.functions.values()):
        for node in graph.all_nodes():
            node.metadata_props.clear()
    metadata = {"format": _FORMAT, **_metadata(trained, network.max_samples), **about}
    program.model.metadata_props.update(
        {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}
    )
    with replace_when_complete(path) as temporary:
        program.save(temporary, external_data=False)
        _compare(temporary, expected, name)


class _Network(torch.nn.Module):
    """Computes probabilities of one waveform without branches that depend on its length."""

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.upstream, self.featurizer = trained.features.upstream, trained.features.featurizer
        self.model, self.calibration = trained.model, trained.calibration
        self.max_samples = round(trained.evaluation.window_seconds * SAMPLE_RATE)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """Return (1, classes) float32 of (1, samples) float32."""
        samples = waveform.shape[1]
        features = self.featurizer._select_feature(self.upstream([waveform[0]]))
        if isinstance(features, list | tuple):
            features = self.featurizer._weighted_sum(features)
        logits = self.model.logits(self._latents(features, samples)).double()
        count = torch.scalar_tensor(samples, dtype=torch.float64)
        probabilities = self._calibrated(logits.log_softmax(dim=1), count / SAMPLE_RATE).exp()
        is_allowed = (count >= MINIMUM_SAMPLES) & (count <= self.max_samples)
        return torch.where(is_allowed, probabilities, torch.nan).float()

    def _latents(self, features: torch.Tensor, samples: int) -> torch.Tensor:
        """Compute the model's latent, (1, dim), of (1, frames, upstream_dim)."""
        # All frames that remain are real, so that no padding needs to be ignored.
        frames = features[:, : (samples - audio_samples(1, 0)) // self.model.upstream_rate + 1]
        is_single = torch.scalar_tensor(frames.shape[1]) == 1
        frames = torch.where(frames.isnan() & is_single, 0.0, frames)
        # An encoder that removes frames needs as many more; what it returns for them is masked.
        encoded = self.model.encoder(torch.nn.functional.pad(frames, (0, 0, 0, self.model.context)))
        count = torch.scalar_tensor(frames.shape[1] - self.model.context).clamp(min=1)
        return self.model.pooling(encoded, (torch.arange(encoded.shape[1]) < count)[None])

    def _calibrated(self, scores: torch.Tensor, seconds: torch.Tensor) -> torch.Tensor:
        """Compute :meth:`.Calibration.log_probabilities` of (1, classes) float64."""
        if (calibration := self.calibration) is None:
            return scores
        prior = torch.tensor(calibration.prior, dtype=torch.float64).log()
        scores = (scores - scores.amax(dim=1, keepdim=True)).clamp(min=MIN_LOG_PROBABILITY)
        scores = scores - scores.mean(dim=1, keepdim=True) - prior
        scores = scores - scores.mean(dim=1, keepdim=True)
        matrix, offset = (torch.tensor(each, dtype=torch.float64) for each in (calibration.matrix, calibration.offset))
        scores = scores @ matrix.T + offset
        if calibration.seconds is not None:
            reference, _, longest = calibration.seconds
            scores = scores * (seconds.clamp(max=longest) / reference) ** calibration.exponent
        return (scores.log_softmax(dim=1) + prior).log_softmax(dim=1)


def _metadata(trained: Trained, max_samples: int) -> dict[str, Any]:
    calibration = trained.calibration
    return {
        "labels": trained.labels.classes,
        "clusters": dict(trained.labels.clusters),
        "sample_rate": SAMPLE_RATE,
        "min_samples": MINIMUM_SAMPLES,
        "max_samples": max_samples,
        "calibration": "none" if calibration is None else calibration.basis,
        "class_prior": None if calibration is None else calibration.prior,
        "precision": Precision.FP32.value,
        "precision_of_run": trained.precision,
        "not_done": _NOT_DONE,
    }


def _test_waveforms(max_samples: int) -> list[torch.Tensor]:
    """Return (1, samples) float32 of the shortest and the longest length, and of odd and even numbers of frames."""
    generator = torch.Generator().manual_seed(0)
    lengths = sorted({MINIMUM_SAMPLES, *(min(each, max_samples) for each in (9_039, 9_200, 20_000)), max_samples})
    return [0.1 * torch.randn(1, length, generator=generator) for length in lengths]


@torch.no_grad()
def _probabilities(trained: Trained, network: _Network, wav: torch.Tensor) -> np.ndarray:
    """Return (classes,) float64 of the Identifier; of `network` if that computes in another precision."""
    if trained.precision == Precision.BF16:
        return network(wav)[0].double().numpy()
    answer = Identifier(trained, detect_speech=False)(wav[0], SAMPLE_RATE)
    found = dict(zip(answer.classes, answer.probabilities, strict=True))
    return np.array([found[name] for name in trained.labels.classes])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress torch's messages on operators that are not used, and keep logging as it was."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(disabled)


def _convert(network: _Network, wav: torch.Tensor) -> Any:
    """Return torch's ONNX program with any number of samples."""
    upstream = network.upstream
    attributes = dict(vars(upstream))
    try:
        with torch.no_grad(), _quiet():
            shapes = ({1: torch.export.Dim.DYNAMIC},)
            exported = torch.export.export(network, (wav,), dynamic_shapes=shapes, strict=False)
            names: dict[str, Any] = {"input_names": ["waveform"], "output_names": ["probabilities"]}
            # onnxscript's optimizer returns NaN for filter banks of two frames; onnxruntime has its own.
            return torch.onnx.export(exported, dynamo=True, optimize=False, verbose=False, **names)
    finally:
        # torch replaces the list to which the hooks of S3PRL's upstreams append.
        vars(upstream).update(attributes)


def _compare(path: Path, expected: list[tuple[torch.Tensor, np.ndarray]], name: str) -> None:
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        found = [session.run(["probabilities"], {"waveform": wav.numpy()})[0][0] for wav, _ in expected]
    # Its exceptions have no other common class.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{name}: onnxruntime cannot run it ({reason}). Export without --onnx.") from error
    for (wav, right), one in zip(expected, found, strict=True):
        difference = np.abs(one - right).max()
        if not difference <= _TOLERANCE:  # NaN too
            raise UserError(
                f"{name}: expected ONNX probabilities within {_TOLERANCE} of the run's, found a difference of "
                f"{difference:.2g} for {wav.shape[1]} samples. Export without --onnx."
            )
