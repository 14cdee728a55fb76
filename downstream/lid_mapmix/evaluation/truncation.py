"""Evaluation of a split with its utterances truncated to several durations, in one pass over their windows."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..config.schema import TaskConfig
from ..data.audio.reading import SAMPLE_RATE
from ..data.corpus import Corpus
from ..scoring.calibration import read_calibration_of
from ..scoring.class_priors import divide_out
from ..scoring.metrics import calibration_scores, logarithms
from ..scoring.scorecard import all_scores
from ..utils.run_folder import RunFolder
from .evaluator import Evaluation


class TruncationEvaluation(Evaluation):
    """Scores at several durations, from the start of each utterance; writes nothing.

    `seconds`: the durations. A shorter utterance keeps its length.
    """

    def __init__(self, config: TaskConfig, corpus: Corpus, folder: RunFolder, seconds: Sequence[float]) -> None:
        super().__init__(replace(config, evaluation=replace(config.evaluation, keep_latents=0)), corpus, folder)
        self.seconds = seconds
        # After the evaluation, duration as text → the scores of `all_scores`; ``long_enough``, the number of utterances
        # of at least this duration; and, with a calibration, ``ece_calibrated``, ``ece_floor_calibrated`` and
        # ``log_loss_calibrated``.
        self.scores: dict[str, dict[str, Any]] = {}

    @classmethod
    def of(cls, expert: Any, seconds: Sequence[float]) -> "TruncationEvaluation":
        """Replace the evaluation of an expert by this one, and return it.

        `expert`: a :class:`.expert.DownstreamExpert`.
        """
        class_prior = expert.evaluation.class_prior
        expert.evaluation = cls(expert.config, expert.corpus, expert.folder, seconds)
        expert.evaluation.class_prior = class_prior
        return expert.evaluation

    def durations(self, name: str) -> Sequence[float]:
        """Return the durations."""
        return self.seconds

    def conclude(self, name: str, records: Mapping[str, list], step: int) -> tuple[dict[str, float], bool]:
        """Set `scores`; returns nothing to log. Raises UserError: a probability is not finite."""
        split = self.corpus.split(name)
        for seconds, averages in zip(self.seconds, self.averages(name, records, step), strict=True):
            likelihoods = divide_out(logarithms(averages), self.class_prior)
            self.scores[f"{seconds:g}"] = {
                **all_scores(
                    averages,
                    split.target_classes,
                    self.corpus.labels.cluster_indices,
                    split.manifest.columns.get("source"),
                    log_likelihoods=likelihoods,
                ),
                **self._calibrated(averages, split.target_classes, np.minimum(split.seconds, seconds)),
                "long_enough": int((split.counts >= round(seconds * SAMPLE_RATE)).sum()),
            }
        return {}, False

    def _calibrated(self, probabilities: np.ndarray, truth: np.ndarray, seconds: np.ndarray) -> dict[str, float]:
        """Return the scores of calibrated probabilities; nothing without a calibration."""
        if not self.folder.calibration.is_file():
            return {}
        calibration = read_calibration_of(self.folder.calibration, self.corpus.labels.classes)
        values = calibration.log_probabilities(logarithms(probabilities), seconds=seconds)
        scores = calibration_scores(np.exp(values), truth)
        return {f"{name}_calibrated": scores[name] for name in ("ece", "ece_floor", "log_loss")}
