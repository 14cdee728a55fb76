"""Scores of a split from the probabilities of its windows, and the files of the scores."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..data.dataset import Split
from ..data.labels import Labels
from ..scoring.bootstrap import bootstrap, sampling_units
from ..scoring.calibration import Calibration
from ..scoring.files.own import write_metrics, write_scores
from ..scoring.files.toolkits import write_s3prl_predictions
from ..scoring.metrics import logarithms, reliability_curve
from ..scoring.proper import cllr_parts
from ..scoring.scorecard import all_scores, metrics_with_slices
from ..scoring.weighted import WeightedScores
from ..utils.run_folder import RunFolder


def score(
    split: Split, labels: Labels, probabilities: np.ndarray, class_prior: Sequence[float] | None = None
) -> dict[str, dict]:
    """Return all scores of a split, overall and by slice, and the class priors of training if they are known.

    See :func:`.scoring.scorecard.metrics_with_slices`. `probabilities`: (utterances, classes) float64.
    """
    manifest = split.manifest
    priors = {} if class_prior is None else {"class_prior": dict(zip(labels.classes, class_prior, strict=True))}
    return priors | metrics_with_slices(
        probabilities,
        split.target_classes,
        cluster_indices=labels.cluster_indices,
        cluster_names=tuple(labels.clusters),
        class_names=labels.classes,
        seconds=manifest.columns["seconds"],
        source=_source(split),
        class_prior=class_prior,
    )


def score_calibrated(
    split: Split, labels: Labels, probabilities: np.ndarray, calibration: Calibration
) -> dict[str, dict]:
    """Return the scores of a split after calibration, and its reliability curves before and after.

    Returns ``{"calibrated": {"kind", "basis", "overall": scores}, "reliability": {"before": points, "after":
    points}}``: scores are those of :func:`.scoring.scorecard.all_scores` and the parts of Cllr, points those of
    :func:`.scoring.metrics.reliability_curve`. Costs and Cllr are computed from likelihoods, without class priors.
    """
    truth = split.target_classes
    log_probabilities = logarithms(probabilities)
    calibrated = np.exp(calibration.log_probabilities(log_probabilities, seconds=split.seconds))
    likelihoods = calibration.log_likelihoods(log_probabilities, split.seconds)
    source = _source(split)
    overall = all_scores(calibrated, truth, labels.cluster_indices, source, log_likelihoods=likelihoods)
    overall |= cllr_parts(likelihoods, truth)
    return {
        "calibrated": {"kind": calibration.kind.value, "basis": calibration.basis, "overall": overall},
        "reliability": {
            "before": reliability_curve(probabilities, truth),
            "after": reliability_curve(calibrated, truth),
        },
    }


def intervals(
    split: Split, labels: Labels, probabilities: np.ndarray, class_prior: Sequence[float] | None = None, *, samples: int
) -> dict[str, Any]:
    """Return ``{"intervals": score → [low, high], "drawn": text}``, the 95 % intervals over the whole split.

    A score that is not defined has no interval. ``drawn`` says what the bootstrap drew; see `.scoring.bootstrap`.
    """
    truth, source = split.target_classes, _source(split)
    clusters = labels.cluster_indices
    system = WeightedScores(logarithms(probabilities), truth, clusters, source, class_prior=class_prior)
    units = sampling_units(truth, *(split.manifest.text_column(name) for name in ("group", "speaker")))
    found = bootstrap(system, units, samples)
    known = {name: [one.low, one.high] for name, one in found.items() if np.isfinite([one.low, one.high]).all()}
    return {"intervals": known, "drawn": units.text}


def write_results(
    folder: RunFolder, name: str, *, split: Split, labels: Labels, probabilities: np.ndarray, metrics: dict[str, dict]
) -> None:
    """Write SPLIT_scores.csv, SPLIT_metrics.json and S3PRL's SPLIT_predict.txt and SPLIT_truth.txt."""
    manifest = split.manifest
    classes = np.array(labels.classes)
    ids, truth = manifest.columns["id"], manifest.columns["class"]
    write_scores(
        folder.scores(name),
        ids=ids,
        classes=labels.classes,
        truth=truth,
        log_probabilities=logarithms(probabilities),
        seconds=manifest.columns["seconds"],
        group=manifest.text_column("group"),
        source=manifest.text_column("source"),
        speaker=manifest.text_column("speaker"),
    )
    write_metrics(folder.metrics(name), metrics)
    write_s3prl_predictions(folder.path, name, ids, classes[probabilities.argmax(axis=1)], truth)


def _source(split: Split) -> np.ndarray | None:
    return split.manifest.columns.get("source")
