"""Training dynamics of a run: kept while it trains, written each epoch, turned into its data map.

The folder EXPDIR/dynamics holds a file an epoch; EXPDIR/datamap.csv and EXPDIR/likeness.csv are made anew from all of
them whenever an epoch is complete, so they are there whenever the run stops.

Where several processes train together, each keeps the rows of all of them, so that the leader's checkpoint holds the
whole recording; the leader alone writes files.
"""

import logging
from pathlib import Path
from typing import Any

import torch

from .config import DatamapConfig
from .data.dataset import Split
from .data.labels import Labels
from .distributed import is_leader
from .mapmix.datamap import measures
from .mapmix.datamap_files import write_datamap, write_likeness
from .mapmix.dynamics import EpochRecorder, read_dynamics
from .plan import DATAMAP_NAME, LIKENESS_NAME, assign_regions, data_fingerprint

logger = logging.getLogger(__name__)


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
        self.fingerprint = data_fingerprint(split, labels)
        self._recorder = self._new_recorder()

    @property
    def directory(self) -> Path:
        """Where the epochs are."""
        return self.expdir / "dynamics"

    def start_afresh(self) -> None:
        """Forget an earlier run in this folder, whose epochs would be joined with those of this one."""
        if not is_leader():
            return
        for path in (*self.directory.glob("epoch-*.npz"), self.expdir / DATAMAP_NAME, self.expdir / LIKENESS_NAME):
            path.unlink(missing_ok=True)

    def start_epoch(self) -> None:
        """Begin an epoch at its first batch."""
        self._recorder = self._new_recorder()

    def add(self, epoch: int, indices: torch.Tensor, gold: torch.Tensor, logits: torch.Tensor) -> None:
        """Record a training step; at the last one of an epoch, write the epoch and the map.

        Parameters
        ----------
        epoch : number of the epoch.
        indices, gold : (batch,) int64 utterance numbers and class numbers, of all processes.
        logits : (batch, classes) torch.Tensor of the step's own forward pass.
        """
        self._recorder.add(indices, gold, logits.detach().float().softmax(dim=1))
        if self._recorder.is_complete and is_leader():
            self._recorder.write(self.directory, epoch, self.fingerprint)
            self.write_datamap()

    def write_datamap(self) -> None:
        """Write datamap.csv and likeness.csv from all complete epochs."""
        manifest = self.split.manifest
        dynamics = read_dynamics(self.directory, self.split.gold, len(self.labels.classes), self.fingerprint)
        if dynamics.incomplete_epochs:
            logger.warning("%s: epochs %s are incomplete and left out", self.directory, dynamics.incomplete_epochs)
        measured = measures(dynamics.probabilities, dynamics.correct)
        regions = assign_regions(self.config, measured.confidence, measured.variability, self.split.gold)
        write_likeness(self.expdir / LIKENESS_NAME, self.labels.classes, dynamics.softmax_sums, dynamics.softmax_counts)
        write_datamap(self.expdir / DATAMAP_NAME, manifest.columns, measured, regions)

    def state(self) -> dict[str, Any]:
        """Return what of the epoch is recorded so far, for a checkpoint."""
        return self._recorder.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from where a checkpoint was written."""
        self._recorder.restore(state)

    def _new_recorder(self) -> EpochRecorder:
        return EpochRecorder(len(self.split.manifest), len(self.labels.classes))
