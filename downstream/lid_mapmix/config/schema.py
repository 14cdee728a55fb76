"""The schema of the task's settings: strict and typed, with the limits of every value.

config.yaml has the defaults and explains each setting; a test keeps the two equal. An unknown key is an error, so that
a misspelt setting is noticed.
"""

from dataclasses import asdict, field
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import to_jsonable_python

from ..data.augment.effects import Codec
from ..data.balance import Sampling
from ..host.upstreams import UpstreamSettings
from ..mapmix.datamap import RegionRule
from ..mapmix.mixup import LambdaPer, MixSpace, Pairing
from ..mapmix.targets import ClassSimilarity, Targets
from ..model import Encoder
from ..scoring.choices import Average, Kind
from ..utils.errors import UserError
from .sources import TASK_KEY

_PLACE = f"configuration: {TASK_KEY}"
_STRICT = ConfigDict(extra="forbid")
_Fraction = Annotated[float, Field(ge=0, le=1)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
# Audio under 400 samples has no frame (data/audio/reading.py).
_Seconds = Annotated[float, Field(ge=0.025, le=86_400)]
_Count = Annotated[int, Field(ge=1)]
_MAX_WIDTH = 16_384
_Speed = Annotated[float, Field(ge=0.5, le=2)]
_Decibels = Annotated[float, Field(ge=-60, le=120)]


class Pool(StrEnum):
    """The utterances that anchors or partners are drawn from."""

    ALL = "all"
    EASY = "easy"
    AMBIGUOUS = "ambiguous"
    HARD = "hard"
    NOT_HARD = "not_hard"


class BadAudio(StrEnum):
    """Handling of a training utterance whose audio is missing, damaged or not finite."""

    ERROR = "error"
    SKIP = "skip"


@dataclass(config=_STRICT, frozen=True)
class AugmentConfig:
    """Augmentation of the audio of training crops."""

    speeds: list[_Speed] = field(default_factory=list)
    rir: str | None = None
    rir_probability: _Fraction = 0.5
    noise: str | None = None
    noise_snr: Annotated[list[_Decibels], Field(min_length=2, max_length=2)] = field(
        default_factory=lambda: [5.0, 20.0]
    )
    noise_probability: _Fraction = 0.5
    codecs: list[Codec] = field(default_factory=list)
    codec_probability: _Fraction = 0.5

    @property
    def is_on(self) -> bool:
        """Whether anything is augmented."""
        return bool(self.speeds or self.noise or self.rir or self.codecs)

    @model_validator(mode="after")
    def _check_noise(self) -> Self:
        lowest, highest = self.noise_snr
        if lowest > highest:
            raise UserError(
                f"{_PLACE}.data.augment.noise_snr: expected the minimum first, found [{lowest}, {highest}]. Swap them."
            )
        return self


@dataclass(config=_STRICT, frozen=True)
class DataConfig:
    """The data, and how training reads it."""

    directory: str | None = None
    batch_size: _Count = 8
    crop_seconds: _Seconds = 8.0
    crop_step_seconds: _Seconds | None = None
    workers: Annotated[int, Field(ge=0)] = 2
    on_bad_audio: BadAudio = BadAudio.ERROR
    max_bad_fraction: _Fraction = 0.05
    sampler: Sampling = Sampling.UNIFORM
    sampler_power: _Fraction = 0.5
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    @property
    def skips_bad_audio(self) -> bool:
        """Whether replacement utterances are drawn for bad audio."""
        return self.on_bad_audio is BadAudio.SKIP

    @model_validator(mode="after")
    def _check_speeds(self) -> Self:
        if self.augment.speeds and self.crop_step_seconds is not None:
            raise UserError(
                f"{_PLACE}.data.augment.speeds: expected crops that start anywhere, found crop_step_seconds "
                f"{self.crop_step_seconds}. Omit one of them."
            )
        return self


@dataclass(config=_STRICT, frozen=True)
class CacheConfig:
    """Cache of the features of a frozen upstream."""

    directory: str | None = None
    limit_gb: _Positive = 100.0
    evaluation: bool = True


@dataclass(config=_STRICT, frozen=True)
class AdapterConfig:
    """Small matrices that are trained instead of the weights of the upstream."""

    kind: Literal["lora"] = "lora"
    rank: Annotated[int, Field(ge=1, le=1024)] = 16
    alpha: Annotated[float, Field(gt=0, le=4096)] = 32.0
    targets: Literal["attention", "feed_forward"] = "attention"


@dataclass(config=_STRICT, frozen=True)
class UpstreamConfig:
    """Fine-tuning of the upstream."""

    train_front_end: bool = False
    spec_augment: bool = False
    train_layers: Annotated[int, Field(ge=1, le=200)] | None = None
    adapter: AdapterConfig | None = None


@dataclass(config=_STRICT, frozen=True)
class ModelConfig:
    """The model on top of the upstream."""

    encoder: Encoder = Encoder.NONE
    encoder_channels: Annotated[int, Field(ge=8, le=_MAX_WIDTH)] = 512
    hidden_dim: Annotated[int, Field(ge=1, le=_MAX_WIDTH)] = 512


@dataclass(config=_STRICT, frozen=True)
class MapmixConfig:
    """Mixing and targets of Map-Mix."""

    anchors: Pool = Pool.ALL
    partners: Pool = Pool.ALL
    pairing: Pairing = Pairing.ANY
    mix: MixSpace = MixSpace.NONE
    alpha: _Positive = 0.5
    lambda_per: LambdaPer = LambdaPer.BATCH
    probability: _Fraction = 1.0
    targets: Targets = Targets.ONE_HOT
    own_class_weight: Annotated[float, Field(gt=0, le=1)] | Literal["estimated"] = 0.75
    class_similarity: ClassSimilarity = ClassSimilarity.ESTIMATED
    class_similarity_file: str | None = None
    datamap: str | None = None

    @property
    def needs_regions(self) -> bool:
        """Whether anchors or partners are a region of a data map."""
        return self.anchors is not Pool.ALL or (self.mix is not MixSpace.NONE and self.partners is not Pool.ALL)

    @property
    def needs_class_similarity(self) -> bool:
        """Whether the targets come from the softmax of a data map run."""
        return self.targets is Targets.CONFIDENCE and self.class_similarity is ClassSimilarity.ESTIMATED


@dataclass(config=_STRICT, frozen=True)
class DatamapConfig:
    """Recording and regions of a data map."""

    record: bool = False
    epochs: _Count = 5
    regions: RegionRule = RegionRule.FIXED
    easy_confidence: _Fraction = 0.6
    easy_variability: _Fraction = 0.3
    hard_confidence: _Fraction = 0.3
    hard_variability: _Fraction = 0.2
    easy_fraction: _Fraction = 0.33
    hard_fraction: _Fraction = 0.03
    per_class: bool = False
    label_noise: bool = False

    @model_validator(mode="after")
    def _check_regions(self) -> Self:
        """Refuse what would otherwise stop a datamap run after its first epoch."""
        if self.hard_confidence > self.easy_confidence:
            raise UserError(
                f"{_PLACE}.datamap: expected hard_confidence of at most easy_confidence, {self.easy_confidence}, found "
                f"{self.hard_confidence}. Lower it, or raise easy_confidence."
            )
        if self.easy_fraction + self.hard_fraction > 1:
            raise UserError(
                f"{_PLACE}.datamap: expected easy_fraction and hard_fraction with a sum of at most 1, found "
                f"{self.easy_fraction} and {self.hard_fraction}. Lower one."
            )
        return self


@dataclass(config=_STRICT, frozen=True)
class EvaluationConfig:
    """Windows, batches, averages and outputs of evaluation."""

    dev_crop_seconds: _Seconds = 20.0
    window_seconds: _Seconds = 6.0
    hop_seconds: _Seconds = 3.0
    batch_seconds: _Positive = 120.0
    mix_lengths: bool = False
    # Fitted on dev; see scoring/calibration.py.
    calibration: Annotated[Kind | None, BeforeValidator(lambda name: None if name == "none" else name)] = Kind.AFFINE
    bootstrap_samples: Annotated[int, Field(ge=0)] = 1000
    average: Average = Average.PROBABILITIES
    keep_latents: Annotated[int, Field(ge=0)] = 2_000

    @model_validator(mode="after")
    def _check_hop(self) -> Self:
        if self.hop_seconds > self.window_seconds:
            raise UserError(
                f"{_PLACE}.evaluation: expected hop_seconds of at most window_seconds, {self.window_seconds}, found "
                f"{self.hop_seconds}, which would skip audio. Lower it."
            )
        return self


@dataclass(config=_STRICT, frozen=True)
class TaskConfig:
    """All settings of the task, the ``downstream_expert`` part of a configuration."""

    epochs: _Count = 50
    variant: str | None = None
    labels: dict[str, list[str]] | None = None
    data: DataConfig = field(default_factory=DataConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    upstream: UpstreamConfig = field(default_factory=UpstreamConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    mapmix: MapmixConfig = field(default_factory=MapmixConfig)
    datamap: DatamapConfig = field(default_factory=DatamapConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    @property
    def needs_datamap(self) -> bool:
        """Whether a data map must be made before this training."""
        return self.mapmix.needs_regions or self.mapmix.needs_class_similarity

    @property
    def upstream_settings(self) -> UpstreamSettings:
        """What the run requests of its upstream, besides S3PRL's arguments."""
        return UpstreamSettings(**asdict(self.upstream), mix_lengths=self.evaluation.mix_lengths)

    @model_validator(mode="after")
    def _check_datamap_and_cache(self) -> Self:
        # It would never make a data map: an epoch of a region does not have every utterance.
        mapmix = self.mapmix
        if self.datamap.record and (mapmix.anchors is not Pool.ALL or mapmix.mix is not MixSpace.NONE):
            raise UserError(
                f"{_PLACE}.datamap.record: expected mapmix.anchors all and mapmix.mix none, found {mapmix.anchors} and "
                f"{mapmix.mix}. Use -v datamap."
            )
        if self.datamap.record and self.data.sampler is not Sampling.UNIFORM:
            raise UserError(
                f"{_PLACE}.datamap.record: expected data.sampler uniform, so that each epoch has each utterance once, "
                f"found {self.data.sampler}. Omit it; a run that needs a data map may have it, and makes it uniformly."
            )
        for is_on, name, reason in (
            (self.mapmix.mix is MixSpace.INPUT, "mapmix.mix input", "which makes new waveforms in each step"),
            (self.data.augment.is_on, "data.augment", "which makes new waveforms in each epoch"),
            (self.data.skips_bad_audio, "data.on_bad_audio skip", "which the cache does not support"),
        ):
            if self.cache.directory is not None and is_on:
                raise UserError(
                    f"{_PLACE}.cache (--cache-features): expected no {name}, {reason}, found it. Omit one of them."
                )
        return self

    def as_mapping(self) -> dict[str, Any]:
        """Return the settings in the types of YAML, JSON and checkpoints: mappings, lists, text and numbers."""
        return to_jsonable_python(self)
