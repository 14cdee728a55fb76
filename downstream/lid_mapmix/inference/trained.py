"""A trained run for inference: network, labels, windows, calibration; no training data."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..config.named_paths import OPENED, check_named_paths
from ..config.schema import EvaluationConfig, ModelConfig
from ..config.settings import Settings
from ..config.sources import TASK_KEY
from ..data.labels import Labels, labels_from_mapping
from ..host.features import Features, build_features
from ..host.precision import read_precision
from ..host.runner import prepare
from ..host.upstreams import refuse_unread_weights
from ..model import DialectClassifier
from ..scoring.calibration import Calibration, read_calibration_of
from ..scoring.open_set import Novelty, read_novelty
from ..training.checkpoints import read_checkpoint
from ..utils.errors import UserError
from ..utils.run_folder import BEST_CHECKPOINT, RunFolder, choose_checkpoint
from .answer import dev_confidence

TASK = "lid_mapmix"


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained run for inference."""

    labels: Labels
    features: Features  # computes frames from waveforms
    model: DialectClassifier  # computes logits from frames, in evaluation mode
    evaluation: EvaluationConfig  # windows and batches
    model_config: ModelConfig  # settings of the model
    selection: argparse.Namespace  # S3PRL's -u, -s, -l and other arguments that select features
    precision: str  # of computation
    calibration: Calibration | None  # of its probabilities; None for none
    confidence: np.ndarray | None  # quantiles of dev's top probability, see answer.py; None without dev scores
    novelty: Novelty | None  # what the novelty of recordings is computed from; None without dev's latents
    variant: str | None  # the variant of the run


def read_run(folder: Path, device: str | None = None, weights: str | None = None) -> Trained:
    """Read a trained run.

    Raises UserError: no run, a run of another task, or its upstream is not available.

    `folder`: of the run, or a checkpoint in it. `device`: where to compute; None for a GPU if there is one, else the
    CPU. `weights`: of the upstream, if they are no longer where they were.
    """
    prepare()
    path = choose_checkpoint(folder, "inference")
    states = read_checkpoint(path)
    args = states["Args"]
    if TASK_KEY not in states["Config"] or getattr(args, "downstream", None) != TASK:
        raise UserError(
            f"{path}: expected a checkpoint of the task {TASK}, found one of {getattr(args, 'downstream', None)}. Use "
            "another one."
        )
    settings = Settings.make(args, states["Config"], is_past=True)
    task, own_folder = settings.task, RunFolder(path.parent)
    if task.labels is None:
        raise UserError(f"{path}: expected labels, found none. Use a checkpoint that lid_mapmix has written.")
    labels = labels_from_mapping(task.labels, str(path))
    selection = argparse.Namespace(**vars(args))
    selection.device = choose_device(device)
    selection.upstream_ckpt = weights or args.upstream_ckpt
    selection.may_download = weights is not None
    if weights is None:
        check_named_paths(args, task, path, OPENED["inference"])
    elif args.upstream_model_config is not None:
        selection.upstream_model_config = weights
    else:
        refuse_unread_weights(args.upstream, weights)
    features = build_features(selection, settings.runner, task.upstream_settings)
    head = weights_below(_part(path, states, "Downstream"), "model")
    model = make_model(labels, features, task.model)
    fine_tuned = _part(path, states, "Upstream") if getattr(args, "upstream_trainable", False) else None
    load_weights(path, features, model, upstream=fine_tuned, featurizer=_part(path, states, "Featurizer"), head=head)
    calibration = novelty = None
    if path.name == BEST_CHECKPOINT:
        novelty = read_novelty(own_folder.novelty, model.dim)
        calibration = find_calibration(own_folder, labels, states["Downstream"]["_extra_state"]["best_accuracy"])
    return Trained(
        labels=labels,
        features=features,
        model=model,
        evaluation=task.evaluation,
        model_config=task.model,
        selection=selection,
        precision=str(read_precision(settings.runner)),
        calibration=calibration,
        confidence=dev_confidence(own_folder.scores("dev"), calibration),
        novelty=novelty,
        variant=task.variant,
    )


def make_model(labels: Labels, features: Features, config: ModelConfig) -> DialectClassifier:
    """Return the model of a run with fresh weights, on the features' device, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        model = DialectClassifier(features.dim, features.rate, len(labels.classes), **vars(config))
    return model.to(features.device).eval()


def load_weights(
    path: Path,
    features: Features,
    model: DialectClassifier,
    *,
    upstream: dict[str, Any] | None,
    featurizer: dict[str, Any],
    head: dict[str, Any],
) -> None:
    """Load the weights; `upstream` is None if it was frozen. Raises UserError: of another network, or not finite."""
    parts = [(features.featurizer, featurizer), (model, head)]
    parts += [] if upstream is None else [(features.upstream, upstream)]
    for module, weights in parts:
        try:
            module.load_state_dict(weights)
        except (RuntimeError, TypeError, AttributeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise UserError(
                f"{path}: expected weights of this network, found others ({reason}). Use another checkpoint."
            ) from None
        if not all(value.isfinite().all() for value in module.state_dict().values() if value.is_floating_point()):
            raise UserError(f"{path}: expected finite weights, found NaN or infinity. Use another checkpoint.")


def weights_below(weights: Mapping[str, Any], part: str) -> dict[str, Any]:
    """Return the weights with a name in `part`, by the rest of the name."""
    return {name.removeprefix(f"{part}."): value for name, value in weights.items() if name.startswith(f"{part}.")}


def find_calibration(folder: RunFolder, labels: Labels, best_accuracy: float | None = None) -> Calibration | None:
    """Return the calibration in a folder, or None. Raises UserError: it is damaged, or of another model."""
    path = folder.calibration
    return read_calibration_of(path, labels.classes, best_accuracy) if path.is_file() else None


def choose_device(device: str | None) -> str:
    """Return a device, by default a GPU if there is one. Raises UserError: it is not available."""
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    # torch's exception depends on why the device is not available.
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"--device {device}: is not available ({reason}). Use cpu or cuda.") from error
    return device


def _part(path: Path, states: dict[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(states.get(name), dict):
        raise UserError(f"{path}: expected {name} in the checkpoint, found none. Use another one.")
    return states[name]
