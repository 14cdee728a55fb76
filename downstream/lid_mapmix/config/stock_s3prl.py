"""Differences under S3PRL's own command, where host/ patches neither runner nor upstream: refused or safe settings."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from ..host.native import SWITCHES
from ..host.precision import Precision, read_precision
from ..host.registry import is_filter_bank
from ..utils.errors import UserError
from .schema import TaskConfig
from .sources import TASK_KEY


def check_host(runner: Mapping[str, Any]) -> None:
    """Raise a UserError for precision, compilation or checkpointing that S3PRL's own runner does not have."""
    asked = [key for key in SWITCHES if runner.get(key)]
    if not runner.get("fp16") and read_precision(runner) is not Precision.FP32:
        asked.append("precision")
    if asked:
        raise UserError(
            f"configuration: expected settings of S3PRL's own command, found runner.{asked[0]} {runner[asked[0]]}. Use "
            "run_downstream.py of lid_mapmix, or omit it."
        )


def config_without_patches(config: TaskConfig, upstream: str, trainable: bool) -> TaskConfig:
    """Return the settings that are safe under S3PRL's own command, where host/ does not patch the upstream.

    Lengths are mixed only for filter banks: other upstreams may attend to padding.

    Raises UserError: an upstream (-u, fine-tuned by -f) that would be trained in another way than requested.
    """
    if upstream.startswith("hf_") and trainable:
        raise UserError(
            f"upstream {upstream}: S3PRL's own command cannot fine-tune it, as it drops layers and masks frames in "
            "training. Use run_downstream.py of lid_mapmix, or omit -f."
        )
    for name, value in asdict(config.upstream).items():
        if value:
            raise UserError(
                f"configuration: expected settings of S3PRL's own command, found {TASK_KEY}.upstream.{name}. Use "
                "run_downstream.py of lid_mapmix, or omit it."
            )
    mixes = config.evaluation.mix_lengths and is_filter_bank(upstream)
    return replace(config, evaluation=replace(config.evaluation, mix_lengths=mixes))
