"""A training run: the loader of each epoch, the loss of each step, and the state that a resumed run needs."""

from collections.abc import Callable, MutableMapping
from typing import Any

import torch

from ..config.schema import TaskConfig
from ..data.augment.augmenter import Augmenter
from ..data.corpus import Corpus
from ..data.crops import Crops, KeptFeatures
from ..data.loader import TaskLoader
from ..data.voices import limits_of_voices
from ..mapmix.mixup import MixSpace, mix, soft_cross_entropy
from ..model import DialectClassifier
from ..utils.distributed import gather_rows
from ..utils.errors import UserError
from ..utils.run_folder import RunFolder
from .bad_audio import BadAudio
from .dynamics import DynamicsRecording
from .plan import plan_training
from .schedule import fill_schedule
from .train_dataset import Replacements, TrainBatch, TrainDataset


class TrainingRun:
    """A training run and its position. Raises UserError: a fault of the data or the data map.

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
        self.plan = plan_training(config, self.split, corpus.labels, seed)
        self._report, self.notes = report, [f"voices: {line}" for line in limits_of_voices(corpus)]
        self.sampler = self.plan.sampler()
        epochs = config.datamap.epochs if config.datamap.record else config.epochs
        runner.setdefault("gradient_accumulate_steps", 1)
        fill_schedule(runner, len(self.sampler), epochs, runner["gradient_accumulate_steps"])
        self.recording = (
            DynamicsRecording(folder, self.split, corpus.labels, config.datamap) if config.datamap.record else None
        )
        self._loader: TaskLoader | None = None
        self._targets = torch.from_numpy(self.plan.targets).float()
        self._resume_at: tuple[int, int] | None = None  # epoch, number of its batches that are done

    def start_epoch(self, epoch: int) -> TaskLoader:
        """Start an epoch, or continue it where a resumed run stopped, and return its loader."""
        first_batch = 0
        if self._resume_at is not None and self._resume_at[0] == epoch:
            first_batch = self._resume_at[1]
            if self.recording is not None:
                self.recording.resume()
            if self.bad_audio is not None:
                self.bad_audio.resume()
        else:
            for line in self.notes if epoch == 0 else ():
                self._report(line)
            if self.bad_audio is not None and epoch == 0:
                self.bad_audio.reset()
            if self.recording is not None:
                if epoch == 0:
                    self.recording.reset()
                self.recording.start_epoch()
        sampler = self.sampler
        pools = (sampler.anchors, sampler.anchors if sampler.partners is None else sampler.partners)
        replacements = Replacements(self.seed, self.split.target_classes, pools)
        self._loader = TaskLoader(
            TrainDataset(
                self.split,
                self.crops,
                self.seed,
                self.config.mapmix.mix,
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
        return self._loader

    def loss(
        self,
        model: DialectClassifier,
        latents: torch.Tensor,
        batch: TrainBatch,
        records: MutableMapping[str, list[torch.Tensor]],
    ) -> torch.Tensor:
        """Mix, classify, and return the loss of a step, () float32; records the dynamics.

        `model`: its classifier is used. `latents`: (waveforms, dim) torch.Tensor; in latent mixup the anchors', then
        their partners'. `batch`: describes the waveforms. `records`: loss and accuracy are added to it.
        """
        if self.bad_audio is not None and self._loader is not None:
            self.bad_audio.add(self._loader.epoch, batch.faults)
        device = latents.device
        all_targets = self._targets = self._targets.to(device)
        target_classes = batch.anchor_classes.to(device)
        targets = all_targets[target_classes]
        if batch.partner_classes is not None:
            weight = batch.weight.to(device)
            if self.config.mapmix.mix is MixSpace.LATENT:
                anchors, partners = latents.chunk(2)
                latents = mix(anchors, partners, weight)
            targets = mix(targets, all_targets[batch.partner_classes.to(device)], weight)
        logits = model.logits(latents)
        losses = soft_cross_entropy(logits, targets)
        if self.recording is not None and self._loader is not None:
            # For a replaced utterance, only that it was drawn is recorded.
            is_read = batch.drawn == batch.anchor
            rows = (batch.drawn, batch.anchor_classes, logits.float(), is_read)
            gathered = gather_rows(rows, batch.loss_weight > 0, self.sampler.max_rows)  # without dummy rows
            self.recording.add(self._loader.epoch, *gathered)
        records["loss"].append(losses.detach().mean())
        records["acc"].append((logits.argmax(dim=1) == target_classes).float().mean())
        return (batch.loss_weight.to(device) * losses).mean()

    def class_prior(self) -> list[float]:
        """Return the class priors that the network learns, (classes,); see the sampler."""
        return self.sampler.class_prior(len(self.plan.targets)).tolist()

    def state(self) -> dict[str, Any]:
        """Return the position in the run, for a checkpoint (loads with ``weights_only=True``)."""
        return {
            "position": None if self._loader is None else [self._loader.epoch, self._loader.position],
            "curriculum": {"data_map": self.plan.regions_digest()},
            "recording": None if self.recording is None else self.recording.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the state of a checkpoint. Raises UserError: the run had another data map."""
        if state["position"] is None:
            return
        epoch, position = state["position"]
        self._resume_at = (epoch, position)
        if state["curriculum"]["data_map"] != self.plan.regions_digest():
            raise UserError(
                f"{self.config.mapmix.datamap}: expected the data map that this run was trained on, found one with "
                "other regions. Restore that map, or train again with --overwrite."
            )
        if self.recording is not None and state["recording"] is not None:
            self.recording.restore(state["recording"], epoch)
