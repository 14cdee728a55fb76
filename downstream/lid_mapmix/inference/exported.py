"""Export of a trained run, which needs neither its upstream's checkpoint nor unpickling: ``lid-mapmix export``.

=================== =============================================================================================
file                content
=================== =============================================================================================
model.safetensors   weights: upstream.* (of an adapter, without its base), featurizer.*, head.*
config.json         labels, windows, model, the upstream's architecture and features, quantiles of dev's top
                    probability, versions; :class:`ExportConfig`
calibration.json    scoring/calibration.py; only where the run has one
novelty.safetensors latents of dev, scoring/open_set.py; only where the run has them
README.md           model card
=================== =============================================================================================
"""

import argparse
import dataclasses
import json
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ..config.schema import AdapterConfig, EvaluationConfig, ModelConfig
from ..data.audio.reading import SAMPLE_RATE
from ..data.labels import labels_from_mapping
from ..host.architecture import EXPORTABLE, Architecture
from ..host.features import build_features, rebuild_features
from ..host.registry import HUGGING_FACE
from ..host.trust import parameters_limited
from ..host.upstreams import UpstreamSettings
from ..scoring.calibration import write_calibration
from ..scoring.open_set import read_novelty, write_novelty
from ..utils.digests import weights_digest
from ..utils.errors import UserError, is_of_the_system
from ..utils.run_folder import RunFolder
from .trained import Trained, choose_device, find_calibration, load_weights, make_model, weights_below

CONFIG_NAME, WEIGHTS_NAME = "config.json", "model.safetensors"
_FORMAT = "lid_mapmix model 1"
_PARTS = ("upstream", "featurizer", "head")
# S3PRL's arguments that select features.
_SELECTION = ("upstream_feature_selection", "upstream_layer_selection", "upstream_feature_normalize")


@dataclass(config=ConfigDict(extra="forbid"))
class ExportConfig:
    """The content of config.json, except ``format``."""

    labels: dict[str, list[str]]  # cluster -> classes, in the order of the model's outputs
    sample_rate: int  # of the audio, 16 kHz
    upstream: dict[str, Any]  # its architecture, see host/architecture.py
    features: dict[str, Any]  # S3PRL's arguments that select its features
    # model, evaluation: sections of the run's settings.
    model: ModelConfig
    evaluation: EvaluationConfig
    precision: str = "fp32"  # of computation
    confidence: list[float] | None = None  # quantiles of dev's top probability; None without dev scores
    variant: str | None = None  # of the run
    adapter: AdapterConfig | None = None  # of the upstream, whose own weights are then not in the export
    base: str | None = None  # these weights, with an adapter: a folder, -k, or a repository
    base_digest: str | None = None  # of the folder; one with other content is not read
    versions: dict[str, str] = field(default_factory=dict)  # package -> version, at the time of export


def holds_export(folder: Path) -> bool:
    """Return whether a folder is an export."""
    return (folder / CONFIG_NAME).is_file() and (folder / WEIGHTS_NAME).is_file()


def write_export(folder: Path, trained: Trained, versions: dict[str, str], *, is_public: bool = False) -> None:
    """Write weights, config.json, calibration.json and novelty.safetensors to an empty folder.

    Raises UserError: the upstream cannot be built without its checkpoint, or the disk is full.

    `is_public`: no folder of this machine is named.
    """
    from safetensors import SafetensorError  # noqa: PLC0415 - inference without export does not need it
    from safetensors.torch import save_file  # noqa: PLC0415

    architecture, selection = trained.features.architecture, trained.selection
    if architecture is None:
        raise UserError(
            f"upstream {selection.upstream}: expected an upstream that can be built without code of its checkpoint "
            f"({EXPORTABLE}), found another. Export another run."
        )
    modules = (trained.features.upstream, trained.features.featurizer, trained.model)
    weights = {
        # Copies, because the file cannot hold two names of one tensor.
        f"{part}.{name}": value.detach().cpu().contiguous().clone()
        for part, module in zip(_PARTS, modules, strict=True)
        for name, value in module.state_dict().items()
    }
    config = ExportConfig(
        labels={name: list(members) for name, members in trained.labels.clusters.items()},
        sample_rate=SAMPLE_RATE,
        upstream=dataclasses.asdict(architecture),
        features={name: getattr(selection, name) for name in _SELECTION},
        model=trained.model_config,
        evaluation=trained.evaluation,
        precision=trained.precision,
        confidence=None if trained.confidence is None else trained.confidence.tolist(),
        variant=trained.variant,
        versions=versions,
    )
    if trained.features.adapter:
        config.adapter = AdapterConfig(**trained.features.adapter)
        config.base = selection.upstream_ckpt or HUGGING_FACE[selection.upstream]
        config.base_digest = weights_digest(config.base)
        if is_public and config.base_digest:
            config.base = None
    text = json.dumps({"format": _FORMAT, **dataclasses.asdict(config)}, indent=1, ensure_ascii=False)
    (folder / CONFIG_NAME).write_text(text + "\n", encoding="utf-8")
    try:
        save_file(weights, folder / WEIGHTS_NAME, metadata={"format": "pt"})
    except SafetensorError as error:  # of the disk, which is full for example
        raise UserError(
            f"{WEIGHTS_NAME}: cannot be written ({error}). Check the disk, or name another folder."
        ) from None
    # safetensors writes a file that only its owner can read.
    (folder / WEIGHTS_NAME).chmod((folder / CONFIG_NAME).stat().st_mode)
    if trained.calibration is not None:
        write_calibration(RunFolder(folder).calibration, trained.calibration)
    if trained.novelty is not None:
        write_novelty(RunFolder(folder).novelty, trained.novelty)


def read_export(folder: Path, device: str | None = None, weights: str | None = None) -> Trained:
    """Read an export as data; an adapter, with the `weights` of its base, if they are no longer where they were.

    Raises UserError: it is damaged, of another version, or its base is not available.
    """
    from safetensors import SafetensorError  # noqa: PLC0415
    from safetensors.torch import load_file  # noqa: PLC0415

    config = read_config(folder / CONFIG_NAME)
    labels = labels_from_mapping(config.labels, str(folder / CONFIG_NAME))
    selection = argparse.Namespace(
        **config.features,
        upstream=str(config.upstream.get("upstream")),
        upstream_ckpt=weights or config.base,
        upstream_model_config=None,
        upstream_trainable=config.adapter is not None,
        may_download=weights is not None,
        device=choose_device(device),
    )
    features, runner = None, {"precision": config.precision}
    if config.adapter is not None:
        # Of a file, nothing is read: a base is a folder.
        folder_digest = weights_digest(config.base) if Path(config.base or "").is_dir() else None
        if weights is None and folder_digest != config.base_digest:
            raise UserError(
                f"{folder}: expected the weights that its adapter was trained on in {config.base or 'a folder'!a:.200}"
                ", found others or none. Pass their path by -k (upstream_weights)."
            )
        features = build_features(selection, runner, UpstreamSettings(adapter=dataclasses.asdict(config.adapter)))
    try:
        architecture = Architecture(**config.upstream)
    except TypeError as error:
        raise _damaged(folder / CONFIG_NAME, f"upstream: {error}") from None
    path = folder / WEIGHTS_NAME
    try:
        with parameters_limited([path.stat().st_size]):
            # Without the check of mixed lengths, which may fail for fresh weights; those of the run have passed it.
            features = features or rebuild_features(architecture, selection, runner, UpstreamSettings())
            model = make_model(labels, features, config.model)
    except ValueError as error:
        raise _damaged(folder / CONFIG_NAME, str(error)) from None
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        if is_of_the_system(error):
            raise
        raise _damaged(path, str(error)) from None
    parts = {part: weights_below(tensors, part) for part in _PARTS}
    if unknown := [name for name in tensors if name.partition(".")[0] not in _PARTS]:
        raise _damaged(path, f"unknown weights {unknown[0]}")
    load_weights(path, features, model, **parts)
    return Trained(
        labels=labels,
        features=features,
        model=model,
        evaluation=config.evaluation,
        model_config=config.model,
        selection=selection,
        precision=config.precision,
        calibration=find_calibration(RunFolder(folder), labels),
        confidence=None if config.confidence is None else np.array(config.confidence),
        novelty=read_novelty(RunFolder(folder).novelty, model.dim),
        variant=config.variant,
    )


def read_config(path: Path) -> ExportConfig:
    """Read a config.json. Raises UserError: no such file, no JSON, another format, or a missing or wrong value."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.pop("format", None) != _FORMAT:
            raise ValueError(f"expected format {_FORMAT!r}")
        config = TypeAdapter(ExportConfig).validate_python(content)
        if config.sample_rate != SAMPLE_RATE:
            raise ValueError(f"expected sample_rate {SAMPLE_RATE}, found {config.sample_rate}")
        if config.features.keys() != set(_SELECTION):
            raise ValueError(f"features: expected {', '.join(_SELECTION)}")
        if config.confidence is not None and not (config.confidence and np.isfinite(config.confidence).all()):
            raise ValueError("confidence: expected finite numbers")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. Use the folder of a run or an export.") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise _damaged(path, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    # RecursionError: JSON that is nested too deeply.
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from None
    return config


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(f"{path}: is damaged, or was not written by lid-mapmix export ({reason}). Export the run again.")
