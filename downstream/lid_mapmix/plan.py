"""What a training run does, worked out before it starts: who is trained on, against which targets, for how long."""

import hashlib
import math
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .config import DatamapConfig, MapmixConfig, Pool, TaskConfig
from .data.dataset import Split
from .data.labels import Labels
from .data.sampler import TrainSampler
from .distributed import rank, world_size
from .errors import UserError
from .mapmix.datamap import Region, RegionRule, fixed_regions, quantile_regions
from .mapmix.datamap_files import DataMap, read_datamap, read_likeness
from .mapmix.labels import Likeness, Targets, confidence_matrix, one_hot_matrix, uniform_matrix
from .mapmix.lre17 import lre17_likeness
from .mapmix.mixup import MixSpace
from .mapmix.pairing import Pairing

DATAMAP_NAME = "datamap.csv"
LIKENESS_NAME = "likeness.csv"


@dataclass(frozen=True, eq=False)
class TrainingPlan:
    """What to train on.

    Attributes
    ----------
    sampler : the batches of each epoch.
    targets : (classes, classes) float64, the target row of each class.
    """

    sampler: TrainSampler
    targets: np.ndarray


def plan_training(config: TaskConfig, split: Split, labels: Labels, seed: int) -> TrainingPlan:
    """Choose anchors, partners and targets (method.md, "The rows of the paper's tables").

    Raises
    ------
    UserError : a data map is needed and not given, was made from another manifest, or has nothing in a region.
    """
    mapmix = config.mapmix
    if config.needs_datamap and mapmix.datamap is None:
        subject = "this configuration" if config.variant is None else f"variant {config.variant}"
        raise UserError(
            f"{subject} needs a data map and has none. Train '-v datamap' first and add "
            "'-o config.downstream_expert.mapmix.datamap=EXPDIR/datamap.csv' with the folder it was trained in "
            "(this package's own run_downstream.py does both in one command)."
        )
    untrained = np.setdiff1d(np.arange(len(labels.classes)), split.gold)
    if len(untrained):
        raise UserError(
            f"{split.manifest.path}: class {labels.classes[untrained[0]]} has no training utterance. Add some, or take "
            "the class out of labels.yaml."
        )
    anchors = partners = np.arange(len(split.manifest))
    if mapmix.needs_regions:
        datamap = read_datamap(Path(str(mapmix.datamap)))
        regions = datamap.regions_for(split.manifest.columns["id"], split.manifest.columns["class"])
        anchors, partners = (
            _members(datamap, regions, pool, config.datamap.regions) for pool in (mapmix.anchors, mapmix.partners)
        )
    across = mapmix.mix is not MixSpace.NONE and mapmix.pairing is Pairing.ACROSS
    if across and len(np.unique(split.gold[partners])) == 1:
        raise UserError(
            "mapmix.pairing across needs partners of two classes or more; found one. Use pairing any, or another pool."
        )
    return TrainingPlan(
        sampler=TrainSampler(
            anchors=anchors,
            partners=None if mapmix.mix is MixSpace.NONE else partners,
            classes=split.gold,
            pairing=mapmix.pairing,
            batch_size=config.data.batch_size,
            alpha=mapmix.alpha,
            weight_per=mapmix.weight_per,
            probability=mapmix.probability,
            seed=seed,
            process=rank(),
            processes=world_size(),
        ),
        targets=_target_matrix(mapmix, labels),
    )


def fill_schedule(
    runner: MutableMapping[str, Any], batches_an_epoch: int, epochs: int, accumulate_steps: int = 1
) -> None:
    """Turn epochs into the steps that S3PRL's runner counts in, wherever the configuration leaves them open.

    Parameters
    ----------
    runner : the ``runner`` part of the configuration, filled in place: S3PRL reads it after the expert is made.
    batches_an_epoch, epochs : length of the training.
    accumulate_steps : batches an optimizer step.
    """
    steps_an_epoch = math.ceil(batches_an_epoch / accumulate_steps)
    # Accumulation goes on from one epoch into the next. Rounded up, so that the last epoch is a whole one, which a data
    # map needs, and then to where a run is evaluated and saved, so that it ends there.
    steps = math.ceil(batches_an_epoch * epochs / accumulate_steps)
    defaults = {
        "total_steps": math.ceil(steps / steps_an_epoch) * steps_an_epoch,
        "eval_step": steps_an_epoch,
        "save_step": steps_an_epoch,
        "log_step": math.ceil(steps_an_epoch / 10),
    }
    for name, value in defaults.items():
        if runner.get(name) is None:
            runner[name] = value
    # A run shorter than an epoch would otherwise end without an evaluation or a checkpoint.
    for name in ("eval_step", "save_step"):
        runner[name] = min(runner[name], runner["total_steps"])


def assign_regions(
    config: DatamapConfig, confidence: np.ndarray, variability: np.ndarray, gold: np.ndarray
) -> np.ndarray:
    """Return the region of each utterance by the rule of the configuration, (utterances,) str."""
    if config.regions is RegionRule.FIXED:
        return fixed_regions(
            confidence,
            variability,
            easy_confidence=config.easy_confidence,
            easy_variability=config.easy_variability,
            hard_confidence=config.hard_confidence,
            hard_variability=config.hard_variability,
        )
    return quantile_regions(
        confidence,
        easy_share=config.easy_share,
        hard_share=config.hard_share,
        groups=gold if config.per_class else None,
    )


def data_fingerprint(split: Split, labels: Labels) -> str:
    """Return what names the utterances, their classes and the order of the labels, in 16 hex digits."""
    digest = hashlib.sha256()
    for values in (labels.classes, split.manifest.columns["id"], split.manifest.columns["class"]):
        digest.update("\0".join(map(str, values)).encode())
        digest.update(b"\1")
    return digest.hexdigest()[:16]


def _members(datamap: DataMap, regions: np.ndarray, pool: Pool, rule: RegionRule) -> np.ndarray:
    if pool is Pool.ALL:
        return np.arange(len(regions))
    members = np.flatnonzero(regions == pool.value)
    if len(members) == 0:
        counts = ", ".join(f"{np.sum(regions == region.value)} {region.value}" for region in Region)
        advice = (
            "Train the map for more epochs (datamap.epochs), or let it take shares in place of thresholds "
            "(datamap.regions: quantile), with --overwrite."
            if rule is RegionRule.FIXED
            else "Use more data, or a larger share (datamap.easy_share, datamap.hard_share), with --overwrite."
        )
        raise UserError(f"{datamap.path}: no utterance is {pool.value} ({counts}). {advice}")
    return members


def _target_matrix(mapmix: MapmixConfig, labels: Labels) -> np.ndarray:
    if mapmix.targets is Targets.ONE_HOT:
        return one_hot_matrix(len(labels.classes))
    if mapmix.likeness is Likeness.UNIFORM:
        return uniform_matrix(labels.cluster_indices, mapmix.target_share)
    return confidence_matrix(_likeness(mapmix, labels), labels.cluster_indices, mapmix.target_share)


def _likeness(mapmix: MapmixConfig, labels: Labels) -> np.ndarray:
    """Return how alike the classes are, by whom the configuration asks, (classes, classes) float64."""
    if mapmix.likeness is Likeness.LRE17:
        return lre17_likeness(labels.classes)
    if mapmix.likeness is Likeness.ESTIMATED:
        return read_likeness(Path(str(mapmix.datamap)).with_name(LIKENESS_NAME), labels.classes)
    if mapmix.likeness_file is None:
        raise UserError("mapmix.likeness given needs mapmix.likeness_file, a CSV such as likeness.csv. Name it.")
    return read_likeness(Path(mapmix.likeness_file), labels.classes)
