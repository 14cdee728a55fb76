"""Settings of version 0.1.0 that have another name, or were removed.

Old names are accepted in -c files, in -o and in the configurations of checkpoints; the requests of data maps keep them.
Removed settings are accepted where they change nothing.
Nothing here imports torch, so that a command line can show its help at once.
"""

import sys
from collections.abc import Mapping
from functools import cache
from typing import Any

from ..utils.errors import UserError
from .sources import TASK_KEY

# Section of the task's settings → old name → new name.
RENAMED: Mapping[str, Mapping[str, str]] = {
    "data": {"most_bad_share": "max_bad_fraction"},
    "mapmix": {
        "weight_per": "lambda_per",
        "target_share": "own_class_weight",
        "likeness": "class_similarity",
        "likeness_file": "class_similarity_file",
    },
    "datamap": {"easy_share": "easy_fraction", "hard_share": "hard_fraction"},
}
# Section → removed setting → the value that changes nothing; None: no value did without another of these settings.
REMOVED: Mapping[str, Mapping[str, Any]] = {
    "mapmix": {"online": False, "warmup_epochs": None, "unmixed_tail": 0, "plain_finish": 0}
    | dict.fromkeys([f"{who}_outside{end}" for who in ("anchors", "partners") for end in ("", "_fraction")], 0)
}


def rename_task_settings(task: Mapping[str, Any], *, warn: bool = False, is_past: bool = False) -> dict[str, Any]:
    """Return settings of the task under their new names, without removed ones.

    Raises UserError: a setting is given under both names, or a removed one would change the training.

    `task`: the ``downstream_expert`` part of a configuration, or some of its sections; not changed. `warn`: print one
    line per old name, once per process. `is_past`: the settings are those of a training that is over.
    """
    renamed = dict(task)
    for section, names in RENAMED.items():
        settings = task.get(section)
        if not isinstance(settings, Mapping):
            continue
        if both := [old for old, new in names.items() if old in settings and new in settings]:
            raise UserError(
                f"configuration: {TASK_KEY}.{section} has both {names[both[0]]} and {both[0]}, its old name. "
                f"Delete {both[0]}."
            )
        removed = REMOVED.get(section, {})
        for name, usual in removed.items():
            if not is_past and usual is not None and settings.get(name, usual) != usual:
                raise UserError(
                    f"configuration: {TASK_KEY}.{section}.{name} is {settings[name]!r}; version 0.2.0 has removed this "
                    "setting, because it showed no gain (docs/results.md). Delete it; to resume a run that has it, use "
                    "version 0.1.0."
                )
        kept = {key: value for key, value in settings.items() if key not in removed}
        renamed[section] = {_new_name(section, key, warn): value for key, value in kept.items()}
    return renamed


def rename_settings(config: Mapping[str, Any], **options: bool) -> dict[str, Any]:
    """Return a whole configuration with the task's settings under their new names; see rename_task_settings."""
    task = config.get(TASK_KEY)
    return {**config, TASK_KEY: rename_task_settings(task, **options)} if isinstance(task, Mapping) else dict(config)


def rename_path(path: list[str]) -> list[str]:
    """Return the keys of a setting, such as ``downstream_expert``, ``mapmix``, ``alpha``, with its new name."""
    is_setting = len(path) == 3 and path[0] == TASK_KEY  # noqa: PLR2004
    return [*path[:2], _new_name(path[1], path[2], True)] if is_setting else path


def original_names(section: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a section under their names in version 0.1.0."""
    originals = {new: old for old, new in RENAMED[section].items()}
    return {originals.get(name, name): value for name, value in settings.items()}


@cache  # an old name is printed once
def _new_name(section: str, name: str, warn: bool) -> str:
    new = RENAMED.get(section, {}).get(name)
    if warn and new is not None:
        sys.stderr.write(f"[lid_mapmix] {TASK_KEY}.{section}.{name} is deprecated; use {new}\n")
    return new or name
