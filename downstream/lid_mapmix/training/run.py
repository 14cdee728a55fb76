"""A training run: the loader of each epoch, the loss of each step, and the state that a resumed run needs."""

from collections.abc import Callable, MutableMapping
from typing import Any

import torch

from ..config.schema import TaskConfig
from ..data.augment.augmenter import Augmenter
from ..data.corpus import Corpus
from ..data.crops import Crops, KeptFeatures
from ..data.loader import TaskLoader
from ..mapmix.mixup import MixSpace, mix, soft_cross_entropy
from ..model import DialectClassifier
from ..utils.distributed import gather_rows, is_rank_zero
from ..utils.run_folder import RunFolder
from .bad_audio import BadAudio
from .curriculum import Curriculum
from .dynamics import DynamicsRecording
from .plan import plan_training
from .progress import ProgressFile
from .schedule import fill_schedule
from .train_dataset import Replacements, TrainBatch, TrainDataset


class TrainingRun:
    """A training run and its position.

    Raises UserError: a fault of the data or the data map.

    `runner`: the ``runner`` part of the configuration, whose steps are filled in. `report`: prints and logs a line.
    """

    def __init__(
        self,
        config: TaskConfig,
        corpus: Corpus,
        folder: RunFolder,
        seed: int,
        runner: MutableMapping[str, Any],
        *,
        report: Callable[[str], None],
    ) -> None:
        self.config = config
        self.seed = seed
        self.split = corpus.split("train")
        self.crops = Crops(self.split.counts, config.data.crop_seconds, config.data.crop_step_seconds)
        self.kept: KeptFeatures | None = None  # where their features are cached; set before the first epoch, if at all
        self.augmenter = Augmenter.open(seed, **vars(config.data.augment))
        self.bad_audio = (
            BadAudio(folder, self.split, config.data.max_bad_fraction, report) if config.data.skips_bad_audio else None
        )
        plan = plan_training(config, self.split, corpus.labels, seed)
        epochs = config.datamap.epochs if config.datamap.record else config.epochs
        runner.setdefault("gradient_accumulate_steps", 1)
        fill_schedule(runner, len(plan.sampler()), epochs, runner["gradient_accumulate_steps"])
        self.curriculum = Curriculum(plan, runner["total_steps"] * runner["gradient_accumulate_steps"])
        self.recording = (
            DynamicsRecording(folder, self.split, corpus.labels, config.datamap) if config.datamap.record else None
        )
        self._accumulated = runner["gradient_accumulate_steps"]
        self._progress = ProgressFile(folder, runner["total_steps"])
        self._loader: TaskLoader | None = None
        self._targets = torch.empty(0)
        self._resume_at: tuple[int, int] | None = None  # epoch, number of its batches that are done

    def start_epoch(self, epoch: int) -> tuple[TaskLoader, str | None]:
        """Start an epoch, or continue it where a resumed run stopped.

        Returns its loader, and a line that describes what has changed since the last epoch, or None.
        """
        first_batch, change = 0, None
        if self._resume_at is not None and self._resume_at[0] == epoch:
            first_batch = self._resume_at[1]
            if self.recording is not None:
                self.recording.resume()
            if self.bad_audio is not None:
                self.bad_audio.resume()
        else:
            if self.bad_audio is not None and epoch == 0:
                self.bad_audio.reset()
            if self.recording is not None:
                if epoch == 0:
                    self.recording.reset()
                self.recording.start_epoch()
            change = self.curriculum.start_epoch(epoch)
        plan, sampler = self.curriculum.plan, self.curriculum.sampler
        self._targets = torch.from_numpy(plan.targets).float()
        pools = (sampler.anchors, sampler.anchors if sampler.partners is None else sampler.partners)
        replacements = Replacements(self.seed, self.split.target_classes, pools)
        self._loader = TaskLoader(
            TrainDataset(
                self.split,
                self.crops,
                self.seed,
                plan.config.mapmix.mix,
                is_kept=None if self.kept is None else self.kept.holds,
                augmenter=self.augmenter,
                replacements=None if self.bad_audio is None else replacements,
            ),
            sampler.batches(epoch, first_batch),
            workers=self.config.data.workers,
            seed=self.seed,
            epoch=epoch,
            first_batch=first_batch,
            process=sampler.process,
            kept=self.kept,
        )
        return self._loader, change

    def loss(
        self,
        model: DialectClassifier,
        latents: torch.Tensor,
        batch: TrainBatch,
        records: MutableMapping[str, list[torch.Tensor]],
    ) -> torch.Tensor:
        """Mix, classify, and return the loss of a step, () float32; records the dynamics.

        Parameters
        ----------
        model : its classifier is used.
        latents : (waveforms, dim) torch.Tensor; in latent mixup the anchors', then their partners'.
        batch : describes the waveforms.
        records : loss and accuracy are added to it.
        """
        if self.bad_audio is not None and self._loader is not None:
            self.bad_audio.add(self._loader.epoch, batch.faults)
        if self._loader is not None and is_rank_zero():
            # The current batch is not done yet.
            self._progress.update((self.curriculum.batches_behind + self._loader.position - 1) // self._accumulated)
        device = latents.device
        all_targets = self._targets = self._targets.to(device)
        target_classes = batch.anchor_classes.to(device)
        targets = all_targets[target_classes]
        if batch.partner_classes is not None:
            weight = batch.weight.to(device)
            if self.config.mapmix.mix is MixSpace.LATENT:
                self._observe(model, latents, batch)
                anchors, partners = latents.chunk(2)
                latents = mix(anchors, partners, weight)
            targets = mix(targets, all_targets[batch.partner_classes.to(device)], weight)
        logits = model.logits(latents)
        losses = soft_cross_entropy(logits, targets)
        if self.recording is not None and self._loader is not None:
            # For a replaced utterance, only that it was drawn is recorded.
            is_read = batch.drawn == batch.anchor
            rows = self._gather(batch.drawn, batch.anchor_classes, logits.float(), batch.loss_weight, is_read)
            self.recording.add(self._loader.epoch, *rows)
        records["loss"].append(losses.detach().mean())
        records["acc"].append((logits.argmax(dim=1) == target_classes).float().mean())
        return (batch.loss_weight.to(device) * losses).mean()

    def state(self) -> dict[str, Any]:
        """Return the position in the run, for a checkpoint (loads with ``weights_only=True``)."""
        return {
            "position": None if self._loader is None else [self._loader.epoch, self._loader.position],
            "curriculum": self.curriculum.state(),
            "recording": None if self.recording is None else self.recording.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        if state["position"] is None:
            return
        epoch, position = state["position"]
        self._resume_at = (epoch, position)
        self.curriculum.restore(state["curriculum"], epoch)
        if self.recording is not None and state["recording"] is not None:
            self.recording.restore(state["recording"], epoch)

    def _observe(self, model: DialectClassifier, latents: torch.Tensor, batch: TrainBatch) -> None:
        """Record the classifier's probabilities for unmixed anchors and partners, in an online run."""
        if self.curriculum.dynamics is None or batch.partner is None or batch.partner_classes is None:
            return
        with torch.no_grad():
            anchors, partners = model.logits(latents).float().softmax(dim=1).chunk(2)
        for indices, target_classes, softmax in (
            (batch.anchor, batch.anchor_classes, anchors),
            (batch.partner, batch.partner_classes, partners),
        ):
            rows = self._gather(indices, target_classes, softmax, batch.loss_weight)
            self.curriculum.dynamics.add(*(each.cpu().numpy() for each in rows))

    def _gather(
        self,
        indices: torch.Tensor,
        target_classes: torch.Tensor,
        values: torch.Tensor,
        loss_weight: torch.Tensor,
        *more: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Gather the rows of a step from all processes, without dummy rows."""
        return gather_rows((indices, target_classes, values, *more), loss_weight > 0, self.curriculum.sampler.max_rows)
