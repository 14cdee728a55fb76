"""Protocols of an upstream: its arguments, learning rate and batch sizes, and their sources.

Each upstream has a file upstream_configs/NAME.yaml with S3PRL's name; an upstream without a file uses the defaults.
Nothing here imports torch, so that a command can show its help quickly.
"""

import math
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ..utils.errors import UserError
from .sources import read_yaml, upstream_config_path

_STRICT = ConfigDict(extra="forbid")
# The batch sizes in the files are for anchors of this many seconds, each with a partner.
_SECONDS, _WAVEFORMS = 8.0, 2
# A 24 GB card reports 23.6.
_CARD_SLACK = 1.02


@dataclass(config=_STRICT)
class Arguments:
    """S3PRL's -f, -s and -l, by their long names."""

    upstream_trainable: bool
    upstream_feature_selection: str
    upstream_layer_selection: int | None = None


_Count = Annotated[int, Field(ge=1)]


@dataclass(config=_STRICT)
class Protocol:
    """A way to use an upstream."""

    arguments: Arguments  # S3PRL's
    # Memory of a card in GB → maximum number of anchors of 8 s per step, each with a partner.
    batch_sizes: dict[_Count, _Count] = field(default_factory=dict)
    # The same by millions of parameters, for an upstream whose weights have any size.
    batch_sizes_by_millions: dict[_Count, dict[_Count, _Count]] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)  # settings over the defaults and the variant


@dataclass(config=_STRICT)
class Upstream:
    """The content of an upstream's file."""

    about: str  # description, with its paper
    source: str  # sources of the numbers
    # finetune, frozen: the two protocols: fine-tuned as in Map-Mix, or frozen as in SUPERB.
    finetune: Protocol
    frozen: Protocol
    parameters: Annotated[int, Field(ge=0)] | None = None  # millions, 0 without weights; None for any number
    languages: Annotated[int, Field(ge=0)] = 0  # of the pretraining; 1 for English, 0 for unknown
    licence: str = "unknown"  # of the weights
    base_model: str | None = None  # the weights' name on the Hugging Face Hub; None if they are not there


_DEFAULT = Upstream(
    about="",
    source="defaults",
    finetune=Protocol(
        Arguments(upstream_trainable=True, upstream_feature_selection="last_hidden_state"),
        config={"optimizer": {"lr": 1.0e-5}},
    ),
    frozen=Protocol(
        Arguments(upstream_trainable=False, upstream_feature_selection="hidden_states"),
        config={"optimizer": {"lr": 1.0e-4}},
    ),
)


def read_upstream(name: str) -> Upstream:
    """Read the file of an upstream, or else the defaults. Raises UserError: an unknown key or a wrong value."""
    path = upstream_config_path(name)
    if path is None:
        return _DEFAULT
    try:
        return TypeAdapter(Upstream).validate_python(read_yaml(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path}: {place}: {first['msg']}. See xlsr_53.yaml beside it.") from None


def largest_batch(
    batch_sizes: Mapping[int, int], card_gigabytes: float, crop_seconds: float, waveforms: int
) -> int | None:
    """Return the maximum number of anchors per step on a card, at least 1; None without batch sizes.

    `batch_sizes`: as in :class:`Protocol`. `card_gigabytes`: its memory, in GiB. `waveforms`: per anchor through the
    upstream: 2 in latent mixup, else 1.
    """
    if not batch_sizes:
        return None
    # Memory is a constant for weights and optimizer plus an amount per anchor: a line through two cards.
    (small, few), (large, many) = min(batch_sizes.items()), max(batch_sizes.items())
    slope = (many - few) / (large - small) if large > small else few / small
    anchors = few + slope * (card_gigabytes * _CARD_SLACK - small)
    return max(math.floor(anchors * _SECONDS / crop_seconds * _WAVEFORMS / waveforms), 1)


def split_batch(batch_size: int, max_anchors: int) -> tuple[int, int]:
    """Return size and number of equal parts of a batch, such that none has more than `max_anchors` anchors."""
    parts = math.ceil(batch_size / max_anchors)
    return math.ceil(batch_size / parts), parts
