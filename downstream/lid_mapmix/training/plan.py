"""What a training run does, worked out before it starts: who is trained on, with whom, against which targets."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..config.schema import DatamapConfig, MapmixConfig, Pool, TaskConfig
from ..data.dataset import Split
from ..data.labels import Labels
from ..data.manifest.manifest import Manifest
from ..mapmix.datamap import UNHEARD, Region, RegionRule, fixed_regions, quantile_regions
from ..mapmix.datamap_files import DataMap, read_datamap, read_likeness
from ..mapmix.dynamics import RunningDynamics
from ..mapmix.mixup import MixSpace, Pairing
from ..mapmix.targets import Likeness, Targets, confidence_matrix, lre17_likeness, one_hot_matrix, uniform_matrix
from ..utils.distributed import rank, world_size
from ..utils.errors import UserError
from ..utils.randomness import keyed_generator
from ..utils.run_folder import RunFolder
from .sampler import TrainSampler


@dataclass(frozen=True, eq=False)
class TrainingPlan:
    """What to train on.

    Attributes
    ----------
    config : the task's settings.
    gold : (utterances,) int64 class numbers.
    labels : the classes and their clusters.
    seed : of every draw.
    regions : (utterances,) str of a data map; None where anchors and partners are everyone.
    targets : (classes, classes) float64, the target row of each class.
    """

    config: TaskConfig
    gold: np.ndarray
    labels: Labels
    seed: int
    regions: np.ndarray | None
    targets: np.ndarray

    def sampler(self, epoch: int = 0) -> TrainSampler:
        """Return the sampler of an epoch; they differ only where a pool takes some from outside its region."""
        mapmix, data = self.config.mapmix, self.config.data
        # Who is not heard while an online run warms up is in no region afterwards.
        is_warming_up = mapmix.online and epoch < mapmix.warmup_epochs
        return TrainSampler(
            anchors=self._pool("anchors", mapmix.anchors, mapmix.anchors_outside, epoch),
            partners=None
            if mapmix.mix is MixSpace.NONE
            else self._pool("partners", mapmix.partners, mapmix.partners_outside, epoch),
            classes=self.gold,
            pairing=mapmix.pairing,
            batch_size=data.batch_size,
            power=1.0 if is_warming_up else data.sampler.exponent(data.sampler_power),
            alpha=mapmix.alpha,
            weight_per=mapmix.weight_per,
            probability=mapmix.probability,
            seed=self.seed,
            process=rank(),
            processes=world_size(),
        )

    def plain(self) -> "TrainingPlan":
        """Return the plan of training on everyone, mixing nothing, towards one-hot targets."""
        mapmix = replace(self.config.mapmix, mix=MixSpace.NONE, anchors=Pool.ALL)
        config = replace(self.config, mapmix=mapmix)
        return replace(self, config=config, regions=None, targets=one_hot_matrix(len(self.targets)))

    def regions_digest(self) -> str | None:
        """Return what names the regions, so that a run is not gone on with on those of another data map."""
        return None if self.regions is None else _digest(self.regions)

    def _pool(self, purpose: str, pool: Pool, outside: float, epoch: int) -> np.ndarray:
        """Return the members of a region, (members,) int64, ascending, with a share of everyone else who was heard."""
        if pool is Pool.ALL or self.regions is None:
            return np.arange(len(self.gold))
        inside = self.regions == pool.value
        if outside > 0:
            drawn = keyed_generator(self.seed, purpose, epoch).random(len(inside)) < outside
            inside |= drawn & (self.regions != UNHEARD)
        return np.flatnonzero(inside)


def plan_training(config: TaskConfig, split: Split, labels: Labels, seed: int) -> TrainingPlan:
    """Choose anchors, partners and targets (docs/method.md, "The rows of the paper's tables").

    A run that draws its regions from its own dynamics (mapmix.online) is planned as it starts, without any.

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
    if len(labels.classes) == 1:
        raise UserError(
            f"{split.manifest.path}: expected two classes or more, found {labels.classes[0]} only. Is it the right "
            "column that is named class?"
        )
    check_likeness(mapmix, labels)
    regions, targets = None, one_hot_matrix(len(labels.classes))
    if not mapmix.online:
        if mapmix.needs_regions:
            datamap = read_datamap(Path(str(mapmix.datamap)))
            regions = datamap.regions_for(split.manifest.columns["id"], split.manifest.columns["class"])
            for pool in (mapmix.anchors, mapmix.partners):
                _check_members(datamap, regions, pool, config.datamap.regions)
        targets = _target_matrix(mapmix, labels)
    plan = TrainingPlan(config, split.gold, labels, seed, regions, targets)
    partners = plan.sampler().partners
    across = partners is not None and mapmix.pairing is Pairing.ACROSS
    if across and len(np.unique(split.gold[partners])) == 1:
        raise UserError(
            "mapmix.pairing across needs partners of two classes or more; found one. Use pairing any, or another pool."
        )
    return plan


def check_likeness(mapmix: MapmixConfig, labels: Labels) -> None:
    """Find what is wrong with the likeness that confidence targets go by, so far as the labels alone decide about it.

    Raises
    ------
    UserError : a likeness of other classes, no file of one, or a damaged one.
    """
    if mapmix.targets is Targets.CONFIDENCE and mapmix.likeness in (Likeness.GIVEN, Likeness.LRE17):
        _likeness(mapmix, labels)


def online_plan(plan: TrainingPlan, dynamics: RunningDynamics) -> TrainingPlan:
    """Return the plan with regions and targets from what a run has seen so far (mapmix.online)."""
    config = plan.config
    regions = assign_regions(config.datamap, dynamics.confidence, dynamics.variability, plan.gold)
    return replace(
        plan,
        # Early on a region may have next to nobody; then everyone is taken until it has.
        regions=regions if _can_train_on(regions, plan) else None,
        targets=_target_matrix(config.mapmix, plan.labels, dynamics.likeness),
    )


def _can_train_on(regions: np.ndarray, plan: TrainingPlan) -> bool:
    """Say whether the regions that a run needs have a batch each, and partners two classes where it pairs across."""
    mapmix = plan.config.mapmix
    pools = [regions == pool.value for pool in (mapmix.anchors, mapmix.partners) if pool is not Pool.ALL]
    if any(np.count_nonzero(members) < min(plan.config.data.batch_size, len(regions)) for members in pools):
        return False
    across = mapmix.pairing is Pairing.ACROSS and mapmix.partners is not Pool.ALL
    return not across or len(np.unique(plan.gold[regions == mapmix.partners.value])) > 1


def assign_regions(
    config: DatamapConfig, confidence: np.ndarray, variability: np.ndarray, gold: np.ndarray
) -> np.ndarray:
    """Return the region of each utterance by the rule of the configuration, (utterances,) str.

    What was never heard has no confidence, is `UNHEARD` and counts for nothing in the shares of others.
    """
    heard = ~np.isnan(confidence)
    if not heard.all():
        regions = np.full(len(heard), UNHEARD, dtype=f"<U{max(map(len, (UNHEARD, *Region)))}")
        regions[heard] = assign_regions(config, confidence[heard], variability[heard], gold[heard])
        return regions
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


def data_fingerprint(manifest: Manifest, labels: Labels) -> str:
    """Return what names the utterances, their classes and the order of the labels, in 16 hex digits."""
    return _digest(labels.classes, manifest.columns["id"], manifest.columns["class"])


def _digest(*lists: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for values in lists:
        digest.update("\0".join(map(str, values)).encode())
        digest.update(b"\1")
    return digest.hexdigest()[:16]


def _check_members(datamap: DataMap, regions: np.ndarray, pool: Pool, rule: RegionRule) -> None:
    if pool is Pool.ALL or (regions == pool.value).any():
        return
    counts = ", ".join(f"{np.sum(regions == region.value)} {region.value}" for region in Region)
    advice = (
        "Train the map for more epochs (datamap.epochs), or let it take shares in place of thresholds "
        "(datamap.regions: quantile), with --overwrite"
        if rule is RegionRule.FIXED
        else "Use more data, or a larger share (datamap.easy_share, datamap.hard_share), with --overwrite"
    )
    raise UserError(
        f"{datamap.path}: no utterance is {pool.value} ({counts}). {advice}; in place of a map that you have named, "
        "name one of other regions (lid-mapmix datamap RUN --into DIR with --regions and what goes with them)."
    )


def _target_matrix(mapmix: MapmixConfig, labels: Labels, estimated: np.ndarray | None = None) -> np.ndarray:
    """Return the target row of each class, (classes, classes) float64; `estimated` is the likeness seen so far."""
    if mapmix.targets is Targets.ONE_HOT:
        return one_hot_matrix(len(labels.classes))
    if mapmix.likeness is Likeness.UNIFORM:
        return uniform_matrix(labels.cluster_indices, mapmix.target_share)
    likeness = _likeness(mapmix, labels) if estimated is None or not mapmix.needs_likeness else estimated
    return confidence_matrix(likeness, labels.cluster_indices, mapmix.target_share)


def _likeness(mapmix: MapmixConfig, labels: Labels) -> np.ndarray:
    """Return how alike the classes are, by whom the configuration asks, (classes, classes) float64."""
    if mapmix.likeness is Likeness.LRE17:
        return lre17_likeness(labels.classes)
    if mapmix.likeness is Likeness.ESTIMATED:
        return read_likeness(RunFolder(Path(str(mapmix.datamap)).parent).likeness, labels.classes)
    if mapmix.likeness_file is None:
        raise UserError("mapmix.likeness given needs mapmix.likeness_file, a CSV such as likeness.csv. Name it.")
    return read_likeness(Path(mapmix.likeness_file), labels.classes)
