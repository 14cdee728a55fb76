"""The task's part of the configuration: strict, typed, with the limits of every value.

The defaults stand in config.yaml, each with what it means; a test holds the two together. A key that is not here
is an error, so that a misspelt setting cannot pass for a default.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import field, fields, is_dataclass
from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from .errors import UserError
from .layers import TASK_KEY
from .mapmix.datamap import RegionRule
from .mapmix.labels import Likeness, Targets
from .mapmix.mixup import MixSpace
from .model import Encoder

_TOP_KEYS = ("runner", "optimizer", "scheduler", "specaug", TASK_KEY)
# All that s3prl/downstream/runner.py reads.
_RUNNER_KEYS = (
    *("total_steps", "eval_step", "save_step", "log_step", "max_keep", "gradient_accumulate_steps"),
    *("gradient_clipping", "eval_dataloaders", "train_dataloader", "evaluate_ratio", "fp16"),
)
_NUMBERS = (
    *(("runner", key, int) for key in _RUNNER_KEYS[:6]),
    ("runner", "gradient_clipping", float),
    ("optimizer", "lr", float),
)
_STRICT = ConfigDict(extra="forbid")
_Share = Annotated[float, Field(ge=0, le=1)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# Audio under 400 samples has no frame (data/audio.py).
_Seconds = Annotated[float, Field(ge=0.025, allow_inf_nan=False)]
_Count = Annotated[int, Field(ge=1)]


class Pool(StrEnum):
    """Which utterances anchors and partners are drawn from."""

    ALL = "all"
    EASY = "easy"
    AMBIGUOUS = "ambiguous"
    HARD = "hard"


@dataclass(config=_STRICT)
class DataConfig:
    """Where the data is and how training reads it."""

    directory: str | None = None
    batch_size: _Count = 8
    crop_seconds: _Seconds = 8.0
    workers: Annotated[int, Field(ge=0)] = 2


@dataclass(config=_STRICT)
class ModelConfig:
    """What stands on the upstream."""

    encoder: Encoder = Encoder.NONE
    encoder_channels: Annotated[int, Field(ge=8)] = 512
    hidden_dim: _Count = 512


@dataclass(config=_STRICT)
class MapmixConfig:
    """What is mixed with what, and against which targets."""

    anchors: Pool = Pool.ALL
    partners: Pool = Pool.ALL
    mix: MixSpace = MixSpace.NONE
    alpha: _Positive = 0.5
    probability: _Share = 1.0
    targets: Targets = Targets.ONE_HOT
    target_share: Annotated[float, Field(gt=0, le=1)] = 0.75
    likeness: Likeness = Likeness.ESTIMATED
    datamap: str | None = None

    @property
    def needs_regions(self) -> bool:
        """Whether anchors or partners are a region of a data map."""
        return self.anchors is not Pool.ALL or (self.mix is not MixSpace.NONE and self.partners is not Pool.ALL)

    @property
    def needs_likeness(self) -> bool:
        """Whether the targets come from the softmax of a data map run."""
        return self.targets is Targets.CONFIDENCE and self.likeness is Likeness.ESTIMATED


@dataclass(config=_STRICT)
class DatamapConfig:
    """How a data map is made."""

    record: bool = False
    epochs: _Count = 5
    regions: RegionRule = RegionRule.FIXED
    easy_confidence: _Share = 0.6
    easy_variability: _Share = 0.3
    hard_confidence: _Share = 0.3
    hard_variability: _Share = 0.2
    easy_share: _Share = 0.33
    hard_share: _Share = 0.03
    per_class: bool = False


@dataclass(config=_STRICT)
class EvaluationConfig:
    """How dev and test are cut and batched."""

    dev_crop_seconds: _Seconds = 20.0
    window_seconds: _Seconds = 6.0
    hop_seconds: _Seconds = 3.0
    batch_seconds: _Positive = 120.0
    mix_lengths: bool = False


@dataclass(config=_STRICT)
class TaskConfig:
    """All settings of the task, the ``downstream_expert`` part of a configuration."""

    epochs: _Count = 50
    variant: str | None = None
    labels: dict[str, list[str]] | None = None
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    mapmix: MapmixConfig = field(default_factory=MapmixConfig)
    datamap: DatamapConfig = field(default_factory=DatamapConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    @property
    def needs_datamap(self) -> bool:
        """Whether a data map has to be made before this training can start."""
        return self.mapmix.needs_regions or self.mapmix.needs_likeness


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
    return config


def check_configuration(config: Mapping[str, Any]) -> None:
    """Check a whole configuration before S3PRL takes it, and turn numbers that YAML reads as texts into numbers.

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
    if "name" not in optimizer:
        raise UserError("configuration: there is no optimizer.name. See config.yaml for a complete configuration.")
    for section, key, kind in _NUMBERS:
        if config[section].get(key) is not None:
            config[section][key] = _number(f"{section}.{key}", config[section][key], kind)
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


def _number(place: str, value: Any, kind: type) -> int | float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    # NaN fails the comparison as well.
    if isinstance(value, bool) or not number > 0 or (kind is int and not number.is_integer()):
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
