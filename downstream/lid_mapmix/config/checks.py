"""What is checked of a configuration before any training time is spent.

Types and limits of single settings stand with them in config.py; here is what concerns several of them, and the parts
of a configuration that are S3PRL's own.
"""

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ..data.balance import Sampling
from ..host.native import SWITCHES
from ..host.precision import read_precision
from ..mapmix.mixup import MixSpace
from ..mapmix.targets import Targets
from ..utils.errors import UserError
from .schema import DatamapConfig, Pool, TaskConfig
from .sources import TASK_KEY

_TOP_KEYS = ("runner", "optimizer", "scheduler", "specaug", TASK_KEY)
# What s3prl/downstream/runner.py reads, but for train_dataloader: there is one split to train on.
_RUNNER_KEYS = (
    *("total_steps", "eval_step", "save_step", "log_step", "max_keep", "gradient_accumulate_steps"),
    *("gradient_clipping", "eval_dataloaders", "evaluate_ratio", "fp16"),
    # Read by host/: precision.py and native.py.
    *("precision", *SWITCHES),
)
# What the SpecAug of s3prl/downstream/specaug.py takes.
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
    """Check the ``downstream_expert`` part of a configuration.

    Raises
    ------
    UserError : an unknown key, a value out of its limits, or values that contradict each other.
    """
    if not isinstance(mapping, Mapping | None):
        raise UserError(f"configuration: {TASK_KEY} is {mapping!r}; expected 'key: value' lines. See config.yaml.")
    try:
        config = TypeAdapter(TaskConfig).validate_python(dict(mapping or {}))
    except ValidationError as error:
        raise UserError(_explain(error)) from None
    _check_regions(config.datamap)
    _check_recording(config)
    _check_online(config)
    _check_data(config)
    _check_cache(config)
    _check_finish(config)
    _check_evaluation(config)
    return config


def check_configuration(config: Mapping[str, Any]) -> None:
    """Check a whole configuration before S3PRL takes it, and turn numbers that YAML reads as texts into numbers.

    Whether optimizer and schedule can be made shows a step of theirs (host/optimization.py), which takes longer.

    YAML 1.1 reads ``1e-4`` as a text, which the optimizer would choke on after minutes of loading; S3PRL fails on keys
    at the top that are also flags, and ignores what it does not know.

    Parameters
    ----------
    config : ``optimizer`` and ``runner`` are corrected in place.

    Raises
    ------
    UserError : an unknown key, a value out of its limits, a part that is missing.
    """
    _check_keys("", config, _TOP_KEYS)
    for part in ("runner", "optimizer"):
        if not isinstance(config.get(part), Mapping):
            raise UserError(f"configuration: there is no {part} section. See config.yaml for a complete configuration.")
    runner, optimizer = config["runner"], config["optimizer"]
    _check_keys("runner.", runner, _RUNNER_KEYS)
    splits = runner.get("eval_dataloaders")
    if splits is not None and not (isinstance(splits, list) and all(isinstance(name, str) for name in splits)):
        raise UserError(f"configuration: runner.eval_dataloaders is {splits!r}; expected a list, such as [dev].")
    read_precision(runner)
    for key in ("fp16", *SWITCHES):
        if not isinstance(runner.get(key) or False, bool):
            raise UserError(f"configuration: runner.{key} is {runner[key]!r}; expected true or false.")
    if "name" not in optimizer:
        raise UserError("configuration: there is no optimizer.name. See config.yaml for a complete configuration.")
    for section, key, kind in _NUMBERS:
        if config[section].get(key) is not None:
            config[section][key] = _number(f"{section}.{key}", config[section][key], kind)
    scheduler = config.get("scheduler")
    if not isinstance(scheduler, Mapping | None):
        raise UserError(f"configuration: scheduler is {scheduler!r}; expected 'key: value' lines below it.")
    specaug = config.get("specaug")
    if not isinstance(specaug, Mapping | None):
        raise UserError(f"configuration: specaug is {specaug!r}; expected 'key: value' lines below it.")
    _check_keys("specaug.", specaug or {}, _SPECAUG_KEYS)
    task_config(config.get(TASK_KEY))


def _check_regions(datamap: DatamapConfig) -> None:
    """Find here what would otherwise stop a datamap run when its first epoch ends."""
    place = f"configuration: {TASK_KEY}.datamap"
    if datamap.hard_confidence > datamap.easy_confidence:
        raise UserError(
            f"{place}: hard_confidence is {datamap.hard_confidence}, above easy_confidence, {datamap.easy_confidence}; "
            "expected at most that. Lower the one or raise the other."
        )
    if datamap.easy_share + datamap.hard_share > 1:
        raise UserError(
            f"{place}: easy_share {datamap.easy_share} and hard_share {datamap.hard_share} make more than 1. Lower one."
        )


def _check_recording(config: TaskConfig) -> None:
    """Find here what would end without a data map: an epoch of a region never has every utterance."""
    mapmix = config.mapmix
    if config.datamap.record and (mapmix.anchors is not Pool.ALL or mapmix.mix is not MixSpace.NONE):
        raise UserError(
            f"configuration: {TASK_KEY}.datamap.record needs plain training; expected mapmix.anchors all and "
            f"mapmix.mix none, found {mapmix.anchors} and {mapmix.mix}. Use -v datamap."
        )
    if config.datamap.record and config.data.sampler is not Sampling.UNIFORM:
        raise UserError(
            f"configuration: {TASK_KEY}.datamap.record needs each utterance once an epoch; expected data.sampler "
            f"uniform, found {config.data.sampler}. Leave it out; runs that need a map may have it, and make their map "
            "uniformly."
        )


def _check_data(config: TaskConfig) -> None:
    data, place = config.data, f"configuration: {TASK_KEY}.data"
    lowest, highest = data.augment.noise_snr
    if lowest > highest:
        raise UserError(
            f"{place}.augment.noise_snr: expected the lowest first, found [{lowest}, {highest}]. Swap them."
        )
    if data.augment.speeds and data.crop_step_seconds is not None:
        raise UserError(
            f"{place}.augment.speeds: expected crops that start anywhere, found crop_step_seconds "
            f"{data.crop_step_seconds}. Leave one of them out."
        )


def _check_online(config: TaskConfig) -> None:
    """Find here what would never see an unmixed utterance, or take one of two maps."""
    mapmix, place = config.mapmix, f"configuration: {TASK_KEY}.mapmix"
    if mapmix.online and mapmix.mix is not MixSpace.LATENT:
        raise UserError(f"{place}: online needs mix latent; found {mapmix.mix}. Leave online out, or mix latents.")
    if mapmix.online and mapmix.datamap is not None:
        raise UserError(
            f"{place}: online draws its own regions; found the data map {mapmix.datamap} as well. Leave one of them "
            "out."
        )


def _check_cache(config: TaskConfig) -> None:
    if config.cache.directory is not None and config.mapmix.mix is MixSpace.INPUT:
        raise UserError(
            f"configuration: {TASK_KEY}.cache (--cache-features): expected mapmix.mix none or latent, found input, "
            "which makes other waveforms at each step. Leave --cache-features out, or mix latents."
        )
    for is_on, name, reason in (
        (config.data.augment.is_on, "augment", "which makes other waveforms in each epoch"),
        (config.data.skips_bad_audio, "on_bad_audio skip", "and features are kept of audio that is all well"),
    ):
        if config.cache.directory is not None and is_on:
            raise UserError(
                f"configuration: {TASK_KEY}.cache (--cache-features): found data.{name} as well, {reason}. Leave one "
                "of them out."
            )


def _check_finish(config: TaskConfig) -> None:
    """Find here what would train a data map, and then nothing on it."""
    mapmix = config.mapmix
    is_plain = mapmix.mix is MixSpace.NONE and not config.needs_datamap and mapmix.targets is Targets.ONE_HOT
    # Rounded to epochs, as in curriculum.py.
    if not is_plain and mapmix.plain_finish > 0 and (1 - mapmix.plain_finish) * config.epochs <= 0.5:  # noqa: PLR2004
        raise UserError(
            f"configuration: {TASK_KEY}.mapmix.plain_finish is {mapmix.plain_finish}, all of {config.epochs} epochs: "
            "nothing would be mixed, and no data map used. Lower it, or use -v baseline."
        )


def _check_evaluation(config: TaskConfig) -> None:
    evaluation, place = config.evaluation, f"configuration: {TASK_KEY}.evaluation"
    if evaluation.hop_seconds > evaluation.window_seconds:
        raise UserError(
            f"{place}: hop_seconds is {evaluation.hop_seconds}, above window_seconds, {evaluation.window_seconds}, and "
            "would leave audio out. Lower it."
        )


def _number(place: str, value: Any, kind: type) -> int | float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    # What is too large for a number is infinite; only a limit may be. NaN fails the comparison as well.
    is_in_limits = 0 < number < math.inf or (number == math.inf and place == "runner.gradient_clipping")
    if isinstance(value, bool) or not is_in_limits or (kind is int and not number.is_integer()):
        example = "a whole number above 0" if kind is int else "a number above 0, such as 1.0e-4"
        raise UserError(f"configuration: {place} is {value!r}; expected {example}.")
    return kind(number)


def _check_keys(prefix: str, found: Mapping[str, Any], known: Iterable[str]) -> None:
    for key in found:
        if key not in known:
            raise UserError(f"configuration: unknown key {prefix}{key}. {_closest(str(key), known)}")


def _closest(key: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f"Did you mean {close[0]}?" if close else f"Known here: {', '.join(known)}."


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
        if not is_dataclass(section):
            return []
    return [entry.name for entry in fields(section)]
