"""A run in training: the loader of each epoch, the loss of each step, and what has to go on after an interruption."""

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
from .replacements import Replacements
from .sampler import TrainSampler
from .schedule import fill_schedule
from .train_dataset import TrainBatch, TrainDataset


class TrainingRun:
    """What stays the same from step to step, and where in the run it is.

    Attributes
    ----------
    crops : the training crops.
    kept : where their features are kept; set before the first epoch, if at all.

    Parameters
    ----------
    config : the task's settings.
    corpus : the data.
    folder : of the run.
    seed : of every draw.
    runner : the ``runner`` part of the configuration, whose steps are filled in.
    report : prints and logs a line.

    Raises
    ------
    UserError : whatever is wrong with the data or the data map.
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
        self.kept: KeptFeatures | None = None
        self.augmenter = Augmenter.open(seed, **vars(config.data.augment))
        self.bad_audio = (
            BadAudio(folder, self.split, config.data.most_bad_share, report) if config.data.skips_bad_audio else None
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
        self._resume_at: tuple[int, int] | None = None  # epoch, batches behind it

    def start_epoch(self, epoch: int) -> tuple[TaskLoader, str | None]:
        """Go on to an epoch, or to where in it a resumed run stopped.

        Returns
        -------
        its loader, and in words what has changed since the epoch before, if anything.
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
        self._loader = TaskLoader(
            TrainDataset(
                self.split,
                self.crops,
                self.seed,
                plan.config.mapmix.mix,
                is_kept=None if self.kept is None else self.kept.holds,
                augmenter=self.augmenter,
                replacements=None if self.bad_audio is None else self._replacements(sampler),
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
        """Mix, classify, and return the loss of a step, () float32; dynamics are recorded on the way.

        Parameters
        ----------
        model : for its classifier.
        latents : (waveforms, dim) torch.Tensor, in latent mixup the anchors' and then their partners'.
        batch : what the waveforms are.
        records : loss and accuracy are added to it.
        """
        if self.bad_audio is not None and self._loader is not None:
            self.bad_audio.add(self._loader.epoch, batch.faults)
        if self._loader is not None and is_rank_zero():
            # The batch at hand is not behind yet.
            self._progress.update((self.curriculum.batches_behind + self._loader.position - 1) // self._accumulated)
        device = latents.device
        all_targets = self._targets = self._targets.to(device)
        gold = batch.anchor_gold.to(device)
        targets = all_targets[gold]
        if batch.partner_gold is not None:
            weight = batch.weight.to(device)
            if self.config.mapmix.mix is MixSpace.LATENT:
                self._observe(model, latents, batch)
                anchors, partners = latents.chunk(2)
                latents = mix(anchors, partners, weight)
            targets = mix(targets, all_targets[batch.partner_gold.to(device)], weight)
        logits = model.logits(latents)
        losses = soft_cross_entropy(logits, targets)
        if self.recording is not None and self._loader is not None:
            # Of an utterance that another stands in for there is nothing to record but that it had its turn.
            heard = batch.drawn == batch.anchor
            rows = self._gather(batch.drawn, batch.anchor_gold, logits.float(), batch.share, heard)
            self.recording.add(self._loader.epoch, *rows)
        records["loss"].append(losses.detach().mean())
        records["acc"].append((logits.argmax(dim=1) == gold).float().mean())
        return (batch.share.to(device) * losses).mean()

    def state(self) -> dict[str, Any]:
        """Return where in the run this is, for a checkpoint (loads with ``weights_only=True``)."""
        return {
            "position": None if self._loader is None else [self._loader.epoch, self._loader.position],
            "curriculum": self.curriculum.state(),
            "recording": None if self.recording is None else self.recording.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from where a checkpoint was written."""
        if state["position"] is None:
            return
        epoch, position = state["position"]
        self._resume_at = (epoch, position)
        self.curriculum.restore(state["curriculum"], epoch)
        if self.recording is not None and state["recording"] is not None:
            self.recording.restore(state["recording"], epoch)

    def _observe(self, model: DialectClassifier, latents: torch.Tensor, batch: TrainBatch) -> None:
        """Let an online run see what the classifier says of anchors and partners before they are mixed."""
        if self.curriculum.dynamics is None or batch.partner is None or batch.partner_gold is None:
            return
        with torch.no_grad():
            anchors, partners = model.logits(latents).float().softmax(dim=1).chunk(2)
        for indices, gold, softmax in (
            (batch.anchor, batch.anchor_gold, anchors),
            (batch.partner, batch.partner_gold, partners),
        ):
            rows = self._gather(indices, gold, softmax, batch.share)
            self.curriculum.dynamics.add(*(each.cpu().numpy() for each in rows))

    def _replacements(self, sampler: TrainSampler) -> Replacements:
        pools = (sampler.anchors, sampler.anchors if sampler.partners is None else sampler.partners)
        return Replacements(self.seed, self.split.gold, pools)

    def _gather(
        self, indices: torch.Tensor, gold: torch.Tensor, values: torch.Tensor, share: torch.Tensor, *more: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Bring together what the processes have of a step, less the rows that only keep one of them company."""
        return gather_rows((indices, gold, values, *more), share > 0, self.curriculum.sampler.most_rows)
