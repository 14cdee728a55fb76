"""The plan of a training run, made before it starts: anchors, partners and targets."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..config.schema import DatamapConfig, MapmixConfig, Pool, TaskConfig
from ..data.dataset import Split
from ..data.labels import Labels
from ..data.manifest.manifest import Manifest
from ..mapmix.datamap import OLD_UNREAD, UNREAD, Region, RegionRule, fixed_regions, quantile_regions
from ..mapmix.datamap_files import DataMap, read_class_similarity, read_datamap
from ..mapmix.mixup import MixSpace, Pairing
from ..mapmix.targets import ClassSimilarity, Targets, confidence_matrix, lre17_class_similarity, smoothed_matrix
from ..utils.distributed import rank, world_size
from ..utils.errors import UserError
from ..utils.run_folder import RunFolder
from .sampler import TrainSampler

# Unread utterances are in no region.
_REGIONS_OF: Mapping[Pool, list[str]] = {
    Pool.ALL: [*Region, UNREAD],
    Pool.NOT_HARD: [Region.EASY, Region.AMBIGUOUS],
    **{Pool(region): [region] for region in Region},
}


@dataclass(frozen=True, eq=False)
class TrainingPlan:
    """Anchors, partners and targets of a run."""

    config: TaskConfig  # the task's settings
    target_classes: np.ndarray  # (utterances,) int64 class numbers
    seed: int  # of every draw
    regions: np.ndarray | None  # (utterances,) str of a data map; None where all utterances are anchors and partners
    targets: np.ndarray  # (classes, classes) float64, the target row of each class

    def sampler(self) -> TrainSampler:
        """Return the sampler of the batches."""
        mapmix, data = self.config.mapmix, self.config.data
        return TrainSampler(
            anchors=self._pool(mapmix.anchors),
            partners=None if mapmix.mix is MixSpace.NONE else self._pool(mapmix.partners),
            classes=self.target_classes,
            pairing=mapmix.pairing,
            batch_size=data.batch_size,
            power=data.sampler.exponent(data.sampler_power),
            alpha=mapmix.alpha,
            lambda_per=mapmix.lambda_per,
            probability=mapmix.probability,
            seed=self.seed,
            process=rank(),
            processes=world_size(),
        )

    def regions_digest(self) -> str | None:
        """Return a digest of the regions, so that a run is not resumed with another data map."""
        if self.regions is None:
            return None
        # Under the old name, so that checkpoints of version 0.1.0 can be resumed.
        return _digest([OLD_UNREAD if region == UNREAD else region for region in self.regions.tolist()])

    def _pool(self, pool: Pool) -> np.ndarray:
        """Return the utterances of a pool, (members,) int64, ascending."""
        if self.regions is None:
            return np.arange(len(self.target_classes))
        return np.flatnonzero(np.isin(self.regions, _REGIONS_OF[pool]))


def plan_training(config: TaskConfig, split: Split, labels: Labels, seed: int) -> TrainingPlan:
    """Choose anchors, partners and targets (docs/method.md, "The rows of the paper's tables").

    Raises UserError: a data map is needed and not given, was made from another manifest, or has an empty region.
    """
    mapmix = config.mapmix
    if config.needs_datamap and mapmix.datamap is None:
        subject = "this configuration" if config.variant is None else f"variant {config.variant}"
        raise UserError(
            f"{subject} needs a data map, and mapmix.datamap names none. Train '-v datamap' first and add "
            "'-o config.downstream_expert.mapmix.datamap=RUN/datamap.csv' with the folder it was trained in "
            "(this package's own run_downstream.py does both in one command)."
        )
    untrained = np.setdiff1d(np.arange(len(labels.classes)), split.target_classes)
    if len(untrained):
        raise UserError(
            f"{split.manifest.path}: expected training utterances of every class, found none of "
            f"{labels.classes[untrained[0]]}. Add some, or remove the class from labels.yaml."
        )
    if len(labels.classes) == 1:
        raise UserError(
            f"{split.manifest.path}: expected at least two classes, found only {labels.classes[0]}. Check that the "
            "column named class is the right one."
        )
    check_class_similarity(mapmix, labels)
    regions = None
    if mapmix.needs_regions:
        datamap = read_datamap(Path(str(mapmix.datamap)))
        regions = datamap.regions_for(split.manifest.columns["id"], split.manifest.columns["class"])
        for pool in (mapmix.anchors, mapmix.partners):
            _check_members(datamap, regions, pool, config.datamap.regions)
    targets = np.eye(len(labels.classes))
    own_class_weight = None if isinstance(mapmix.own_class_weight, str) else mapmix.own_class_weight
    if mapmix.targets is Targets.CONFIDENCE:
        targets = confidence_matrix(_class_similarity(mapmix, labels), labels.cluster_indices, own_class_weight)
    elif mapmix.targets is Targets.SMOOTHED:
        if own_class_weight is None:
            raise UserError(
                "mapmix.own_class_weight: expected a number with targets smoothed, found estimated. Set 0.9."
            )
        targets = smoothed_matrix(len(labels.classes), own_class_weight)
    plan = TrainingPlan(config, split.target_classes, seed, regions, targets)
    partners = plan.sampler().partners
    across = partners is not None and mapmix.pairing is Pairing.ACROSS
    if across and len(np.unique(split.target_classes[partners])) == 1:
        raise UserError(
            "mapmix.pairing across: expected partners of at least two classes, found one. Use pairing any, or another "
            "pool."
        )
    return plan


def check_class_similarity(mapmix: MapmixConfig, labels: Labels) -> None:
    """Check the class similarity that confidence targets use, as far as it depends on the labels only.

    Raises UserError: it is of other classes, or its file is missing or damaged.
    """
    if mapmix.targets is Targets.CONFIDENCE and mapmix.class_similarity is not ClassSimilarity.ESTIMATED:
        _class_similarity(mapmix, labels)


def assign_regions(
    config: DatamapConfig, confidence: np.ndarray, variability: np.ndarray, target_classes: np.ndarray
) -> np.ndarray:
    """Return the region of each utterance by the rule of the configuration, (utterances,) str.

    An utterance that was never read has no confidence; it is `UNREAD` and not counted in the fractions of regions.
    """
    is_read = ~np.isnan(confidence)
    if not is_read.all():
        regions = np.full(len(is_read), UNREAD, dtype=f"<U{max(map(len, (UNREAD, *Region)))}")
        regions[is_read] = assign_regions(config, confidence[is_read], variability[is_read], target_classes[is_read])
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
        easy_fraction=config.easy_fraction,
        hard_fraction=config.hard_fraction,
        groups=target_classes if config.per_class else None,
    )


def data_digest(manifest: Manifest, labels: Labels) -> str:
    """Return a digest of the utterances, their classes and the order of the labels, 16 hex digits."""
    return _digest(labels.classes, manifest.columns["id"], manifest.columns["class"])


def _digest(*lists: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for values in lists:
        digest.update("\0".join(map(str, values)).encode())
        digest.update(b"\1")
    return digest.hexdigest()[:16]


def _check_members(datamap: DataMap, regions: np.ndarray, pool: Pool, rule: RegionRule) -> None:
    if np.isin(regions, _REGIONS_OF[pool]).any():
        return
    counts = ", ".join(f"{np.sum(regions == region.value)} {region.value}" for region in Region)
    advice = (
        "Train the map for more epochs (datamap.epochs), or use datamap.regions quantile, with --overwrite"
        if rule is RegionRule.FIXED
        else "Use more data, or a larger datamap.easy_fraction or datamap.hard_fraction, with --overwrite"
    )
    raise UserError(
        f"{datamap.path}: expected {pool.value} utterances, found none ({counts}). {advice}. If you set "
        "mapmix.datamap, use a map with other regions (lid-mapmix datamap RUN --out DIR --regions …)."
    )


def _class_similarity(mapmix: MapmixConfig, labels: Labels) -> np.ndarray:
    """Return the class similarity that the configuration names, (classes, classes) float64."""
    if mapmix.class_similarity is ClassSimilarity.UNIFORM:
        return np.ones((len(labels.classes), len(labels.classes)))
    if mapmix.class_similarity is ClassSimilarity.LRE17:
        return lre17_class_similarity(labels.classes)
    if mapmix.class_similarity is ClassSimilarity.ESTIMATED:
        return read_class_similarity(RunFolder(Path(str(mapmix.datamap)).parent).class_similarity, labels.classes)
    if mapmix.class_similarity_file is None:
        raise UserError(
            "mapmix.class_similarity given: expected mapmix.class_similarity_file, found none. Set it to a CSV such as "
            "class_similarity.csv."
        )
    return read_class_similarity(Path(mapmix.class_similarity_file), labels.classes)
