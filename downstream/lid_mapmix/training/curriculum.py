"""What each epoch of a run trains on: its plan as it was made, or as the epochs behind it have changed it.

Two things change a plan on the way, and neither is in the paper: regions that are drawn from the run's own dynamics
(mapmix.online), and a plain end (mapmix.plain_finish), which mixes nothing and trains towards one-hot targets.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..mapmix.datamap import UNHEARD, Region
from ..mapmix.dynamics import RunningDynamics
from ..utils.errors import UserError
from .plan import TrainingPlan, online_plan
from .sampler import TrainSampler

_REGIONS = np.array([*(region.value for region in Region), UNHEARD])


class Curriculum:
    """The plan of the current epoch.

    Parameters
    ----------
    plan : what the run starts with.
    total_batches : length of the run.

    Attributes
    ----------
    plan, sampler : of the current epoch.
    dynamics : what an online run has seen so far; None in others.
    batches_behind : batches of the epochs before it.
    """

    def __init__(self, plan: TrainingPlan, total_batches: int) -> None:
        self.plan = plan
        self.sampler: TrainSampler = plan.sampler()
        self.dynamics = RunningDynamics(len(plan.gold), len(plan.targets)) if plan.config.mapmix.online else None
        self._start = plan
        finish = plan.config.mapmix.plain_finish
        self._plain_from = (1 - finish) * total_batches if finish > 0 else float("inf")
        self.batches_behind = 0
        self._is_plain = False

    def start_epoch(self, epoch: int) -> str | None:
        """Go on to an epoch from its first batch; return what has changed, in words."""
        if epoch > 0:
            self.batches_behind += len(self.sampler)
        mapmix, was_plain = self._start.config.mapmix, self._is_plain
        # To the nearest epoch: one that lies mostly in the plain end is plain.
        self._is_plain = was_plain or self.batches_behind + len(self.sampler) / 2 >= self._plain_from
        change = None
        if self._is_plain:
            self.plan = self._start.plain()
            change = None if was_plain else f"epoch {epoch}: from here on nothing is mixed"
        elif self.dynamics is not None and epoch >= mapmix.warmup_epochs:
            self.plan = online_plan(self._start, self.dynamics)
            change = f"epoch {epoch}: {self._count_regions()}"
        self.sampler = self.plan.sampler(epoch)
        return change

    def state(self) -> dict[str, Any]:
        """Return where in the run this is, for a checkpoint (loads with ``weights_only=True``)."""
        regions = self.plan.regions
        return {
            "batches_behind": self.batches_behind,
            "data_map": self._start.regions_digest(),
            "is_plain": self._is_plain,
            "regions": None
            if regions is None or self.dynamics is None
            else torch.from_numpy((regions[:, None] == _REGIONS).argmax(axis=1).astype(np.uint8)),
            "targets": torch.from_numpy(self.plan.targets.copy()),
            "dynamics": None if self.dynamics is None else self.dynamics.state(),
        }

    def restore(self, state: dict[str, Any], epoch: int) -> None:
        """Go on within an epoch from where a checkpoint was written.

        Raises
        ------
        UserError : the run had another data map, or draws its regions in another way.
        """
        if state["data_map"] != self._start.regions_digest():
            raise UserError(
                f"{self._start.config.mapmix.datamap}: expected the data map that this run was trained on so far, "
                "found one of other regions. Put that one back, or train anew."
            )
        self.batches_behind = state["batches_behind"]
        self._is_plain = state["is_plain"]
        if self._is_plain:
            self.plan = self._start.plain()
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
                    "expected the checkpoint of a run that draws its own regions (mapmix.online), found one of another "
                    "kind. Go on with the variant it was trained with, or train anew."
                )
            self.dynamics.restore(state["dynamics"])
        self.sampler = self.plan.sampler(epoch)

    def _count_regions(self) -> str:
        regions = self.plan.regions
        if regions is None:
            return "everyone, since a region still has less than a batch, or partners of one class"
        counts = {region: int(np.sum(regions == region)) for region in _REGIONS.tolist()}
        return ", ".join(f"{count} {region}" for region, count in counts.items() if count or region != UNHEARD)
