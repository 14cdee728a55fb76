"""A trained run as one ONNX file, from waveform to calibrated probabilities; docs/onnx.md lists its metadata."""

import json
import logging
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.audio.reading import MINIMUM_SAMPLES, SAMPLE_RATE
from ..host.precision import Precision
from ..model import audio_samples
from ..scoring.calibration import MIN_LOG_PROBABILITY, Calibration, centred
from ..scoring.choices import Kind
from ..utils.errors import UserError, is_of_the_system
from ..utils.files import replace_when_complete
from .identifier import Identifier
from .trained import Trained

ONNX_NAME = "model.onnx"
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_TOLERANCE = 1e-4
_MAX_BYTES = 2**31  # of a file of Protocol Buffers
# Samples with odd numbers of frames of 10 and 20 ms: of branches in upstreams, these take the one for any number.
_EXAMPLE = 5_001
_NOT_DONE = (
    "voice-activity detection, resampling, mixing of channels, recordings longer than max_samples (windows), segments, "
    "novelty, rejection"
)


def require_onnx() -> None:
    """Raise a UserError if a package that --onnx needs is not installed."""
    if missing := [name for name in _PACKAGES if find_spec(name) is None]:
        raise UserError(f"--onnx needs {', '.join(missing)}, not installed. Run 'pip install \"lid-mapmix[onnx]\"'.")


def write_onnx(path: Path, trained: Trained, **about: Any) -> None:
    """Write a run as one ONNX file, after onnxruntime has computed the same probabilities as :class:`.Identifier`.

    Raises UserError: it is too large, its upstream cannot be exported, or probabilities differ by more than 1e-4.

    `trained`: on the CPU. `about`: metadata besides that of the run.
    """
    network, calibration = _Network(trained).eval(), trained.calibration
    metadata = {
        "format": "lid_mapmix onnx 1",
        "labels": json.dumps(trained.labels.classes),
        "clusters": json.dumps(dict(trained.labels.clusters)),
        **{"sample_rate": SAMPLE_RATE, "min_samples": MINIMUM_SAMPLES, "max_samples": network.max_samples},
        "calibration": "none" if calibration is None else calibration.basis,
        "class_prior": json.dumps(None if calibration is None else calibration.prior),
        **{"precision": Precision.FP32.value, "precision_of_run": trained.precision, "not_done": _NOT_DONE},
        **about,
    }
    with replace_when_complete(path) as temporary:
        try:
            size = sum(weight.nbytes for weight in network.state_dict().values())
            if size >= _MAX_BYTES:
                raise ValueError(f"{size / 1e9:.1f} GB of weights; a file may have {_MAX_BYTES / 1e9:.1f} GB")
            program = _convert(network)
            program.model.metadata_props.update({key: str(value) for key, value in metadata.items()})
            program.save(temporary, external_data=False)
            _compare(temporary, network, trained)
        # The exceptions of torch and onnxruntime depend on what they cannot do.
        except Exception as error:
            if is_of_the_system(error):
                raise
            reason = " ".join(str(error.__cause__ or error).split())[:300]
            raise UserError(
                f"--onnx: upstream {trained.selection.upstream}: expected a run that can be exported to ONNX, found: "
                f"{reason or type(error).__name__}. Export without --onnx."
            ) from error


class _Network(torch.nn.Module):
    """Computes probabilities of one waveform without branches that depend on its length."""

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.upstream, self.featurizer = trained.features.upstream, trained.features.featurizer
        self.model, count = trained.model, len(trained.labels.classes)
        self.max_samples = round(trained.evaluation.window_seconds * SAMPLE_RATE)
        identity = (np.eye(count), np.zeros(count), np.full(count, 1 / count))
        self.calibration = trained.calibration or Calibration.of(Kind.AFFINE, trained.labels.classes, *identity)
        # What comes before the dependence on duration is linear; see Calibration.log_likelihoods.
        matrix, log_prior = np.array(self.calibration.matrix), np.log(self.calibration.prior)
        offset = np.array(self.calibration.offset) - matrix @ (log_prior - log_prior.mean())
        self._matrix, self._offset = torch.from_numpy(centred(matrix)), torch.from_numpy(offset)
        self._log_prior = torch.from_numpy(log_prior)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """Return (1, classes) float32 of (1, samples) float32; NaN for more samples than a window has."""
        features = self.featurizer._select_feature(self.upstream([waveform[0]]))
        if isinstance(features, list | tuple):
            features = self.featurizer._weighted_sum(features)
        # Only real frames remain, so that no padding needs to be ignored; see DialectClassifier.
        samples, context = waveform.shape[1], self.model.context
        frames = features[:, : (samples - audio_samples(1, 0)) // self.model.upstream_rate + 1]
        frames = torch.where(frames.isnan() & (torch.scalar_tensor(frames.shape[1]) == 1), 0.0, frames)
        # An encoder that removes frames gets as many more, and what it returns for them is masked.
        encoded = self.model.encoder(torch.nn.functional.pad(frames, (0, 0, 0, context)))
        count = torch.scalar_tensor(frames.shape[1] - context).clamp(min=1)
        logits = self.model.logits(self.model.pooling(encoded, (torch.arange(encoded.shape[1]) < count)[None])).double()
        scores = (logits - logits.amax(dim=1, keepdim=True)).clamp(min=MIN_LOG_PROBABILITY)
        likelihoods, length = scores @ self._matrix.T + self._offset, torch.scalar_tensor(samples, dtype=torch.float64)
        if self.calibration.seconds is not None:
            reference, _, longest = self.calibration.seconds
            likelihoods *= ((length / SAMPLE_RATE).clamp(max=longest) / reference) ** self.calibration.exponent
        is_allowed = (length >= MINIMUM_SAMPLES) & (length <= self.max_samples)
        return torch.where(is_allowed, (likelihoods + self._log_prior).softmax(dim=1), torch.nan).float()


def _convert(network: _Network) -> Any:
    """Return torch's ONNX program for any number of samples."""
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)  # lacks torchvision
    attributes = dict(vars(network.upstream))
    try:
        with torch.no_grad(), warnings.catch_warnings(action="ignore"):
            wav, shapes = torch.full((1, _EXAMPLE), 0.1), ({1: torch.export.Dim.DYNAMIC},)
            exported = torch.export.export(network, (wav,), dynamic_shapes=shapes, strict=False)
            names: dict[str, Any] = {"input_names": ["waveform"], "output_names": ["probabilities"]}
            # onnxscript's optimizer returns NaN for filter banks of two frames; onnxruntime has its own.
            program: Any = torch.onnx.export(exported, dynamo=True, optimize=False, verbose=False, **names)
    finally:
        # torch replaces the list to which the hooks of S3PRL's upstreams append.
        vars(network.upstream).update(attributes)
    for graph in (program.model.graph, *program.model.functions.values()):
        for node in graph.all_nodes():
            node.metadata_props.clear()  # lines of this machine's source files
    return program


def _compare(path: Path, network: _Network, trained: Trained) -> None:
    """Raise a ValueError if a file's probabilities are not those of the run."""
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    generator, longest = torch.Generator().manual_seed(0), network.max_samples
    for samples in sorted({min(each, longest) for each in (MINIMUM_SAMPLES, 9_039, 20_000, longest)}):
        wav = 0.1 * torch.randn(1, samples, generator=generator)
        found = session.run(["probabilities"], {"waveform": wav.numpy()})[0][0]
        answer = Identifier(trained, detect_speech=False)(wav[0], SAMPLE_RATE)
        expected = answer.probabilities[np.argsort([trained.labels.classes.index(name) for name in answer.classes])]
        if trained.precision == Precision.BF16:  # the file is fp32
            with torch.no_grad():
                expected = network(wav)[0].numpy()
        if not (difference := np.abs(found - expected).max()) <= _TOLERANCE:  # NaN too
            raise ValueError(f"probabilities that differ by {difference:.2g} from the run's for {samples} samples")
