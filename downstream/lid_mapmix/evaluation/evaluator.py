"""Evaluation of a split: its windows, the model's probabilities for them, and the scores."""

import math
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import replace
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
from ..data.voices import limits_of_voices
from ..data.windows import centre_windows, truncated_windows, window_batches
from ..scoring.calibration import write_calibration
from ..scoring.metrics import SUMMARY, average_windows
from ..scoring.open_set import write_novelty
from ..utils.errors import UserError, diverged
from ..utils.run_folder import BEST_CHECKPOINT, RunFolder
from .dev_calibration import calibrate_on_dev, calibration_of
from .latents import KeptLatents, choose_utterances, novelty_of
from .results import intervals, score, score_calibrated, write_results

_DEV = "dev"
# Seconds that dev is truncated to, besides its whole utterances, so that the calibration knows short audio.
_DEV_CUTS = (0.5, 1.0, 3.0, 10.0)


class Evaluation:
    """The evaluations of a run; the best one on dev selects the checkpoint.

    `checkpoint`: the one in use, None when a run starts. `trains`: whether this is an evaluation in training. `report`:
    prints and logs a line. `seed`: of the draw of the utterances whose latents are written.
    """

    def __init__(
        self,
        config: TaskConfig,
        corpus: Corpus,
        folder: RunFolder,
        *,
        seed: int = 0,
        checkpoint: Path | None = None,
        trains: bool = False,
        report: Callable[[str], None] = tqdm.write,
    ) -> None:
        self.config = config
        self.corpus = corpus
        self.folder = folder
        self.kept: dict[str, KeptFeatures] = {}  # split → where the features of its windows are cached
        self.best_accuracy = -1.0  # on dev
        self.class_prior: list[float] | None = None  # (classes,), that training has seen; None if unknown
        self._checkpoint, self._trains, self._report = checkpoint, trains, report
        self._seed = seed
        # For each duration, which windows it has, (windows,) bool, and the latents of some utterances.
        self._latents: list[tuple[torch.Tensor, KeptLatents]] = []
        self._is_restored = False

    def windows(self, name: str) -> np.ndarray:
        """Return the windows of a split: one from the middle of each utterance for dev in training, else all.

        Returns (windows, 3) int64: utterance number, first sample, number of samples.
        """
        return self._cut(name)[0]

    def durations(self, name: str) -> Sequence[float]:
        """Return the seconds that a split is truncated to, each for all utterances; infinity for whole utterances."""
        return (math.inf, *_DEV_CUTS) if name == _DEV else (math.inf,)

    def _cut(self, name: str) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return the windows, and for each of the durations the numbers of its windows."""
        counts, config = self.corpus.split(name).counts, self.config.evaluation
        if name == _DEV and self._trains:
            return centre_windows(counts, config.dev_crop_seconds), [np.arange(len(counts))]
        return truncated_windows(counts, self.durations(name), config.window_seconds, config.hop_seconds)

    def loader(self, name: str) -> TaskLoader:
        """Return the loader of a split's windows, and start recording them."""
        (windows, members), config, kept = self._cut(name), self.config.evaluation, self.kept.get(name)
        self._latents = []
        if config.keep_latents > 0 and not (name == _DEV and self._trains):
            chosen = choose_utterances(len(self.corpus.split(name).counts), config.keep_latents, self._seed, name)
            for numbers in members:
                belongs = torch.zeros(len(windows), dtype=torch.bool).index_fill(0, torch.from_numpy(numbers), True)
                self._latents.append((belongs, KeptLatents(chosen)))
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
        records["windows"].append(batch.waveforms.slot)
        # In float64, so that the logarithms of small probabilities stay finite.
        records["probabilities"].append(logits.cpu().double().softmax(dim=1))
        for belongs, kept in self._latents:
            rows = torch.nonzero(belongs[batch.waveforms.slot])[:, 0]
            kept.add(batch.utterance[rows], latents[rows.to(latents.device)])

    def restore(self, best_accuracy: float, class_prior: list[float] | None) -> None:
        """Set the best accuracy so far, which counts if its checkpoint is in the run's folder; and the class priors."""
        self.best_accuracy, self._is_restored = best_accuracy, True
        self.class_prior = class_prior

    def conclude(self, name: str, records: Mapping[str, list], step: int) -> tuple[dict[str, float], bool]:
        """Score a split and write its files; on dev, only the files of the best step so far are kept.

        Returns the scores of `SUMMARY` over the whole split, and whether this step is the best on dev so far.

        Raises UserError: a probability is not finite.

        `records`: ``windows``, one (windows,) int64 torch.Tensor per batch, and ``probabilities``, one (windows,
        classes) float64 torch.Tensor per batch. `step`: of the training; 0 outside training.
        """
        probabilities, *truncated = self.averages(name, records, step)
        split, labels = self.corpus.split(name), self.corpus.labels
        metrics: dict[str, Any] = score(split, labels, probabilities, self.class_prior)
        overall = {key: metrics["overall"][key] for key in SUMMARY}
        chooses = name == _DEV and step > 0
        if chooses and self._is_restored:
            # A run may be resumed in another folder, which may not have the best checkpoint so far.
            self._is_restored = False
            if not self.folder.best.is_file():
                self.best_accuracy = -1.0
        is_best = chooses and overall["acc"] > self.best_accuracy
        if self.corpus.unknown is not None:
            metrics["unknown_classes"] = others = self.corpus.unknown[name]
            self._report(f"{name}: {sum(others.values())} utterances of {len(others)} unknown classes are not scored")
        elif not self._trains:
            metrics["limits"] = limits_of_voices(self.corpus)
        if name != _DEV and not self._trains:  # splits are scored often in training
            metrics |= self._intervals_and_calibration(name, probabilities)
        if is_best or not chooses:
            write_results(self.folder, name, split=split, labels=labels, probabilities=probabilities, metrics=metrics)
        if name == _DEV and not self._trains and self._checkpoint is not None:
            if self._checkpoint.name == BEST_CHECKPOINT:
                self._calibrate(probabilities, truncated)
                self._write_novelty()
            else:
                self._report(f"no calibration: expected {BEST_CHECKPOINT}, found {self._checkpoint}")
        latents = self.folder.latents(name)
        if self._latents and name != _DEV:
            self._latents[0][1].write(latents, split.manifest.columns["id"])
        else:
            latents.unlink(missing_ok=True)  # of an earlier evaluation with other scores
        if is_best:
            self.best_accuracy = overall["acc"]
            # Of a checkpoint that is no longer the best.
            self.folder.calibration.unlink(missing_ok=True)
            self.folder.novelty.unlink(missing_ok=True)
        return overall, is_best

    def averages(self, name: str, records: Mapping[str, list], step: int) -> list[np.ndarray]:
        """Average the windows of each utterance.

        Returns for each of the durations (utterances, classes) float64. Raises UserError: a probability is not finite.

        `name`, `records`, `step`: as for :meth:`conclude`.
        """
        windows, members = self._cut(name)
        recorded = torch.cat(records["probabilities"]).numpy()
        if not np.isfinite(recorded).all():
            raise diverged(f"{name} at step {step}: a probability is not finite")
        probabilities = np.empty_like(recorded)
        probabilities[torch.cat(records["windows"]).numpy()] = recorded
        average = self.config.evaluation.average
        return [average_windows(windows[chosen, 0], probabilities[chosen], average)[1] for chosen in members]

    def _calibrate(self, probabilities: np.ndarray, truncated: Sequence[np.ndarray]) -> None:
        """Fit the calibration of the best checkpoint on dev, and write it."""
        kind = self.config.evaluation.calibration
        if kind is None:
            return
        self.folder.calibration.unlink(missing_ok=True)
        split = self.corpus.split(_DEV)
        cuts = dict(zip(self.durations(_DEV)[1:], truncated, strict=True))
        try:
            calibration = calibrate_on_dev(
                kind, split, self.corpus.labels, probabilities, cuts, class_prior=self.class_prior
            )
        except UserError as error:  # the scores, perhaps after hours of training, are complete without it
            self._report(f"warning: no calibration: {error}")
            return
        write_calibration(self.folder.calibration, replace(calibration, best_accuracy=self.best_accuracy))
        self._report(f"calibration: {calibration.basis}")

    def _write_novelty(self) -> None:
        """Write what the novelty of recordings is computed from, of the best checkpoint."""
        self.folder.novelty.unlink(missing_ok=True)
        if self._latents:
            kept = dict(zip(self.durations(_DEV), (latents for _, latents in self._latents), strict=True))
            novelty = novelty_of(self.corpus.split(_DEV), kept)
            if novelty is not None:
                write_novelty(self.folder.novelty, novelty)

    def _intervals_and_calibration(self, name: str, probabilities: np.ndarray) -> dict[str, Any]:
        """Return intervals of the scores and, if the run has a calibration, the calibrated scores."""
        split, labels, config = self.corpus.split(name), self.corpus.labels, self.config.evaluation
        result: dict[str, Any] = {}
        if self._checkpoint is None:
            return result
        if config.bootstrap_samples > 0:
            result |= intervals(split, labels, probabilities, self.class_prior, samples=config.bootstrap_samples)
            self._report(f"{name}: intervals by {config.bootstrap_samples} resamples of {result['drawn']}")
        if config.calibration is None:
            return result
        try:
            calibration = calibration_of(self._checkpoint, self.folder, self.best_accuracy, labels.classes)
        except UserError as error:
            self._report(f"warning: {name} has no calibrated scores: {error}")
            return result
        return result | score_calibrated(split, labels, probabilities, calibration)
