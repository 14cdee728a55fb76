"""S3PRL's interface to the task: the methods that its runner calls.

Used by ``run_downstream.py -d lid_mapmix`` (this package's and S3PRL's own). The runner creates the expert, requests
the loader of each epoch, and calls the expert with the upstream's features and the batch.
"""

import math
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from .config.checks import check_configuration, task_config
from .config.renamed import rename_task_settings
from .config.sources import TASK_KEY, merge, read_variant
from .config.stock_s3prl import check_host, config_without_patches
from .data.audio.reading import MINIMUM_SAMPLES, read_audio
from .data.corpus import Corpus
from .data.crops import KeptFeatures
from .data.dataset import EvaluationBatch
from .data.loader import TaskLoader
from .evaluation.evaluator import Evaluation
from .host.optimization import check_optimization
from .host.runner import is_patched
from .model import DialectClassifier, audio_samples
from .training.checkpoints import STATE_VERSION, check_state
from .training.run import TrainingRun
from .training.train_dataset import TrainBatch
from .utils.distributed import is_rank_zero
from .utils.errors import UserError, diverged
from .utils.one_line import one_line
from .utils.run_folder import BEST_CHECKPOINT, RunFolder

_TRAIN = "train"


class DownstreamExpert(nn.Module):
    """Dialect identification with Map-Mix.

    Parameters
    ----------
    upstream_dim, upstream_rate : size of the upstream's frames, and samples from one to the next.
    downstream_expert, runner, optimizer : sections of the configuration. They are completed in place (variant,
        labels, steps), because S3PRL reads them afterwards and keeps them in its checkpoints.
    downstream_variant : -v; applied here unless a launcher has done it.
    upstream, upstream_trainable : -u and -f.
    init_ckpt : the checkpoint to use or resume from, None to start a new run.
    corpus : the data, if the caller has opened it already.
    other : S3PRL's other arguments, which are ignored.
    """

    def __init__(  # noqa: PLR0917 - S3PRL's runner gives all of them by name
        self,
        upstream_dim: int,
        upstream_rate: int,
        downstream_expert: MutableMapping[str, Any],
        runner: MutableMapping[str, Any],
        optimizer: MutableMapping[str, Any],
        expdir: str,
        seed: int,
        mode: str,
        downstream_variant: str | None = None,
        upstream: str = "",
        upstream_trainable: bool = False,
        init_ckpt: str | None = None,
        corpus: Corpus | None = None,
        **other: Any,
    ) -> None:
        super().__init__()
        downstream_expert.update(rename_task_settings(downstream_expert, is_past=mode != _TRAIN))
        # Unless a launcher or the resumed run has done so.
        if downstream_variant is not None and downstream_expert.get("variant") is None:
            downstream_expert.update(merge(downstream_expert, read_variant(downstream_variant)[TASK_KEY]))
            downstream_expert["variant"] = downstream_variant
        self.config = task_config(downstream_expert)
        if not is_patched():  # under S3PRL's own command, no launcher has checked the settings
            check_configuration({"optimizer": optimizer, "runner": runner, TASK_KEY: downstream_expert})
            check_optimization(optimizer, None)
            check_host(runner)
            self.config = config_without_patches(self.config, upstream, upstream_trainable)
        self.folder = RunFolder(Path(expdir))
        corpus = self.corpus = corpus or Corpus(
            self.config.data.directory,
            self.config.labels,
            skips_bad_audio=mode == _TRAIN and self.config.data.skips_bad_audio,
        )
        self.labels = self.corpus.labels
        downstream_expert["labels"] = {name: list(members) for name, members in self.labels.clusters.items()}
        classes = len(self.labels.classes)
        self.model = DialectClassifier(upstream_dim, upstream_rate, classes, **vars(self.config.model))
        self.evaluation = Evaluation(
            self.config,
            self.corpus,
            self.folder,
            seed=seed,
            checkpoint=None if init_ckpt is None else Path(init_ckpt),
            trains=mode == _TRAIN,
            report=self._report,
        )
        self._has_cache = False
        self.run: TrainingRun | None = None
        if mode == _TRAIN:
            # All of the data is checked before training. Most runs end with the scores of test, after hours.
            for name in (_TRAIN, *(runner.get("eval_dataloaders") or []), *(["test"] if corpus.has("test") else [])):
                self.corpus.split(name)
            self.run = TrainingRun(self.config, self.corpus, self.folder, seed, runner, report=self._report)

    def keep_features(self, split: str, kept: KeptFeatures) -> None:
        """Set where the features of a split are cached, before the first batch."""
        self._has_cache = True
        if split == _TRAIN and self.run is not None:
            self.run.kept = kept
        else:
            self.evaluation.kept[split] = kept

    # Methods that S3PRL's runner calls ------------------------------------------------------------------------------

    def get_dataloader(self, split: str, epoch: int | None = None) -> TaskLoader:
        """Return the loader of a split; for training, that of an epoch, starting where a resumed run stopped."""
        if split != _TRAIN or epoch is None or self.run is None:
            return self.evaluation.loader(split)
        if self.config.cache.directory is not None and not self._has_cache:
            raise UserError(
                "cache.directory: only run_downstream.py of lid_mapmix caches features, found another command. Set it "
                "to null."
            )
        return self.run.start_epoch(epoch)

    def forward(
        self,
        split: str,
        features: Sequence[torch.Tensor],
        batch: TrainBatch | EvaluationBatch,
        records: MutableMapping[str, list],
        **_: Any,
    ) -> torch.Tensor:
        """Return the loss of a training step, or record the probabilities of an evaluation step.

        `features`: one (frames, upstream_dim) torch.Tensor per waveform. `batch`: describes the waveforms. `records`:
        passed to :meth:`log_records` later.
        """
        device = features[0].device
        latents = self.model.latents(features, batch.waveforms.first.to(device), batch.waveforms.count.to(device))
        if isinstance(batch, TrainBatch):
            if self.run is None:
                raise ValueError("a training step needs an expert made with mode train")
            return self.run.loss(self.model, latents, batch, records)
        self.evaluation.record(batch, latents, self.model.logits(latents), records)
        return latents.new_zeros(())

    def log_records(
        self, split: str, records: MutableMapping[str, list], logger: Any, global_step: int, **_: Any
    ) -> list[str]:
        """Log training steps, or score a split, and return the names of the checkpoints to write."""
        if split == _TRAIN and "loss" in records:
            for name, values in records.items():
                mean = torch.stack(values).mean().item()
                if not math.isfinite(mean):
                    raise diverged(f"step {global_step}: {name} is {mean}")
                logger.add_scalar(f"lid_mapmix/{split}-{name}", mean, global_step)
            return []
        if self.run is not None:
            self.evaluation.class_prior = self.run.class_prior()
        overall, is_best = self.evaluation.conclude(split, records, global_step)
        if not overall:
            return []
        if self.run is not None:  # a curve of training has no scores of later evaluations
            for name, value in overall.items():
                logger.add_scalar(f"lid_mapmix/{split}-{name}", value, global_step)
        scores = ", ".join(f"{name} {value:.4f}" for name, value in overall.items())
        self._report(f"{split} at step {global_step}: {scores}")
        return [BEST_CHECKPOINT] if is_best else []

    def inference(self, features: Sequence[torch.Tensor], filenames: Sequence[str]) -> list[list[tuple[str, float]]]:
        """Print and return the classes of each file with their probabilities, the most probable first."""
        device = features[0].device
        # The runner does not pass the length of the audio; features of a single file have no padding.
        counts = torch.tensor([audio_samples(len(one), self.model.upstream_rate) for one in features], device=device)
        probabilities = self.model.logits(self.model.latents(features, torch.zeros_like(counts), counts)).softmax(dim=1)
        ranked = []
        for filename, row in zip(filenames, probabilities.tolist(), strict=True):
            ranking = sorted(zip(self.labels.classes, row, strict=True), key=lambda pair: -pair[1])
            tqdm.write(one_line(str(filename)))
            for name, probability in ranking:
                tqdm.write(f"  {one_line(name):<16} {probability:.4f}")
            ranked.append(ranking)
        return ranked

    def load_audio(self, path: Path | str) -> torch.Tensor:
        """Read a file for inference, (samples,) float32 at 16 kHz."""
        audio = read_audio(Path(path))
        if len(audio) < MINIMUM_SAMPLES:
            raise UserError(
                f"{path}: expected at least {MINIMUM_SAMPLES} samples at 16 kHz (25 ms), found {len(audio)}. Use "
                "longer audio."
            )
        return torch.from_numpy(audio)

    # State in checkpoints, except weights ---------------------------------------------------------------------------

    def get_extra_state(self) -> dict[str, Any]:
        """Return the best accuracy and the position in training."""
        return {
            "version": STATE_VERSION,
            "classes": list(self.labels.classes),
            "best_accuracy": self.evaluation.best_accuracy,
            "class_prior": self.evaluation.class_prior if self.run is None else self.run.class_prior(),
            "run": None if self.run is None else self.run.state(),
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the result of :meth:`get_extra_state`.

        Raises UserError: the checkpoint is damaged, has other classes than this run, or is of another version.
        """
        check_state(state)
        if state["classes"] != list(self.labels.classes):
            raise UserError(
                f"expected a checkpoint of the classes {', '.join(self.labels.classes)}, found one of "
                f"{', '.join(state['classes'])}. Use the data and labels.yaml that it was trained with; or train with "
                "others by -i RUN --new-classes, or score them by -m evaluate -e RUN --known-only."
            )
        self.evaluation.restore(state["best_accuracy"], state.get("class_prior"))
        if self.run is None:
            return
        if state["version"] != STATE_VERSION:
            raise UserError(
                "expected a checkpoint of this version of lid_mapmix, found one of a version that trains differently. "
                "Resume with that version, or train again with --overwrite."
            )
        if state["run"] is not None:
            self.run.restore(state["run"])

    def _report(self, line: str) -> None:
        if not is_rank_zero():
            return
        line = one_line(line)
        tqdm.write(line)
        with self.folder.log.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
