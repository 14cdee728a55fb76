"""The settings of a run: S3PRL's arguments, its sections of the configuration, and the task's; checked when created.

Settings are immutable: a run of another stage or with another data map has its own settings.
"""

import copy
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from ..data.balance import Sampling
from ..host.optimization import check_optimization
from ..host.upstreams import check_upstream_arguments
from ..utils.errors import UserError
from ..utils.run_folder import DATAMAP_STAGE, RunFolder
from .checks import check_configuration, task_config
from .renamed import rename_settings, rename_task_settings
from .schema import TaskConfig
from .sources import TASK_KEY, merge, read_variant, read_yaml

_SCHEDULE_KEYS = ("total_steps", "eval_step", "save_step", "log_step")


@dataclass(frozen=True)
class Settings:
    """All settings of a run."""

    args: Namespace  # S3PRL's arguments, not to be changed
    task: TaskConfig  # the task's part of the configuration
    # S3PRL's sections: ``runner``, ``optimizer`` and optionally ``scheduler`` and ``specaug``; not to be changed.
    sections: Mapping[str, Any]
    sources: tuple[str, ...] = ()  # their sources, lowest precedence first
    start: Path | None = None  # the checkpoint whose weights a run with new classes starts from

    @classmethod
    def make(
        cls, args: Namespace, config: Mapping[str, Any], sources: Sequence[str] = (), *, is_past: bool = False
    ) -> Self:
        """Check a merged configuration.

        Raises UserError: an unknown key, a value out of range, contradicting values, or a missing section.

        `config`: as read from YAML; not changed, nor are `args`. `is_past`: of a training that is over.
        """
        own = copy.deepcopy(rename_settings(config, is_past=is_past))
        check_configuration(own)
        task = task_config(own.pop(TASK_KEY, None))
        return cls(Namespace(**vars(args)), task, own, tuple(sources))

    @property
    def runner(self) -> Mapping[str, Any]:
        """The section of S3PRL's runner."""
        return self.sections["runner"]

    @property
    def optimizer(self) -> Mapping[str, Any]:
        """The section of the optimizer."""
        return self.sections["optimizer"]

    @property
    def folder(self) -> RunFolder:
        """The run's folder."""
        return RunFolder(Path(self.args.expdir))

    @property
    def splits(self) -> list[str]:
        """The splits that training scores."""
        return list(self.runner.get("eval_dataloaders") or [])

    @property
    def data_directory(self) -> Path | None:
        """The folder of the data, None if it is not set."""
        directory = self.task.data.directory
        return None if directory is None else Path(directory)

    @property
    def datamap_folders(self) -> list[Path]:
        """The resolved folders of the data map and of the class similarity that the run uses."""
        mapmix = self.task.mapmix
        paths = (mapmix.datamap, mapmix.class_similarity_file)
        return [Path(path).resolve().parent for path in paths if path is not None]

    def for_s3prl(self, mode: str) -> tuple[Namespace, dict[str, Any]]:
        """Return copies of S3PRL's arguments and configuration for a run in a mode."""
        return (
            Namespace(**{**vars(self.args), "mode": mode}),
            {**copy.deepcopy(dict(self.sections)), TASK_KEY: self.task.as_mapping()},
        )

    def with_arguments(self, **changes: Any) -> Self:
        """Return the settings with other arguments of S3PRL."""
        return replace(self, args=Namespace(**{**vars(self.args), **changes}))

    def with_datamap(self, path: Path) -> Self:
        """Return the settings of a run that trains on a data map."""
        return replace(self, task=replace(self.task, mapmix=replace(self.task.mapmix, datamap=str(path))))

    def datamap_stage(self) -> Self:
        """Return the settings of the run that makes the data map of this run: the same settings without mixing."""
        # Weights given by -i initialise the main run, including its optimizer and step.
        own = {"expdir": str(self.folder.datamap_stage), "downstream_variant": DATAMAP_STAGE, "init_ckpt": None}
        # Length and sampling of the main run do not apply to its data map, which needs each utterance once per epoch.
        sections = {**self.sections, "runner": {**self.runner, **dict.fromkeys(_SCHEDULE_KEYS)}}
        task = {name: value for name, value in self.task.as_mapping().items() if name != "mapmix"}
        task = merge(task, read_variant(DATAMAP_STAGE)[TASK_KEY])
        task = merge(task, {"data": {"sampler": str(Sampling.UNIFORM)}, "variant": DATAMAP_STAGE})
        args = self.with_arguments(**own).args
        stage = self.make(args, {**sections, TASK_KEY: task}, [*self.sources, f"variants/{DATAMAP_STAGE}.yaml"])
        return replace(stage, start=self.start)

    def check_host(self, *, trains: bool) -> None:
        """Raise a UserError for upstream arguments, optimizer, schedule or cache that S3PRL would refuse late."""
        if trains:
            check_optimization(self.optimizer, self.sections.get("scheduler"))
        directory = self.task.cache.directory
        places = () if directory is None else (Path(directory), *Path(directory).parents)
        if taken := [path for path in places if path.exists() and not path.is_dir()]:
            raise UserError(
                f"--cache-features {directory}: expected a folder, found the file {taken[0]}. Use another folder."
            )
        if directory is not None and self.args.upstream_trainable:
            raise UserError(
                f"--cache-features: expected a frozen upstream, found {self.args.upstream} fine-tuned, whose features "
                "change with each step. Add --frozen, or omit --cache-features."
            )
        check_upstream_arguments(self.args, self.task.upstream_settings)


def task_of_run(folder: RunFolder, over: Mapping[str, Any] | None = None) -> TaskConfig:
    """Return the task's settings of the last start of a run, merged with `over`; its other settings are not checked.

    Raises UserError: no settings, settings of another task, or a value out of range.
    """
    path = folder.settings_file()
    task = read_yaml(path).get(TASK_KEY)
    if not isinstance(task, dict):
        raise UserError(f"{path}: expected settings of this task ({TASK_KEY}), found none. Use another run.")
    return task_config(merge(rename_task_settings(task, is_past=True), over or {}))


def moved_path(given: str, old: Path, new: Path) -> str:
    """Return the present path of a file of a run that may have been copied or moved from one folder to another."""
    if not Path(given).is_relative_to(old):
        return given
    moved = new / Path(given).relative_to(old)
    return str(moved) if moved.is_file() or not Path(given).is_file() else given
