"""From the windows' probabilities to the scores of a split and the files that keep them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from .data.dataset import Split
from .data.labels import Labels
from .scoring.averaging import Average
from .scoring.averaging import average_windows as average_arrays
from .scoring.files import write_metrics, write_s3prl_predictions, write_scores
from .scoring.slices import metrics_with_slices

# The name under which S3PRL saves the best run by dev accuracy.
BEST_CHECKPOINT = "dev-best.ckpt"


def average_windows(
    utterances: Sequence[torch.Tensor],
    probabilities: Sequence[torch.Tensor],
    average: Average = Average.PROBABILITIES,
) -> tuple[np.ndarray, np.ndarray]:
    """Average the windows of each utterance, over all batches; see :func:`.scoring.averaging.average_windows`.

    Parameters
    ----------
    utterances : a (windows,) int64 torch.Tensor a batch, the utterance of each window.
    probabilities : a (windows, classes) float64 torch.Tensor a batch.
    average : of what.

    Returns
    -------
    utterances (evaluated,) int64, ascending, and probabilities (evaluated, classes) float64.
    """
    return average_arrays(torch.cat(list(utterances)).numpy(), torch.cat(list(probabilities)).numpy(), average)


def score(split: Split, labels: Labels, utterances: np.ndarray, probabilities: np.ndarray) -> dict[str, dict]:
    """Return all scores of a split, overall and by slice; see :func:`.scoring.slices.metrics_with_slices`."""
    manifest = split.manifest
    return metrics_with_slices(
        probabilities,
        split.gold[utterances],
        cluster_indices=labels.cluster_indices,
        cluster_names=tuple(labels.clusters),
        seconds=manifest.columns["seconds"][utterances],
        source=manifest.columns["source"][utterances] if "source" in manifest.columns else None,
    )


def write_results(
    expdir: Path,
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
    with np.errstate(divide="ignore"):  # a probability of 0 is written as -inf
        log_probabilities = np.log(probabilities)
    ids, truth = manifest.columns["id"][utterances], manifest.columns["class"][utterances]
    write_scores(
        expdir / f"{name}_scores.csv",
        ids=ids,
        classes=labels.classes,
        truth=truth,
        log_probabilities=log_probabilities,
        seconds=manifest.columns["seconds"][utterances],
        group=manifest.text_column("group")[utterances],
        source=manifest.text_column("source")[utterances],
    )
    write_metrics(expdir / f"{name}_metrics.json", metrics)
    write_s3prl_predictions(expdir, name, ids, classes[probabilities.argmax(axis=1)], truth)
