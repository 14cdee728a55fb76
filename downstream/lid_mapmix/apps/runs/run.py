"""A run: settings, folder and data, with the methods that train, evaluate and report.

All runs of one command share a corpus, so that each manifest and each audio header is read once.
"""

import gc
import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import yaml

from ...config.settings import Settings
from ...data.augment.augmenter import Augmenter
from ...data.corpus import Corpus
from ...evaluation.dev_calibration import calibration_of
from ...host.runner import make_runner
from ...training.checkpoints import kept_state, read_checkpoint, with_new_classes
from ...training.plan import check_class_similarity
from ...utils.distributed import broadcast_from_rank_zero, is_rank_zero
from ...utils.errors import UserError
from ...utils.files import write_text
from ...utils.garbage import collecting_only_new
from ...utils.run_folder import BEST_CHECKPOINT, RunFolder
from ..report.command import try_report
from ..report.datamap_figure import try_datamap_figure
from ..report.model_card import try_card
from .feature_cache import attach_cache


class Run:
    """A run of S3PRL's runner in a folder. `trains`: whether the command trains, and may skip bad audio."""

    def __init__(self, settings: Settings, corpus: Corpus | None = None, *, trains: bool = True) -> None:
        self.settings = settings
        self._trains = trains
        self.folder: RunFolder = settings.folder
        self._corpus = corpus

    @property
    def corpus(self) -> Corpus:
        """The data; opened on first use."""
        if self._corpus is None:
            task = self.settings.task
            skips = self._trains and task.data.skips_bad_audio
            self._corpus = Corpus(task.data.directory, task.labels, skips_bad_audio=skips)
        return self._corpus

    def sibling(self, settings: Settings) -> Self:
        """Return another run on the same data."""
        return type(self)(settings, self.corpus)

    def check_data(self) -> None:
        """Check settings and manifests, not yet the audio, before an upstream is loaded. Raises UserError."""
        self.settings.check_host(trains=True)
        task = self.settings.task
        check_class_similarity(task.mapmix, self.corpus.labels)
        Augmenter.open(self.settings.args.seed, **vars(task.data.augment))
        self.corpus.check_manifests(["train", *self.settings.splits, *(["test"] if self.corpus.has("test") else [])])

    def train(self, begin: Callable[[], None] = lambda: None) -> None:
        """Train. `begin`: called in rank zero just before training starts, after all checks."""

        def prepare(runner: Any) -> None:
            self.folder.path.mkdir(parents=True, exist_ok=True)
            begin()
            contents = (vars(runner.args), runner.config)
            for path, content in zip(self.folder.new_settings_files(), contents, strict=True):
                write_text(path, yaml.safe_dump(content, sort_keys=False))
            write_text(self.folder.parameters, json.dumps(_parameter_counts(runner), indent=1))

        self._run("train", prepare)

    def evaluate(self, change: Callable[[Any], None] = lambda expert: None) -> None:
        """Score the split of the arguments. `change`: called with the expert before evaluation."""
        self._run("evaluate", lambda runner: self.folder.path.mkdir(parents=True, exist_ok=True), change)

    def identify(self) -> None:
        """Identify the recording of the arguments, and print the answer."""
        self._run("inference", lambda runner: None)

    def lacks_calibration(self) -> bool:
        """Return whether the best checkpoint lacks the calibration of the settings, so that dev must be scored."""
        kind, checkpoint = self.settings.task.evaluation.calibration, Path(self.settings.args.init_ckpt)
        if kind is None or checkpoint.name != BEST_CHECKPOINT or not self.corpus.has("dev"):
            return False
        state = kept_state(checkpoint)
        try:
            found = calibration_of(checkpoint, self.folder, state["best_accuracy"], state["classes"])
        except UserError:
            return True
        return found.kind is not kind

    def write_datamap_figure(self) -> None:
        """Draw the data map, if this run has recorded one and reports are enabled."""
        if self.settings.task.datamap.record and self._draws():
            try_datamap_figure(self.folder, self.settings.task.datamap)

    def write_model_card(self) -> None:
        """Write the model card of a run that holds a checkpoint."""
        if self.folder.holds_run():
            try_card(self.folder, self.corpus)

    def write_report(self, split: str) -> None:
        """Write the report of a split, if reports are enabled, and print its name."""
        if self._draws() and (report := try_report(self.folder, split, self.corpus)) is not None:
            print(f"  {report.name}")

    def _draws(self) -> bool:
        # Checkpoints of older versions lack this key.
        return self.settings.runner.get("report") is not False

    @collecting_only_new()
    def _run(
        self, mode: str, prepare: Callable[[Any], None], change: Callable[[Any], None] = lambda expert: None
    ) -> None:
        args, config = self.settings.for_s3prl(mode)
        # The generators of the initial weights; lid_mapmix does not draw from them afterwards.
        random.seed(args.seed)
        np.random.seed(args.seed)  # noqa: NPY002 - some upstreams draw from it
        torch.manual_seed(args.seed)
        corpus = {} if mode == "inference" else {"corpus": self.corpus}
        runner = make_runner(args, config, self.settings.task.upstream_settings, **corpus)
        if self.settings.start is not None:
            _load_weights(runner, self.settings.start)
        cached = None if mode == "inference" else attach_cache(runner, self.settings, mode)
        broadcast_from_rank_zero(partial(prepare, runner))
        change(runner.downstream.model)
        getattr(runner, mode)()
        if cached is not None and is_rank_zero():
            print(
                f"[lid_mapmix] feature cache: {cached.computed:,} crops and windows computed by the upstream, "
                f"{cached.read:,} read from the cache"
            )
        # Free memory for the next run of this process.
        del runner
        gc.collect()


def _load_weights(runner: Any, checkpoint: Path) -> None:
    """Load the weights of a trained run, whose classes may be others, but neither its optimizer nor its step."""
    models = {entry.name: getattr(entry.model, "module", entry.model) for entry in runner.all_entries}
    states, fresh = read_checkpoint(checkpoint), models["Downstream"].state_dict()
    states["Downstream"], line = with_new_classes(states["Downstream"], fresh, checkpoint)
    runner.args.init_ckpt, runner.init_ckpt = str(checkpoint), states
    for name, model in models.items():
        runner._load_weight(model, name)
    runner.init_ckpt = {}
    models["Downstream"].run.notes.append(line)


def _parameter_counts(runner: Any) -> dict[str, dict[str, int]]:
    """Count all and trained parameters of each part of the model."""
    counts = {}
    for entry in runner.all_entries:
        sizes = [(each.numel(), each.requires_grad and entry.trainable) for each in entry.model.parameters()]
        counts[entry.name.lower()] = {
            "parameters": sum(size for size, _ in sizes),
            "trained": sum(size for size, is_trained in sizes if is_trained),
        }
    return counts
