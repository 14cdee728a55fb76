"""steps.json of a run: its progress and its step time.

``{"step": steps done, "of": total steps, "first": steps done before this process, "seconds": since its first step}``.
The leaderboard estimates the remaining time from it; S3PRL's progress bar is for people.
"""

import json
import logging
import math
import time
from dataclasses import asdict, dataclass
from typing import Self

from ..utils.files import write_text
from ..utils.run_folder import RunFolder

logger = logging.getLogger(__name__)
_WRITE_EVERY = 1.0  # seconds


@dataclass(frozen=True)
class Progress:
    """Progress of a run."""

    step: int
    of: int
    first: int
    seconds: float

    @classmethod
    def read(cls, folder: RunFolder) -> Self | None:
        """Return what a run has last written, or None if there is no readable file."""
        try:
            return cls(**json.loads(folder.steps.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    @property
    def seconds_per_step(self) -> float | None:
        """Mean time of an optimizer step of this process, including the evaluations between steps."""
        made = self.step - self.first
        return self.seconds / made if made > 0 else None


class ProgressFile:
    """Writes steps.json at most once per second. `total`: optimizer steps of the run."""

    def __init__(self, folder: RunFolder, total: int) -> None:
        self._folder, self._total = folder, total
        self._first: int | None = None
        self._began = self._written = 0.0

    def update(self, step: int) -> None:
        """Record that `step` steps are complete."""
        now = time.monotonic()
        if self._first is None:
            self._first, self._began = step, now
        if now - self._written >= _WRITE_EVERY:
            self._written = now
            progress = Progress(step, self._total, self._first, now - self._began)
            try:
                write_text(self._folder.steps, json.dumps(asdict(progress)))
            except OSError as error:  # for example a full disk, which must not end the training
                logger.warning("%s cannot be written any more: %s", self._folder.steps, error)
                self._written = math.inf
