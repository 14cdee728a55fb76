"""Evaluation of a split with its utterances truncated to several durations, in one pass over their windows."""

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..config.schema import TaskConfig
from ..data.audio.reading import SAMPLE_RATE
from ..data.corpus import Corpus
from ..data.dataset import EvaluationBatch
from ..data.windows import truncated_windows
from ..scoring.class_priors import divide_out
from ..scoring.metrics import average_windows
from ..scoring.scorecard import all_scores
from ..utils.errors import diverged
from ..utils.run_folder import RunFolder
from .evaluator import Evaluation


class TruncationEvaluation(Evaluation):
    """Scores at several durations, from the start of each utterance; writes nothing.

    `seconds`: the durations. A shorter utterance keeps its length.
    """

    def __init__(self, config: TaskConfig, corpus: Corpus, folder: RunFolder, seconds: Sequence[float]) -> None:
        super().__init__(replace(config, evaluation=replace(config.evaluation, keep_latents=0)), corpus, folder)
        self.seconds = seconds
        # After the evaluation, duration as text → the scores of `all_scores`, and ``long_enough``, the number of
        # utterances of at least this duration.
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

    def windows(self, name: str) -> np.ndarray:
        """Return the windows of all durations, (windows, 3) int64, without duplicates."""
        return self._cut(name)[0]

    def record(
        self, batch: EvaluationBatch, latents: torch.Tensor, logits: torch.Tensor, records: MutableMapping[str, list]
    ) -> None:
        """Record the probabilities of a batch and the numbers of its windows."""
        super().record(batch, latents, logits, records)
        records["windows"].append(batch.waveforms.slot)

    def conclude(self, name: str, records: Mapping[str, list], step: int) -> tuple[dict[str, float], bool]:
        """Set `scores`; returns nothing to log. Raises UserError: a probability is not finite."""
        windows, members = self._cut(name)
        recorded = torch.cat(records["probabilities"]).numpy()
        if not np.isfinite(recorded).all():
            raise diverged(f"{name}: a probability is not finite")
        probabilities = np.empty_like(recorded)
        probabilities[torch.cat(records["windows"]).numpy()] = recorded
        split = self.corpus.split(name)
        for seconds, chosen in zip(self.seconds, members, strict=True):
            _, averages = average_windows(windows[chosen, 0], probabilities[chosen], self.config.evaluation.average)
            with np.errstate(divide="ignore"):  # a probability of 0 is a likelihood of 0
                likelihoods = divide_out(np.log(averages), self.class_prior)
            self.scores[f"{seconds:g}"] = {
                **all_scores(
                    averages,
                    split.target_classes,
                    self.corpus.labels.cluster_indices,
                    split.manifest.columns.get("source"),
                    log_likelihoods=likelihoods,
                ),
                "long_enough": int((split.counts >= round(seconds * SAMPLE_RATE)).sum()),
            }
        return {}, False

    def _cut(self, name: str) -> tuple[np.ndarray, list[np.ndarray]]:
        config = self.config.evaluation
        counts = self.corpus.split(name).counts
        return truncated_windows(counts, self.seconds, config.window_seconds, config.hop_seconds)
