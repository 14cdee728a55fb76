"""Training dynamics of a run: kept while it trains, written each epoch, turned into its data map.

The folder EXPDIR/dynamics holds a file an epoch; EXPDIR/datamap.csv and EXPDIR/likeness.csv are made anew from all of
them whenever an epoch is complete, so they are there whenever the run stops.

Where several processes train together, each keeps the rows of all of them, so that rank zero's checkpoint holds the
whole recording; rank zero alone writes files.
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
from ..mapmix.datamap_files import write_datamap, write_likeness
from ..mapmix.dynamics import EpochRecorder
from ..mapmix.dynamics_files import Dynamics, epoch_rows, read_dynamics, read_epoch, write_epoch
from ..utils.distributed import is_rank_zero
from ..utils.files import copy_file
from ..utils.run_folder import RunFolder, epoch_paths
from .plan import assign_regions, data_fingerprint

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class RecordedMap:
    """What the recorded epochs of a run come to.

    Attributes
    ----------
    measures : of each training utterance.
    regions : (utterances,) str, values of `Region`.
    softmax_sums, softmax_counts : (classes, classes) float64 and (classes,) int64, as in :class:`.Dynamics`.
    """

    measures: Measures
    regions: np.ndarray
    softmax_sums: np.ndarray
    softmax_counts: np.ndarray


def read_map(
    directory: Path,
    manifest: Manifest,
    labels: Labels,
    config: DatamapConfig,
    *,
    skip_first: int = 0,
    keep_first: int | None = None,
) -> tuple[Dynamics, RecordedMap]:
    """Make the data map of the epochs in a folder; epochs that are incomplete are left out, and that is logged.

    Parameters
    ----------
    directory : of the dynamics.
    manifest, labels : the training data they were recorded on.
    config : how regions are assigned.
    skip_first, keep_first : which epochs count; see :func:`.mapmix.dynamics_files.read_dynamics`.

    Raises
    ------
    UserError : no epoch that counts, a damaged one, or one of other data.
    """
    gold = labels.class_indices(manifest)
    dynamics = read_dynamics(
        directory,
        gold,
        len(labels.classes),
        data_fingerprint(manifest, labels),
        skip_first=skip_first,
        keep_first=keep_first,
    )
    if dynamics.incomplete_epochs:
        logger.warning("%s: epochs %s are incomplete and left out", directory, dynamics.incomplete_epochs)
    measured = measures(dynamics.probabilities, dynamics.correct)
    regions = assign_regions(config, measured.confidence, measured.variability, gold)
    return dynamics, RecordedMap(measured, regions, dynamics.softmax_sums, dynamics.softmax_counts)


def write_map(datamap: Path, likeness: Path, manifest: Manifest, labels: Labels, recorded: RecordedMap) -> None:
    """Write datamap.csv and likeness.csv, each complete or not at all."""
    write_likeness(likeness, labels.classes, recorded.softmax_sums, recorded.softmax_counts)
    write_datamap(datamap, manifest.columns, recorded.measures, recorded.regions)


def first_to_come(epoch: int, state: dict[str, Any]) -> int:
    """Return the first epoch that is not recorded as a whole yet, by what `DynamicsRecording.state` said in `epoch`."""
    return epoch + 1 if len(state["indices"]) == state["utterance_count"] else epoch


def copy_epochs(past: RunFolder, folder: RunFolder, first_to_come: int) -> None:
    """Put the epochs that another run has recorded in place of those in a folder, for a run that is resumed there.

    Parameters
    ----------
    past, folder : of the one and the other.
    first_to_come : the first epoch that is recorded anew; it and those after it stay behind.
    """
    folder.delete_recording()
    for number, path in epoch_paths(past.dynamics).items():
        if number < first_to_come:
            copy_file(path, folder.dynamics / path.name)


class _EpochsSoFar:
    """What the epochs of a run come to so far; each is joined once, so that none is read again at every epoch."""

    def __init__(self, dynamics: Dynamics, gold: np.ndarray) -> None:
        self._gold = gold
        self.last = int(dynamics.epochs[-1])
        self.running = RunningMeasures(len(gold))
        for epoch in zip(dynamics.probabilities, dynamics.correct, strict=True):
            self.running.add(*epoch)
        self.softmax_sums, self.softmax_counts = dynamics.softmax_sums, dynamics.softmax_counts

    def add(self, epoch: int, part: Mapping[str, np.ndarray]) -> None:
        self.last = epoch
        probabilities, predictions = epoch_rows(part, self._gold)
        self.running.add(probabilities, (predictions == self._gold) & ~np.isnan(probabilities))
        self.softmax_sums = self.softmax_sums + part["softmax_sums"]
        self.softmax_counts = self.softmax_counts + part["softmax_counts"]


class DynamicsRecording:
    """Record each step of a run.

    Parameters
    ----------
    folder : of the run.
    split, labels : the training data.
    config : how regions are assigned.
    """

    def __init__(self, folder: RunFolder, split: Split, labels: Labels, config: DatamapConfig) -> None:
        self.folder = folder
        self.split = split
        self.labels = labels
        self.config = config
        self.fingerprint = data_fingerprint(split.manifest, labels)
        self._recorder = self._new_recorder()
        self._so_far: _EpochsSoFar | None = None
        self._first_to_come = 0

    def reset(self) -> None:
        """Forget an earlier run in this folder, whose epochs would be joined with those of this one."""
        if not is_rank_zero():
            return
        self.folder.delete_recording()
        self._so_far = None

    def start_epoch(self) -> None:
        """Begin an epoch at its first batch; one before it that has lost a batch is left out, and that is logged."""
        if self._recorder.count > 0 and not self._recorder.is_complete:
            expected = self._recorder.utterance_count
            logger.warning("an epoch has %d of %d utterances and is left out", self._recorder.count, expected)
        self._recorder = self._new_recorder()

    def add(
        self,
        epoch: int,
        indices: torch.Tensor,
        gold: torch.Tensor,
        logits: torch.Tensor,
        heard: torch.Tensor | None = None,
    ) -> None:
        """Record a training step; at the last one of an epoch, write the epoch and the map.

        Parameters
        ----------
        epoch : number of the epoch.
        indices, gold : (batch,) int64 utterance numbers and class numbers, of all processes.
        logits : (batch, classes) torch.Tensor of the step's own forward pass.
        heard : (batch,) bool, whether they are of the utterance's own audio; None where all are.
        """
        self._recorder.add(indices, gold, logits.detach().float().softmax(dim=1), heard)
        if self._recorder.is_complete and is_rank_zero():
            path = write_epoch(self.folder.dynamics, epoch, self._recorder, self.fingerprint)
            if self._so_far is not None and epoch > self._so_far.last:
                # Read as it was written, with all its checks: a training that has diverged ends here.
                count, classes = len(self.split.gold), len(self.labels.classes)
                self._so_far.add(epoch, read_epoch(path, count, classes, self.fingerprint))
            else:  # the first one of this process, or one that is recorded anew
                self._so_far = None
            self.write_datamap()

    def write_datamap(self) -> None:
        """Write datamap.csv and likeness.csv from all complete epochs.

        Raises
        ------
        UserError : no complete epoch, a damaged one, or one of other data.
        """
        if self._so_far is None:
            self._so_far = self._read_epochs()
        measured = self._so_far.running.measures()
        regions = assign_regions(self.config, measured.confidence, measured.variability, self.split.gold)
        recorded = RecordedMap(measured, regions, self._so_far.softmax_sums, self._so_far.softmax_counts)
        write_map(self.folder.datamap, self.folder.likeness, self.split.manifest, self.labels, recorded)

    def _read_epochs(self) -> "_EpochsSoFar":
        """Read the epochs that this run has recorded, in an earlier process or in this one."""
        gold, classes = self.split.gold, len(self.labels.classes)
        dynamics = read_dynamics(self.folder.dynamics, gold, classes, self.fingerprint)
        if dynamics.incomplete_epochs:
            logger.warning(
                "%s: epochs %s are incomplete and left out", self.folder.dynamics, dynamics.incomplete_epochs
            )
        return _EpochsSoFar(dynamics, gold)

    def state(self) -> dict[str, Any]:
        """Return what of the epoch is recorded so far, for a checkpoint."""
        return self._recorder.state()

    def restore(self, state: dict[str, Any], epoch: int) -> None:
        """Go on within an epoch from where a checkpoint was written; no file is touched before `resume`."""
        self._recorder.restore(state)
        self._first_to_come = first_to_come(epoch, state)

    def resume(self) -> None:
        """Make the folder fit what was restored: what lies beyond is recorded anew, and what is missing is logged."""
        if not is_rank_zero():
            return
        self._so_far = None
        recorded = epoch_paths(self.folder.dynamics)
        for number in [number for number in recorded if number >= self._first_to_come]:
            recorded.pop(number).unlink()
        missing = [number for number in range(self._first_to_come) if number not in recorded]
        if missing:
            logger.warning(
                "%s: lacks the epochs %s, which this run goes on from, so that its map will be of the others only. "
                "Copy the folder of the run it comes from there first.",
                self.folder.dynamics,
                ", ".join(map(str, missing)),
            )

    def _new_recorder(self) -> EpochRecorder:
        return EpochRecorder(len(self.split.manifest), len(self.labels.classes))
