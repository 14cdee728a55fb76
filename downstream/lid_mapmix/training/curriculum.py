"""The training plan of each epoch: the initial plan, or one that earlier epochs have changed.

Two settings change the plan during a run, and neither is in the paper: regions from the run's own dynamics
(mapmix.online), and an unmixed tail (mapmix.unmixed_tail), which mixes nothing and has one-hot targets.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..mapmix.datamap import UNREAD, Region
from ..mapmix.dynamics import RunningDynamics
from ..utils.errors import UserError
from .plan import TrainingPlan, online_plan
from .sampler import TrainSampler

_REGIONS = np.array([*(region.value for region in Region), UNREAD])


class Curriculum:
    """The plan and the sampler of the current epoch.

    `plan`: the initial plan. `total_batches`: number of batches of the run.
    """

    def __init__(self, plan: TrainingPlan, total_batches: int) -> None:
        self.plan = plan
        self.sampler: TrainSampler = plan.sampler()
        online = plan.config.mapmix.online
        # The dynamics of an online run so far.
        self.dynamics = RunningDynamics(len(plan.target_classes), len(plan.targets)) if online else None
        self._start = plan
        tail = plan.config.mapmix.unmixed_tail
        self._tail_from = (1 - tail) * total_batches if tail > 0 else float("inf")
        self.batches_behind = 0  # number of batches in earlier epochs
        self._is_tail = False

    def start_epoch(self, epoch: int) -> str | None:
        """Start an epoch at its first batch; return a line that describes what has changed, or None."""
        if epoch > 0:
            self.batches_behind += len(self.sampler)
        mapmix, was_tail = self._start.config.mapmix, self._is_tail
        # To the nearest epoch: an epoch that lies mostly in the tail belongs to it.
        self._is_tail = was_tail or self.batches_behind + len(self.sampler) / 2 >= self._tail_from
        change = None
        if self._is_tail:
            self.plan = self._start.unmixed()
            change = None if was_tail else f"epoch {epoch}: unmixed from here on (mapmix.unmixed_tail)"
        elif self.dynamics is not None and epoch >= mapmix.warmup_epochs:
            self.plan = online_plan(self._start, self.dynamics)
            change = f"epoch {epoch}: {self._count_regions()}"
        self.sampler = self.plan.sampler(epoch)
        return change

    def state(self) -> dict[str, Any]:
        """Return the position in the run, for a checkpoint (loads with ``weights_only=True``)."""
        regions = self.plan.regions
        return {
            "batches_behind": self.batches_behind,
            "data_map": self._start.regions_digest(),
            "is_plain": self._is_tail,
            "regions": None
            if regions is None or self.dynamics is None
            else torch.from_numpy((regions[:, None] == _REGIONS).argmax(axis=1).astype(np.uint8)),
            "targets": torch.from_numpy(self.plan.targets.copy()),
            "dynamics": None if self.dynamics is None else self.dynamics.state(),
        }

    def restore(self, state: dict[str, Any], epoch: int) -> None:
        """Restore the state of a checkpoint that was written within an epoch.

        Raises UserError: the run had another data map, or another source of regions.
        """
        if state["data_map"] != self._start.regions_digest():
            raise UserError(
                f"{self._start.config.mapmix.datamap}: expected the data map that this run was trained on, found one "
                "with other regions. Restore that map, or train again with --overwrite."
            )
        self.batches_behind = state["batches_behind"]
        self._is_tail = state["is_plain"]
        if self._is_tail:
            self.plan = self._start.unmixed()
        elif self.dynamics is not None:
            regions = state["regions"]
            self.plan = replace(
                self._start,
                regions=None if regions is None else _REGIONS[regions.numpy()],
                targets=state["targets"].numpy(),
            )
        if self.dynamics is not None:
            if state["dynamics"] is None:
                raise UserError(
                    "expected the checkpoint of a run with mapmix.online, found one without. Resume with the variant "
                    "of the checkpoint, or train again with --overwrite."
                )
            self.dynamics.restore(state["dynamics"])
        self.sampler = self.plan.sampler(epoch)

    def _count_regions(self) -> str:
        regions = self.plan.regions
        if regions is None:
            return "all utterances, because a region has fewer than one batch, or partners of only one class"
        counts = {region: int(np.sum(regions == region)) for region in _REGIONS.tolist()}
        return ", ".join(f"{count} {region}" for region, count in counts.items() if count or region != UNREAD)
