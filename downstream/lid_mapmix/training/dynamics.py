"""Training dynamics of a run: recorded in training, written after each epoch, and turned into its data map.

The folder RUN/dynamics holds one file per epoch. After each complete epoch, RUN/datamap.csv and
RUN/class_similarity.csv are written again from all epochs, so they are there whenever the run stops.

In distributed training, each process records the rows of all processes, so that the checkpoint of rank zero holds the
whole recording; only rank zero writes files.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..config.schema import DatamapConfig
from ..data.dataset import Split
from ..data.labels import Labels
from ..data.manifest.manifest import Manifest
from ..mapmix.datamap import Measures, RunningMeasures, measures
from ..mapmix.datamap_files import write_class_similarity, write_datamap
from ..mapmix.dynamics import Dynamics, EpochRecorder, epoch_rows, read_dynamics, read_epoch, write_epoch
from ..mapmix.label_noise import LabelNoise, estimate_label_noise
from ..utils.distributed import is_rank_zero
from ..utils.files import copy_file
from ..utils.run_folder import RunFolder, epoch_paths
from .plan import assign_regions, data_digest

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class RecordedMap:
    """The data map of the recorded epochs of a run."""

    measures: Measures  # of each training utterance
    regions: np.ndarray  # (utterances,) str, values of `Region`, or `UNREAD`
    # softmax_sums, softmax_counts: (classes, classes) float64 and (classes,) int64, as in :class:`.Dynamics`; with
    # label_noise, of the estimated true classes.
    softmax_sums: np.ndarray
    softmax_counts: np.ndarray


def read_map(
    directory: Path, manifest: Manifest, labels: Labels, config: DatamapConfig, **part: Any
) -> tuple[Dynamics, RecordedMap]:
    """Make the data map of the epochs in a folder; incomplete epochs are skipped with a warning.

    Raises UserError: no epoch to use, a damaged one, or one of other data.

    `manifest`, `labels`: of the recording. `part`: the epochs to use; see :func:`.mapmix.dynamics.read_dynamics`.
    """
    target_classes, digest = labels.class_indices(manifest), data_digest(manifest, labels)
    dynamics = _read_epochs(directory, target_classes, len(labels.classes), digest, **part)
    measured = measures(dynamics.probabilities, dynamics.correct)
    regions = assign_regions(config, measured.confidence, measured.variability, target_classes)
    if not config.label_noise:
        return dynamics, RecordedMap(measured, regions, dynamics.softmax_sums, dynamics.softmax_counts)
    noise = label_noise_of(dynamics, target_classes, len(labels.classes))
    sums = noise.true_classes
    return dynamics, RecordedMap(measured, noise.regions(regions), sums, np.rint(sums.sum(axis=1)).astype(np.int64))


def label_noise_of(dynamics: Dynamics, target_classes: np.ndarray, class_count: int) -> LabelNoise:
    """Estimate which labels are wrong, by the recorded epochs."""
    is_read = ~np.isnan(dynamics.probabilities)
    return estimate_label_noise(dynamics.predictions, is_read, target_classes, class_count)


def _read_epochs(directory: Path, target_classes: np.ndarray, class_count: int, digest: str, **part: Any) -> Dynamics:
    """Read the complete epochs in a folder, and warn of the others; see `read_dynamics`."""
    dynamics = read_dynamics(directory, target_classes, class_count, digest, **part)
    if dynamics.incomplete_epochs:
        logger.warning("%s: epochs %s are incomplete and not used", directory, dynamics.incomplete_epochs)
    return dynamics


def write_map(datamap: Path, class_similarity: Path, manifest: Manifest, labels: Labels, recorded: RecordedMap) -> None:
    """Write datamap.csv and class_similarity.csv, each complete or not at all."""
    write_class_similarity(class_similarity, labels.classes, recorded.softmax_sums, recorded.softmax_counts)
    write_datamap(datamap, manifest.columns, recorded.measures, recorded.regions)


def first_unrecorded(epoch: int, state: dict[str, Any]) -> int:
    """Return the first epoch that is not completely recorded, by what `DynamicsRecording.state` returned in `epoch`."""
    return epoch + 1 if len(state["indices"]) == state["utterance_count"] else epoch


def copy_epochs(past: RunFolder, folder: RunFolder, first_unrecorded: int) -> None:
    """Replace the epochs in the folder of a run by those before `first_unrecorded` of the run that it resumes."""
    folder.delete_recording()
    for number, path in epoch_paths(past.dynamics).items():
        if number < first_unrecorded:
            copy_file(path, folder.dynamics / path.name)


class _EpochsSoFar:
    """The measures of the epochs so far; each epoch is added once, so that none is read again after every epoch."""

    def __init__(self, dynamics: Dynamics, target_classes: np.ndarray) -> None:
        self._target_classes = target_classes
        self.last = int(dynamics.epochs[-1])
        self.running = RunningMeasures(len(target_classes))
        for epoch in zip(dynamics.probabilities, dynamics.correct, strict=True):
            self.running.add(*epoch)
        self.softmax_sums, self.softmax_counts = dynamics.softmax_sums, dynamics.softmax_counts

    def add(self, epoch: int, part: Mapping[str, np.ndarray]) -> None:
        self.last = epoch
        probabilities, predictions = epoch_rows(part, self._target_classes)
        self.running.add(probabilities, (predictions == self._target_classes) & ~np.isnan(probabilities))
        self.softmax_sums = self.softmax_sums + part["softmax_sums"]
        self.softmax_counts = self.softmax_counts + part["softmax_counts"]


class DynamicsRecording:
    """Records the training dynamics of a run. `split`, `labels`: the training data."""

    def __init__(self, folder: RunFolder, split: Split, labels: Labels, config: DatamapConfig) -> None:
        self.folder = folder
        self.split = split
        self.labels = labels
        self.config = config
        self.digest = data_digest(split.manifest, labels)
        self._recorder = self._new_recorder()
        self._so_far: _EpochsSoFar | None = None
        self._first_unrecorded = 0

    def reset(self) -> None:
        """Delete the recording of an earlier run in this folder, so that its epochs are not joined with new ones."""
        if not is_rank_zero():
            return
        self.folder.delete_recording()
        self._so_far = None

    def start_epoch(self) -> None:
        """Start an epoch at its first batch; an earlier epoch that lacks a batch is dropped with a warning."""
        if self._recorder.count > 0 and not self._recorder.is_complete:
            expected = self._recorder.utterance_count
            logger.warning("an epoch has %d of %d utterances and is not used", self._recorder.count, expected)
        self._recorder = self._new_recorder()

    def add(
        self,
        epoch: int,
        indices: torch.Tensor,
        target_classes: torch.Tensor,
        logits: torch.Tensor,
        is_read: torch.Tensor | None = None,
    ) -> None:
        """Record a training step; after the last step of an epoch, write the epoch and the map.

        `indices`, `target_classes`: (batch,) int64 utterance numbers and class numbers, of all processes. `logits`:
        (batch, classes) torch.Tensor of the step's forward pass. `is_read`: (batch,) bool, false where a replacement
        was read; None if there is none.
        """
        self._recorder.add(indices, target_classes, logits.detach().float().softmax(dim=1), is_read)
        if self._recorder.is_complete and is_rank_zero():
            path = write_epoch(self.folder.dynamics, epoch, self._recorder, self.digest)
            if self._so_far is not None and epoch > self._so_far.last:
                # Read back with all checks: a training that has diverged ends here.
                count, classes = len(self.split.target_classes), len(self.labels.classes)
                self._so_far.add(epoch, read_epoch(path, count, classes, self.digest))
            else:  # the first one of this process, or one that is recorded again
                self._so_far = None
            self.write_datamap()

    def write_datamap(self) -> None:
        """Write datamap.csv and class_similarity.csv from all complete epochs.

        Raises UserError: no complete epoch, a damaged one, or one of other data.
        """
        target_classes, classes = self.split.target_classes, len(self.labels.classes)
        if self.config.label_noise:  # needs all predictions
            _, made = read_map(self.folder.dynamics, self.split.manifest, self.labels, self.config)
        else:
            if self._so_far is None:
                recorded = _read_epochs(self.folder.dynamics, target_classes, classes, self.digest)
                self._so_far = _EpochsSoFar(recorded, target_classes)
            measured = self._so_far.running.measures()
            regions = assign_regions(self.config, measured.confidence, measured.variability, target_classes)
            made = RecordedMap(measured, regions, self._so_far.softmax_sums, self._so_far.softmax_counts)
        write_map(self.folder.datamap, self.folder.class_similarity, self.split.manifest, self.labels, made)

    def state(self) -> dict[str, Any]:
        """Return the recorded part of the current epoch, for a checkpoint."""
        return self._recorder.state()

    def restore(self, state: dict[str, Any], epoch: int) -> None:
        """Restore the state of a checkpoint that was written within an epoch; `resume` updates the files."""
        self._recorder.restore(state)
        self._first_unrecorded = first_unrecorded(epoch, state)

    def resume(self) -> None:
        """Make the folder match the restored state: delete later epochs, and warn of missing ones."""
        if not is_rank_zero():
            return
        self._so_far = None
        recorded = epoch_paths(self.folder.dynamics)
        for number in [number for number in recorded if number >= self._first_unrecorded]:
            recorded.pop(number).unlink()
        missing = [number for number in range(self._first_unrecorded) if number not in recorded]
        if missing:
            logger.warning(
                "%s: expected the recorded epochs %s of the resumed run, found none; the data map will not include "
                "them. To include them, copy that run's folder there first.",
                self.folder.dynamics,
                ", ".join(map(str, missing)),
            )

    def _new_recorder(self) -> EpochRecorder:
        return EpochRecorder(len(self.split.manifest), len(self.labels.classes))
