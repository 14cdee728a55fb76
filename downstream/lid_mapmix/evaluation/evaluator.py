"""Evaluation of a split: its windows, the model's probabilities for them, and the scores."""

from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ..config.schema import TaskConfig
from ..data.corpus import Corpus
from ..data.crops import KeptFeatures
from ..data.dataset import EvaluationBatch, EvaluationDataset
from ..data.loader import TaskLoader
from ..data.windows import centre_windows, sliding_windows, window_batches
from ..scoring.calibration import write_calibration
from ..scoring.metrics import SUMMARY
from ..utils.errors import UserError, diverged
from ..utils.run_folder import RunFolder
from .dev_calibration import fit_on_dev
from .latents import KeptLatents, choose_utterances
from .results import average_windows, intervals, score, score_calibrated, write_results

_DEV = "dev"


class Evaluation:
    """The evaluations of a run; the best one on dev selects the checkpoint.

    `checkpoint`: the one in use, None when a run starts. `report`: prints and logs a line. `seed`: of the draw of the
    utterances whose latents are written.
    """

    def __init__(
        self,
        config: TaskConfig,
        corpus: Corpus,
        folder: RunFolder,
        *,
        seed: int = 0,
        checkpoint: Path | None = None,
        report: Callable[[str], None] = tqdm.write,
    ) -> None:
        self.config = config
        self.corpus = corpus
        self.folder = folder
        self.kept: dict[str, KeptFeatures] = {}  # split → where the features of its windows are cached
        self.best_accuracy = -1.0  # on dev
        self.class_prior: list[float] | None = None  # (classes,), that training has seen; None if unknown
        self._checkpoint, self._report = checkpoint, report
        self._seed = seed
        self._latents: KeptLatents | None = None
        self._is_restored = False

    def windows(self, name: str) -> np.ndarray:
        """Return the windows of a split: one from the middle of each utterance for dev, all windows for others.

        Returns (windows, 3) int64: utterance number, first sample, number of samples.
        """
        counts, config = self.corpus.split(name).counts, self.config.evaluation
        if name == _DEV:
            return centre_windows(counts, config.dev_crop_seconds)
        return sliding_windows(counts, config.window_seconds, config.hop_seconds)

    def loader(self, name: str) -> TaskLoader:
        """Return the loader of a split's windows, and start recording them."""
        max_count, self._latents = self.config.evaluation.keep_latents, None
        if name != _DEV and max_count > 0:
            total = len(self.corpus.split(name).counts)
            self._latents = KeptLatents(choose_utterances(total, max_count, self._seed, name))
        windows, config, kept = self.windows(name), self.config.evaluation, self.kept.get(name)
        return TaskLoader(
            EvaluationDataset(self.corpus.split(name), windows, is_kept=None if kept is None else kept.holds),
            window_batches(windows[:, 2], config.batch_seconds, mix_lengths=config.mix_lengths),
            workers=self.config.data.workers,
            kept=kept,
        )

    def record(
        self, batch: EvaluationBatch, latents: torch.Tensor, logits: torch.Tensor, records: MutableMapping[str, list]
    ) -> None:
        """Record what :meth:`conclude` needs of a batch: the probabilities, and some latents.

        `latents`, `logits`: (windows, dim) and (windows, classes) torch.Tensor, the output of the model. `records`: the
        probabilities are added to it.
        """
        records["utterances"].append(batch.utterance)
        # In float64, so that the logarithms of small probabilities stay finite.
        records["probabilities"].append(logits.cpu().double().softmax(dim=1))
        if self._latents is not None:
            self._latents.add(batch.utterance, latents)

    def restore(self, best_accuracy: float, class_prior: list[float] | None) -> None:
        """Set the best accuracy so far, which counts if its checkpoint is in the run's folder; and the class priors."""
        self.best_accuracy, self._is_restored = best_accuracy, True
        self.class_prior = class_prior

    def conclude(self, name: str, records: Mapping[str, list], step: int) -> tuple[dict[str, float], bool]:
        """Score a split and write its files; on dev, only the files of the best step so far are kept.

        Returns the scores of `SUMMARY` over the whole split, and whether this step is the best on dev so far.

        Raises UserError: a probability is not finite.

        `records`: ``utterances``, one (windows,) int64 torch.Tensor per batch, and ``probabilities``, one (windows,
        classes) float64 torch.Tensor per batch. `step`: of the training; 0 outside training.
        """
        utterances, probabilities = average_windows(
            records["utterances"], records["probabilities"], self.config.evaluation.average
        )
        if not np.isfinite(probabilities).all():
            raise diverged(f"{name} at step {step}: a probability is not finite")
        split, labels = self.corpus.split(name), self.corpus.labels
        metrics = score(split, labels, utterances, probabilities, self.class_prior)
        overall = {key: metrics["overall"][key] for key in SUMMARY}
        chooses = name == _DEV and step > 0
        if chooses and self._is_restored:
            # A run may be resumed in another folder, which may not have the best checkpoint so far.
            self._is_restored = False
            if not self.folder.best.is_file():
                self.best_accuracy = -1.0
        is_best = chooses and overall["acc"] > self.best_accuracy
        if name != _DEV:
            metrics |= self._intervals_and_calibration(name, utterances, probabilities, step)
        if is_best or not chooses:
            write_results(
                self.folder,
                name,
                split=split,
                labels=labels,
                utterances=utterances,
                probabilities=probabilities,
                metrics=metrics,
            )
        latents = self.folder.latents(name)
        if self._latents is not None:
            self._latents.write(latents, split.manifest.columns["id"])
        else:
            latents.unlink(missing_ok=True)  # of an earlier evaluation with other scores
        if is_best:
            self.best_accuracy = overall["acc"]
            # Of a checkpoint that is no longer the best.
            self.folder.calibration.unlink(missing_ok=True)
        return overall, is_best

    def _intervals_and_calibration(
        self, name: str, utterances: np.ndarray, probabilities: np.ndarray, step: int
    ) -> dict[str, Any]:
        """Return intervals of the scores and, if a calibration can be fitted on dev, the calibrated scores.

        Returns nothing in training, where splits are scored often and dev scores are of another state of the model.
        """
        split, labels, config = self.corpus.split(name), self.corpus.labels, self.config.evaluation
        result: dict[str, Any] = {}
        if step > 0 or self._checkpoint is None:
            return result
        if config.bootstrap_samples > 0:
            result |= intervals(
                split, labels, utterances, probabilities, self.class_prior, samples=config.bootstrap_samples
            )
            self._report(f"{name}: intervals by {config.bootstrap_samples} resamples of {result['drawn']}")
        if config.calibration.kind is not None:
            try:
                kind, classes = config.calibration.kind, labels.classes
                calibration = fit_on_dev(
                    self._checkpoint, self.best_accuracy, classes, kind, class_prior=self.class_prior
                )
                write_calibration(self.folder.calibration, calibration)
            except UserError as error:  # the uncalibrated scores, perhaps after hours of training, are written anyway
                self._report(f"warning: {name} has no calibrated scores: {error}")
            else:
                self._report(f"calibration: {calibration.basis}")
                result |= score_calibrated(split, labels, utterances, probabilities, calibration)
        return result
