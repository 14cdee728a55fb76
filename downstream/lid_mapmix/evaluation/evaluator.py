"""A split in evaluation: its windows, what the model says of them, and the scores that come of it."""

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
from ..scoring.metrics import SUMMARY
from ..utils.errors import UserError, diverged
from ..utils.run_folder import RunFolder
from .dev_calibration import write_dev_calibration
from .latents import KeptLatents, choose_utterances
from .results import average_windows, intervals, score, score_calibrated, write_results

_DEV = "dev"


class Evaluation:
    """The evaluations of a run, the best of which on dev chooses its checkpoint.

    Parameters
    ----------
    config : the task's settings.
    corpus : the data.
    folder : of the run.
    checkpoint : the one in use, None where a run begins.
    report : is given each line for the user.
    seed : by which the utterances are drawn whose latents are kept.

    Attributes
    ----------
    kept : split → where the features of its windows are kept.
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
        self.kept: dict[str, KeptFeatures] = {}
        self.best_accuracy = -1.0  # on dev
        self._checkpoint, self._report = checkpoint, report
        self._seed = seed
        self._latents: KeptLatents | None = None
        self._is_restored = False

    def windows(self, name: str) -> np.ndarray:
        """Return the windows of a split: of dev the middle of each utterance, of others all of it.

        Returns
        -------
        (windows, 3) int64: utterance number, first sample, number of samples.
        """
        counts, config = self.corpus.split(name).counts, self.config.evaluation
        if name == _DEV:
            return centre_windows(counts, config.dev_crop_seconds)
        return sliding_windows(counts, config.window_seconds, config.hop_seconds)

    def loader(self, name: str) -> TaskLoader:
        """Return the loader of a split's windows, which are then recorded from the first one on."""
        most, self._latents = self.config.evaluation.keep_latents, None
        if name != _DEV and most > 0:
            total = len(self.corpus.split(name).counts)
            self._latents = KeptLatents(choose_utterances(total, most, self._seed, name))
        windows, config, kept = self.windows(name), self.config.evaluation, self.kept.get(name)
        return TaskLoader(
            EvaluationDataset(self.corpus.split(name), windows, is_kept=None if kept is None else kept.holds),
            window_batches(windows[:, 2], config.batch_seconds, mix_lengths=config.mix_lengths),
            workers=self.config.data.workers,
            kept=kept,
        )

    def record(
        self,
        batch: EvaluationBatch,
        latents: torch.Tensor,
        logits: torch.Tensor,
        records: MutableMapping[str, list],
    ) -> None:
        """Keep of a batch what :meth:`conclude` needs: the probabilities, and some latents.

        Parameters
        ----------
        batch : the windows.
        latents, logits : (windows, dim) and (windows, classes) torch.Tensor, what the model made of them.
        records : where the probabilities go.
        """
        records["utterances"].append(batch.utterance)
        # In float64 the logarithms of small probabilities stay finite.
        records["probabilities"].append(logits.cpu().double().softmax(dim=1))
        if self._latents is not None:
            self._latents.add(batch.utterance, latents)

    def restore(self, best_accuracy: float) -> None:
        """Go on from the best accuracy so far, if its checkpoint turns out to be in the run's folder."""
        self.best_accuracy, self._is_restored = best_accuracy, True

    def conclude(self, name: str, records: Mapping[str, list], step: int) -> tuple[dict[str, float], bool]:
        """Score a split and write its files; on dev those of the best step so far stay.

        Parameters
        ----------
        name : of the split.
        records : ``utterances``, a (windows,) int64 torch.Tensor a batch, and ``probabilities``, a (windows, classes)
            float64 torch.Tensor a batch.
        step : of the training; 0 where nothing is trained.

        Returns
        -------
        the scores of `SUMMARY` over the whole split, and whether this step is the best on dev so far.

        Raises
        ------
        UserError : the probabilities are no numbers.
        """
        utterances, probabilities = average_windows(
            records["utterances"], records["probabilities"], self.config.evaluation.average
        )
        if not np.isfinite(probabilities).all():
            raise diverged(f"{name} at step {step}: the probabilities are no numbers")
        split, labels = self.corpus.split(name), self.corpus.labels
        metrics = score(split, labels, utterances, probabilities)
        overall = {key: metrics["overall"][key] for key in SUMMARY}
        chooses = name == _DEV and step > 0
        if chooses and self._is_restored:
            # A run may go on in another folder: the best of that is the best of what is there.
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
            latents.unlink(missing_ok=True)  # those of an earlier evaluation belong to other scores
        if is_best:
            self.best_accuracy = overall["acc"]
            # That of a checkpoint which is no longer the best.
            self.folder.calibration.unlink(missing_ok=True)
        return overall, is_best

    def _intervals_and_calibration(
        self, name: str, utterances: np.ndarray, probabilities: np.ndarray, step: int
    ) -> dict[str, dict[str, Any]]:
        """Return intervals of the scores and, where a calibration can be fitted on dev, the scores after it.

        Not in training, which comes back to the split often and where dev is scored by another state of the model.
        """
        split, labels, config = self.corpus.split(name), self.corpus.labels, self.config.evaluation
        result: dict[str, dict[str, Any]] = {}
        if step > 0 or self._checkpoint is None:
            return result
        if config.bootstrap_samples > 0:
            result["intervals"] = intervals(split, labels, utterances, probabilities, config.bootstrap_samples)
        if config.calibration.kind is not None:
            try:
                calibration = write_dev_calibration(
                    self.folder, self._checkpoint, self.best_accuracy, labels.classes, config.calibration.kind
                )
            except UserError as error:  # the split has its scores all the same, perhaps after hours of training
                self._report(f"warning: {name} has no calibrated scores: {error}")
            else:
                result |= score_calibrated(split, labels, utterances, probabilities, calibration)
        return result
