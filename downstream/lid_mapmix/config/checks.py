"""Checks of a configuration before training.

schema.py has the types and limits of single settings; here are the checks across settings, and of S3PRL's own sections.
"""

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ..host.native import SWITCHES
from ..host.precision import read_precision
from ..utils.errors import UserError
from .renamed import rename_task_settings
from .schema import TaskConfig
from .sources import TASK_KEY

_TOP_KEYS = ("runner", "optimizer", "scheduler", "specaug", TASK_KEY)
# Keys that s3prl/downstream/runner.py reads, except train_dataloader: there is one split to train on.
_RUNNER_KEYS = (
    *("total_steps", "eval_step", "save_step", "log_step", "max_keep", "gradient_accumulate_steps"),
    *("gradient_clipping", "eval_dataloaders", "evaluate_ratio", "fp16"),
    # Keys for host/precision.py, host/native.py and apps/runs/run.py.
    *("precision", *SWITCHES, "report"),
)
# Keys for the SpecAug of s3prl/downstream/specaug.py.
_SPECAUG_KEYS = (
    *("apply_time_warp", "time_warp_window", "time_warp_mode", "apply_freq_mask", "freq_mask_width_range"),
    *("num_freq_mask", "apply_time_mask", "time_mask_width_range", "num_time_mask", "adaptive_number_ratio"),
    *("adaptive_size_ratio", "max_n_time_masks", "adaptive"),
)
_NUMBERS = (
    *(("runner", key, int) for key in _RUNNER_KEYS[:6]),
    ("runner", "gradient_clipping", float),
    ("optimizer", "lr", float),
)


def task_config(mapping: Mapping[str, Any] | None) -> TaskConfig:
    """Check the ``downstream_expert`` part. Raises UserError: an unknown key, a wrong value, or a contradiction."""
    if not isinstance(mapping, Mapping | None):
        raise UserError(f"configuration: {TASK_KEY} is {mapping!r}; expected 'key: value' lines. See config.yaml.")
    try:
        return TypeAdapter(TaskConfig).validate_python(rename_task_settings(mapping or {}))
    except ValidationError as error:
        raise UserError(_explain(error)) from None


def check_configuration(config: Mapping[str, Any]) -> None:
    """Check a whole configuration for S3PRL, and convert in place numbers that YAML reads as text.

    Whether optimizer and schedule work is checked in host/optimization.py, which takes longer.

    YAML 1.1 reads ``1e-4`` as text, on which the optimizer would fail after minutes of loading. S3PRL fails on keys at
    the top that are also flags, and ignores unknown keys.

    Raises UserError: an unknown key, a value out of range, or a missing section.
    """
    _check_keys("", config, _TOP_KEYS)
    for part in ("runner", "optimizer"):
        if not isinstance(config.get(part), Mapping):
            raise UserError(f"configuration: expected a section {part}, found none. See config.yaml for all sections.")
    runner, optimizer = config["runner"], config["optimizer"]
    _check_keys("runner.", runner, _RUNNER_KEYS)
    splits = runner.get("eval_dataloaders")
    if splits is not None and not (isinstance(splits, list) and all(isinstance(name, str) for name in splits)):
        raise UserError(
            f"configuration: runner.eval_dataloaders is {splits!r}; expected a list, such as [dev]. Correct it."
        )
    read_precision(runner)
    for key in ("fp16", "report", *SWITCHES):
        if not isinstance(runner.get(key) or False, bool):
            raise UserError(f"configuration: runner.{key} is {runner[key]!r}; expected true or false. Correct it.")
    if "name" not in optimizer:
        raise UserError("configuration: expected optimizer.name, found none. See config.yaml for all settings.")
    for section, key, kind in _NUMBERS:
        if config[section].get(key) is not None:
            config[section][key] = _number(f"{section}.{key}", config[section][key], kind)
    for part in ("scheduler", "specaug"):
        if not isinstance(found := config.get(part), Mapping | None):
            raise UserError(f"configuration: {part} is {found!r}; expected 'key: value' lines. Correct it.")
    _check_keys("specaug.", config.get("specaug") or {}, _SPECAUG_KEYS)


def _number(place: str, value: Any, kind: type) -> int | float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    # A number that is too large is read as infinity; only a limit may be infinite. NaN fails the comparison too.
    is_in_limits = 0 < number < math.inf or (number == math.inf and place == "runner.gradient_clipping")
    if isinstance(value, bool) or not is_in_limits or (kind is int and not number.is_integer()):
        example = "a whole number above 0" if kind is int else "a number above 0, such as 1.0e-4"
        raise UserError(f"configuration: {place} is {value!r}; expected {example}. Correct it.")
    return kind(number)


def _check_keys(prefix: str, found: Mapping[str, Any], known: Iterable[str]) -> None:
    for key in found:
        if key not in known:
            raise UserError(f"configuration: unknown key {prefix}{key}. {_closest(str(key), known)}")


def _closest(key: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"Did you mean {close[0]}?" if close else f"Known keys: {', '.join(known)}."


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in (TASK_KEY, *first["loc"]))
    if first["type"] == "unexpected_keyword_argument":
        known = _keys(TaskConfig, first["loc"][:-1])
        return f"configuration: unknown key {place}. {_closest(str(first['loc'][-1]), known)}"
    return f"configuration: {place} is {first['input']!r}. {first['msg']}."


def _keys(section: Any, place: tuple[Any, ...]) -> list[str]:
    for name in place:
        section = next((entry.type for entry in fields(section) if entry.name == name), None)
        section = getattr(section, "__args__", (section,))[0]  # without "| None"
        if not is_dataclass(section):
            return []
    return [entry.name for entry in fields(section)]
