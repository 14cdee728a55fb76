"""Scores of a split from the probabilities of its windows, and the files of the scores."""

from collections.abc import Sequence

import numpy as np
import torch

from ..data.dataset import Split
from ..data.labels import Labels
from ..scoring.bootstrap import bootstrap
from ..scoring.calibration import Calibration
from ..scoring.choices import Average
from ..scoring.files.own import write_metrics, write_scores
from ..scoring.files.toolkits import write_s3prl_predictions
from ..scoring.metrics import average_windows as average_arrays
from ..scoring.metrics import reliability_curve
from ..scoring.scorecard import all_scores, metrics_with_slices
from ..scoring.weighted import WeightedScores
from ..utils.run_folder import RunFolder


def average_windows(
    utterances: Sequence[torch.Tensor], probabilities: Sequence[torch.Tensor], average: Average = Average.PROBABILITIES
) -> tuple[np.ndarray, np.ndarray]:
    """Average the windows of each utterance, over all batches; see :func:`.scoring.metrics.average_windows`.

    Returns the utterances, (evaluated,) int64, ascending, and probabilities (evaluated, classes) float64.

    `utterances`: one (windows,) int64 torch.Tensor per batch, the utterance of each window. `probabilities`: one
    (windows, classes) float64 torch.Tensor per batch. `average`: what is averaged.
    """
    return average_arrays(torch.cat(list(utterances)).numpy(), torch.cat(list(probabilities)).numpy(), average)


def score(split: Split, labels: Labels, utterances: np.ndarray, probabilities: np.ndarray) -> dict[str, dict]:
    """Return all scores of a split, overall and by slice; see :func:`.scoring.scorecard.metrics_with_slices`."""
    manifest = split.manifest
    return metrics_with_slices(
        probabilities,
        split.target_classes[utterances],
        cluster_indices=labels.cluster_indices,
        cluster_names=tuple(labels.clusters),
        class_names=labels.classes,
        seconds=manifest.columns["seconds"][utterances],
        source=_source(split, utterances),
    )


def score_calibrated(
    split: Split, labels: Labels, utterances: np.ndarray, probabilities: np.ndarray, calibration: Calibration
) -> dict[str, dict]:
    """Return the scores of a split after calibration, and its reliability curves before and after.

    Returns ``{"calibrated": {"kind", "basis", "overall": scores}, "reliability": {"before": points, "after":
    points}}``: scores are those of :func:`.scoring.scorecard.all_scores`, points those of
    :func:`.scoring.metrics.reliability_curve`. Costs and Cllr are computed from likelihoods, without class priors.
    """
    truth = split.target_classes[utterances]
    log_probabilities = _logarithms(probabilities)
    calibrated = np.exp(calibration.log_probabilities(log_probabilities))
    overall = all_scores(
        calibrated,
        truth,
        labels.cluster_indices,
        _source(split, utterances),
        log_likelihoods=calibration.log_likelihoods(log_probabilities),
    )
    return {
        "calibrated": {"kind": calibration.kind.value, "basis": calibration.basis, "overall": overall},
        "reliability": {
            "before": reliability_curve(probabilities, truth),
            "after": reliability_curve(calibrated, truth),
        },
    }


def intervals(
    split: Split, labels: Labels, utterances: np.ndarray, probabilities: np.ndarray, samples: int
) -> dict[str, list[float]]:
    """Return score → [low, high], the 95 % intervals over the whole split; the bootstrap draws whole groups.

    A score that is not defined has no interval. See :func:`.scoring.bootstrap.bootstrap`.
    """
    truth, source = split.target_classes[utterances], _source(split, utterances)
    system = WeightedScores(_logarithms(probabilities), truth, labels.cluster_indices, source)
    found = bootstrap(system, split.manifest.text_column("group")[utterances], samples)
    return {name: [one.low, one.high] for name, one in found.items() if np.isfinite([one.low, one.high]).all()}


def write_results(
    folder: RunFolder,
    name: str,
    *,
    split: Split,
    labels: Labels,
    utterances: np.ndarray,
    probabilities: np.ndarray,
    metrics: dict[str, dict],
) -> None:
    """Write SPLIT_scores.csv, SPLIT_metrics.json and S3PRL's SPLIT_predict.txt and SPLIT_truth.txt."""
    manifest = split.manifest
    classes = np.array(labels.classes)
    ids, truth = manifest.columns["id"][utterances], manifest.columns["class"][utterances]
    write_scores(
        folder.scores(name),
        ids=ids,
        classes=labels.classes,
        truth=truth,
        log_probabilities=_logarithms(probabilities),
        seconds=manifest.columns["seconds"][utterances],
        group=manifest.text_column("group")[utterances],
        source=manifest.text_column("source")[utterances],
    )
    write_metrics(folder.metrics(name), metrics)
    write_s3prl_predictions(folder.path, name, ids, classes[probabilities.argmax(axis=1)], truth)


def _source(split: Split, utterances: np.ndarray) -> np.ndarray | None:
    columns = split.manifest.columns
    return columns["source"][utterances] if "source" in columns else None


def _logarithms(probabilities: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):  # a probability of 0 is written as -inf
        return np.log(probabilities)
