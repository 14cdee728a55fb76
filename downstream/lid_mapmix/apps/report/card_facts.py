"""What a model card says of a run, gathered from its checkpoint, its scores, and its data where that is still there."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...config.schema import EvaluationConfig
from ...config.settings import Settings
from ...data.corpus import Corpus
from ...data.labels import labels_from_mapping
from ...training.checkpoints import read_checkpoint
from ...utils.errors import UserError
from ...utils.run_folder import RunFolder

_SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Facts:
    """What a card says.

    Attributes
    ----------
    name : of the model.
    clusters : cluster → classes.
    upstream, variant : names.
    is_fine_tuned : whether the upstream was trained as well.
    data_name : of the corpus: the name of its folder.
    amounts : split → utterances, hours and speakers (0 where unknown); without those that are not there any more.
    class_counts : class → training utterances; empty where unknown.
    sources : of the training data, as its manifest calls them.
    scores : split → score → value.
    is_calibrated : whether probabilities are.
    crop_seconds : length of a training crop.
    evaluation : how recordings are cut.
    """

    name: str
    clusters: Mapping[str, Sequence[str]]
    upstream: str
    variant: str | None
    is_fine_tuned: bool
    data_name: str
    amounts: Mapping[str, tuple[int, float, int]]
    class_counts: Mapping[str, int]
    sources: Sequence[str]
    scores: Mapping[str, Mapping[str, Any]]
    is_calibrated: bool
    crop_seconds: float
    evaluation: EvaluationConfig


def read_facts(checkpoint: Path, name: str, corpus: Corpus | None = None) -> Facts:
    """Gather what there is to say of a run; of data that has gone nothing is said.

    Parameters
    ----------
    checkpoint : of the run, its scores beside it.
    name : of the model.
    corpus : the data now, and of the scores; None for where they were in training.

    Raises
    ------
    UserError : other data than the run's, of which a card would say that the run was trained on it.
    """
    states, folder = read_checkpoint(checkpoint), RunFolder(checkpoint.parent)
    settings = Settings.make(states["Args"], states["Config"])
    args, task = settings.args, settings.task
    labels = labels_from_mapping(task.labels, str(folder))
    corpus = corpus or Corpus(task.data.directory or "unknown", labels.clusters)
    own, found = (settings.data_directory or Path("unknown")).name, corpus.directory.name
    if found != own:
        raise UserError(f"expected scores of {own}, on which the run was trained, found those of {found}.")
    amounts: dict[str, tuple[int, float, int]] = {}
    counts: dict[str, int] = {}
    sources: list[str] = []
    for split in _SPLITS:
        try:
            manifest = corpus.manifest(split)
        except UserError:
            continue  # gone, or changed since: the card then does without
        speakers = len(np.unique(manifest.columns["speaker"])) if "speaker" in manifest.columns else 0
        amounts[split] = len(manifest), float(manifest.columns["seconds"].sum()) / 3600, speakers
        if split == "train":
            names, sizes = np.unique(manifest.columns["class"], return_counts=True)
            counts = dict(zip(names.tolist(), sizes.tolist(), strict=True))
            sources = [source for source in np.unique(manifest.text_column("source")).tolist() if source]
    metrics = {split: folder.metrics(split) for split in _SPLITS}
    scores = {split: _read_scores(path) for split, path in metrics.items() if path.is_file()}
    return Facts(
        name=name,
        clusters=labels.clusters,
        upstream=args.upstream,
        variant=task.variant,
        is_fine_tuned=bool(args.upstream_trainable),
        data_name=own,
        amounts=amounts,
        class_counts=counts,
        sources=sources,
        scores=scores,
        is_calibrated=folder.calibration.is_file(),
        crop_seconds=task.data.crop_seconds,
        evaluation=task.evaluation,
    )


def _read_scores(path: Path) -> dict[str, Any]:
    """Return the scores of a whole split, and the calibration error after calibration where there is one."""
    content = json.loads(path.read_text(encoding="utf-8"))
    calibrated = content.get("calibrated", {}).get("overall", {})
    return {**content["overall"], "ece_calibrated": calibrated.get("ece")}
