"""Training dynamics of a run: kept while it trains, written each epoch, turned into its data map.

The folder EXPDIR/dynamics holds a file an epoch; EXPDIR/datamap.csv and EXPDIR/likeness.csv are made anew from all of
them whenever an epoch is complete, so they are there whenever the run stops.

Where several processes train together, each keeps the rows of all of them, so that the leader's checkpoint holds the
whole recording; the leader alone writes files.
"""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..config.schema import DatamapConfig
from ..data.dataset import Split
from ..data.labels import Labels
from ..data.manifest.manifest import Manifest
from ..mapmix.datamap import Measures, measures
from ..mapmix.datamap_files import write_datamap, write_likeness
from ..mapmix.dynamics import EpochRecorder
from ..mapmix.dynamics_files import Dynamics, epoch_paths, read_dynamics, write_epoch
from ..utils.distributed import is_leader
from ..utils.files import replace_when_complete
from .plan import DATAMAP_NAME, LIKENESS_NAME, PICTURE_NAME, assign_regions, data_fingerprint

logger = logging.getLogger(__name__)
DYNAMICS_NAME = "dynamics"
# What `lid-mapmix datamap` makes of a recording besides.
METRICS_NAME = "td_metrics.jsonl"
SUSPECTS_NAME = "suspects.csv"
BY_CLASS_NAME = "datamap-by-class.png"
_MADE_OF_EPOCHS = (DATAMAP_NAME, LIKENESS_NAME, PICTURE_NAME, METRICS_NAME, SUSPECTS_NAME, BY_CLASS_NAME)


@dataclass(frozen=True, eq=False)
class RecordedMap:
    """What the recorded epochs of a run come to.

    Attributes
    ----------
    dynamics : the epochs.
    measures : of each training utterance.
    regions : (utterances,) str, values of `Region`.
    """

    dynamics: Dynamics
    measures: Measures
    regions: np.ndarray


def read_map(
    directory: Path,
    manifest: Manifest,
    labels: Labels,
    config: DatamapConfig,
    *,
    skip_first: int = 0,
    keep_first: int | None = None,
) -> RecordedMap:
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
    return RecordedMap(dynamics, measured, assign_regions(config, measured.confidence, measured.variability, gold))


def write_map(datamap: Path, likeness: Path, manifest: Manifest, labels: Labels, recorded: RecordedMap) -> None:
    """Write datamap.csv and likeness.csv, each complete or not at all."""
    dynamics = recorded.dynamics
    write_likeness(likeness, labels.classes, dynamics.softmax_sums, dynamics.softmax_counts)
    write_datamap(datamap, manifest.columns, recorded.measures, recorded.regions)


def first_to_come(epoch: int, state: dict[str, Any]) -> int:
    """Return the first epoch that is not recorded as a whole yet, by what `DynamicsRecording.state` said in `epoch`."""
    return epoch + 1 if len(state["indices"]) == state["utterance_count"] else epoch


def take_over_epochs(past: Path, expdir: Path, first_to_come: int) -> None:
    """Put the epochs that another run has recorded in place of those in a folder, for a run that goes on there.

    Parameters
    ----------
    past, expdir : the folders of the one and the other.
    first_to_come : the first epoch that is recorded anew; it and those after it stay behind.
    """
    forget_recording(expdir)
    for number, path in epoch_paths(past / DYNAMICS_NAME).items():
        if number >= first_to_come:
            continue
        with replace_when_complete(expdir / DYNAMICS_NAME / path.name) as temporary:
            shutil.copyfile(path, temporary)


def holds_recording(expdir: Path) -> bool:
    """Say whether a run in this folder has recorded an epoch."""
    return bool(epoch_paths(expdir / DYNAMICS_NAME))


def forget_recording(expdir: Path) -> None:
    """Delete what a run in this folder has recorded, and what was made of it."""
    made = (expdir / name for name in _MADE_OF_EPOCHS)
    for path in (*epoch_paths(expdir / DYNAMICS_NAME).values(), *made):
        path.unlink(missing_ok=True)
    if (expdir / DYNAMICS_NAME).is_dir() and not any((expdir / DYNAMICS_NAME).iterdir()):
        (expdir / DYNAMICS_NAME).rmdir()


class DynamicsRecording:
    """Record each step of a run.

    Parameters
    ----------
    expdir : the run's folder.
    split, labels : the training data.
    config : how regions are assigned.
    """

    def __init__(self, expdir: Path, split: Split, labels: Labels, config: DatamapConfig) -> None:
        self.expdir = expdir
        self.split = split
        self.labels = labels
        self.config = config
        self.fingerprint = data_fingerprint(split.manifest, labels)
        self._recorder = self._new_recorder()
        self._first_to_come = 0

    @property
    def directory(self) -> Path:
        """Where the epochs are."""
        return self.expdir / DYNAMICS_NAME

    def start_afresh(self) -> None:
        """Forget an earlier run in this folder, whose epochs would be joined with those of this one."""
        if not is_leader():
            return
        forget_recording(self.expdir)

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
        if self._recorder.is_complete and is_leader():
            write_epoch(self.directory, epoch, self._recorder, self.fingerprint)
            self.write_datamap()

    def write_datamap(self) -> None:
        """Write datamap.csv and likeness.csv from all complete epochs."""
        manifest = self.split.manifest
        recorded = read_map(self.directory, manifest, self.labels, self.config)
        write_map(self.expdir / DATAMAP_NAME, self.expdir / LIKENESS_NAME, manifest, self.labels, recorded)

    def state(self) -> dict[str, Any]:
        """Return what of the epoch is recorded so far, for a checkpoint."""
        return self._recorder.state()

    def restore(self, state: dict[str, Any], epoch: int) -> None:
        """Go on within an epoch from where a checkpoint was written; no file is touched before `go_on`."""
        self._recorder.restore(state)
        self._first_to_come = first_to_come(epoch, state)

    def go_on(self) -> None:
        """Make the folder fit what was restored: what lies beyond is recorded anew, and what is missing is logged."""
        if not is_leader():
            return
        recorded = epoch_paths(self.directory)
        for number in [number for number in recorded if number >= self._first_to_come]:
            recorded.pop(number).unlink()
        missing = [number for number in range(self._first_to_come) if number not in recorded]
        if missing:
            logger.warning(
                "%s: lacks the epochs %s, which this run goes on from, so that its map will be of the others only. "
                "Copy the folder of the run it comes from there first.",
                self.directory,
                ", ".join(map(str, missing)),
            )

    def _new_recorder(self) -> EpochRecorder:
        return EpochRecorder(len(self.split.manifest), len(self.labels.classes))
