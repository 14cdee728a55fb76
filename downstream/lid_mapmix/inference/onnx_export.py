"""A trained run as one ONNX file, from waveform to calibrated probabilities; docs/onnx.md lists its metadata."""

import contextlib
import copy
import json
import logging
import math
import warnings
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.audio.reading import MAX_SAMPLE, MINIMUM_SAMPLES, SAMPLE_RATE
from ..host.precision import Precision
from ..model import audio_samples
from ..scoring.calibration import MIN_LOG_PROBABILITY, Calibration, centred
from ..scoring.choices import Average, Kind
from ..utils.errors import UserError, is_of_the_system
from ..utils.files import replace_when_complete
from .identifier import Identifier
from .trained import Trained

ONNX_NAME = "model.onnx"
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_TOLERANCE = 1e-4
_MAX_BYTES = 2**31  # of a file of Protocol Buffers
_MIN_LOG = math.log(math.ulp(0.0))  # see `average_windows`
# Samples with odd numbers of frames of 10 and 20 ms: of branches in upstreams, these take the one for any number.
_EXAMPLE = 5_001
_NOT_DONE = "voice-activity detection, resampling, mixing of channels, segments, novelty, rejection"


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
        **{"sample_rate": SAMPLE_RATE, "min_samples": MINIMUM_SAMPLES},
        **{"window_samples": network.window, "hop_samples": network.hop, "average": trained.evaluation.average.value},
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
            _compare(temporary, trained, network.window, network.hop)
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
    """Computes probabilities of a recording without branches that depend on its length."""

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.upstream, self.featurizer = trained.features.upstream, trained.features.featurizer
        self.model, evaluation, count = trained.model, trained.evaluation, len(trained.labels.classes)
        self.window, self.hop = (
            round(seconds * SAMPLE_RATE) for seconds in (evaluation.window_seconds, evaluation.hop_seconds)
        )
        self.is_log = evaluation.average is Average.LOG_LIKELIHOODS
        identity = (np.eye(count), np.zeros(count), np.full(count, 1 / count))
        self.calibration = trained.calibration or Calibration.of(Kind.AFFINE, trained.labels.classes, *identity)
        # What comes before the dependence on duration is linear; see Calibration.log_likelihoods.
        matrix, log_prior = np.array(self.calibration.matrix), np.log(self.calibration.prior)
        offset = np.array(self.calibration.offset) - matrix @ (log_prior - log_prior.mean())
        self._matrix, self._offset = torch.from_numpy(centred(matrix)), torch.from_numpy(offset)
        self._log_prior = torch.from_numpy(log_prior)

    def forward(self, waveform: torch.Tensor, window: torch.Tensor, scores: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the three steps that :func:`_join` joins: windows, scores of one, probabilities.

        Windows are two (windows, 1) int64: their first samples, and the samples after their last ones, which may be
        after the end of the audio; see `sliding_windows`. Scores are (1, classes) float64; probabilities (1, classes)
        float32, NaN for audio that is too short or not valid.

        `waveform`, `window`: (1, samples) float32. `scores`: (windows, 1, classes) float64, those of all windows.
        """
        overhang = torch.sym_max(waveform.shape[1] - self.window, 0)
        first = torch.arange(0, overhang + self.hop, self.hop).clamp(max=overhang)[:, None]
        return first, first + self.window, self._scores(window), self._probabilities(waveform, scores)

    def _scores(self, window: torch.Tensor) -> torch.Tensor:
        features = self.featurizer._select_feature(self.upstream([window[0]]))
        if isinstance(features, list | tuple):
            features = self.featurizer._weighted_sum(features)
        # Only real frames remain, so that no padding needs to be ignored; see DialectClassifier.
        context = self.model.context
        frames = features[:, : (window.shape[1] - audio_samples(1, 0)) // self.model.upstream_rate + 1]
        frames = torch.where(frames.isnan() & (torch.scalar_tensor(frames.shape[1]) == 1), 0.0, frames)
        # An encoder that removes frames gets as many more, and what it returns for them is masked.
        encoded = self.model.encoder(torch.nn.functional.pad(frames, (0, 0, 0, context)))
        count = torch.scalar_tensor(frames.shape[1] - context).clamp(min=1)
        logits = self.model.logits(self.model.pooling(encoded, (torch.arange(encoded.shape[1]) < count)[None]))
        scores = logits.double().log_softmax(dim=1)
        return scores.clamp(min=_MIN_LOG) if self.is_log else scores.exp()

    def _probabilities(self, waveform: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        average = scores.mean(dim=0) if self.is_log else scores.mean(dim=0).log()
        average = (average - average.amax(dim=1, keepdim=True)).clamp(min=MIN_LOG_PROBABILITY)
        likelihoods, length = average @ self._matrix.T + self._offset, torch.scalar_tensor(waveform.shape[1]).double()
        if self.calibration.seconds is not None:
            reference, _, longest = self.calibration.seconds
            likelihoods *= ((length / SAMPLE_RATE).clamp(max=longest) / reference) ** self.calibration.exponent
        is_valid = (waveform.abs() <= MAX_SAMPLE).all() & (length >= MINIMUM_SAMPLES)
        return torch.where(is_valid, (likelihoods + self._log_prior).softmax(dim=1), torch.nan).float()


def _convert(network: _Network) -> Any:
    """Return torch's ONNX program for any number of samples."""
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)  # lacks torchvision
    attributes = dict(vars(network.upstream))
    # A recording of several windows: with one, torch would take the number as constant.
    waveform, window = (torch.full((1, samples), 0.1) for samples in (network.window + 2 * network.hop, _EXAMPLE))
    example = (waveform, window, torch.zeros(3, 1, len(network.calibration.classes), dtype=torch.float64))
    shapes = tuple({axis: torch.export.Dim.DYNAMIC} for axis in (1, 1, 0))
    try:
        with torch.no_grad(), warnings.catch_warnings(action="ignore"):
            exported = torch.export.export(network, example, dynamic_shapes=shapes, strict=False)
            # onnxscript's optimizer returns NaN for filter banks of two frames; onnxruntime has its own.
            program: Any = torch.onnx.export(exported, dynamo=True, optimize=False, verbose=False)
    finally:
        # torch replaces the list to which the hooks of S3PRL's upstreams append.
        vars(network.upstream).update(attributes)
    for graph in (program.model.graph, *program.model.functions.values()):
        for node in graph.all_nodes():
            node.metadata_props.clear()  # lines of this machine's source files
    _join(program.model.graph)
    return program


def _join(graph: Any) -> None:
    """Let a graph of three steps compute probabilities of waveforms: a Scan repeats the second one for each window."""
    import onnx_ir  # noqa: PLC0415

    waveform, window, scores = graph.inputs
    *bounds, window_scores, probabilities = graph.outputs
    graph.inputs[:], graph.outputs[:] = [waveform], [probabilities]
    probabilities.name = "probabilities"
    # Weights, and nodes that the other steps share, remain outside, where the Scan's body sees them.
    outside, nodes = {*bounds, probabilities}, []
    for node in reversed(graph):
        if outside.isdisjoint(node.outputs):
            nodes.append(node)
        else:
            outside.update(node.inputs)
    graph.remove(nodes)
    first, end, axis = (onnx_ir.val(f"{name}_of_one", onnx_ir.DataType.INT64, [1]) for name in ("first", "end", "axis"))
    nodes.append(onnx_ir.node("Slice", [waveform, first, end, axis], outputs=[window]))
    nodes.append(onnx_ir.node("Constant", [], {"value_ints": [1]}, outputs=[axis]))
    body = onnx_ir.Graph([first, end], [window_scores], nodes=reversed(nodes), name="window")
    graph.append(onnx_ir.node("Scan", bounds, {"body": body, "num_scan_inputs": len(bounds)}, outputs=[scores]))
    graph.sort()


def _compare(path: Path, trained: Trained, window: int, hop: int) -> None:
    """Raise a ValueError if a file's probabilities are not those of the run, computed in fp32."""
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    features = copy.copy(trained.features)
    features.autocast = contextlib.nullcontext
    identifier = Identifier(replace(trained, features=features), detect_speech=False)
    generator, lengths = torch.Generator().manual_seed(0), (9_039, 20_000, window, window + 1, window + 2 * hop - 400)
    for samples in sorted({max(each, MINIMUM_SAMPLES) for each in (0, *lengths)}):
        wav = 0.1 * torch.randn(1, samples, generator=generator)
        found = session.run(["probabilities"], {"waveform": wav.numpy()})[0][0]
        answer = identifier(wav[0], SAMPLE_RATE)
        expected = answer.probabilities[np.argsort([trained.labels.classes.index(name) for name in answer.classes])]
        if not (difference := np.abs(found - expected).max()) <= _TOLERANCE:  # NaN too
            raise ValueError(f"probabilities that differ by {difference:.2g} from the run's for {samples} samples")
