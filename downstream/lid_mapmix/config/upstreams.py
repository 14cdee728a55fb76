"""What is known of an upstream: its arguments, learning rate, batch sizes, and where the figures are from.

A file a upstream, upstream_configs/NAME.yaml; the name is S3PRL's. An upstream without a file works with the defaults.
Nothing here imports torch, so that a command line can show its help at once.
"""

import math
from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ..utils.errors import UserError
from .sources import read_upstream_config, upstream_config_path

_STRICT = ConfigDict(extra="forbid")
# The batch sizes of the files are of anchors of this many seconds with a partner each.
_SECONDS, _WAVEFORMS = 8.0, 2
# A card of 24 GB says that it has 23.6.
_CARD_SLACK = 1.02


@dataclass(config=_STRICT)
class Arguments:
    """S3PRL's -f, -s and -l, by their long names."""

    upstream_trainable: bool
    upstream_feature_selection: str
    upstream_layer_selection: int | None = None


@dataclass(config=_STRICT)
class Protocol:
    """How an upstream is used.

    Attributes
    ----------
    arguments : S3PRL's.
    batch_sizes : gigabytes of a card → how many anchors of 8 s, with a partner each, its memory holds in a step.
    config : what is put over the defaults and the variant.
    """

    arguments: Arguments
    batch_sizes: dict[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(config=_STRICT)
class Upstream:
    """An upstream's file.

    Attributes
    ----------
    about : what it is, and the paper it is from.
    source : where the figures are from.
    finetune, frozen : the two ways to use it: fine-tuned as in Map-Mix, or frozen as in SUPERB.
    """

    about: str
    source: str
    finetune: Protocol
    frozen: Protocol


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
    """Read what is known of an upstream; of one without a file, the defaults.

    Raises
    ------
    UserError : the file has an unknown key or a wrong value.
    """
    content = read_upstream_config(name)
    if content is None:
        return _DEFAULT
    try:
        return TypeAdapter(Upstream).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{upstream_config_path(name)}: {place}: {first['msg']}. See xlsr_53.yaml beside it.") from None


def largest_batch(
    batch_sizes: Mapping[int, int], card_gigabytes: float, crop_seconds: float, waveforms: int
) -> int | None:
    """Return how many anchors a step may have on a card, at least 1; None where nothing is known.

    Parameters
    ----------
    batch_sizes : as in :class:`Protocol`.
    card_gigabytes : memory of the card, in GiB.
    crop_seconds : length of a crop.
    waveforms : that go through the upstream for each anchor: 2 in latent mixup, else 1.
    """
    if not batch_sizes:
        return None
    # Weights and optimizer take the same on every card, and each anchor the same besides: a line through two of them.
    (small, few), (large, many) = min(batch_sizes.items()), max(batch_sizes.items())
    slope = (many - few) / (large - small) if large > small else few / small
    anchors = few + slope * (card_gigabytes * _CARD_SLACK - small)
    return max(math.floor(anchors * _SECONDS / crop_seconds * _WAVEFORMS / waveforms), 1)


def split_batch(batch_size: int, most: int) -> tuple[int, int]:
    """Return into how large batches, and how many, to divide a batch so that none has more than `most` anchors."""
    parts = math.ceil(batch_size / most)
    return math.ceil(batch_size / parts), parts
