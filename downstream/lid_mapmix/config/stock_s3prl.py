"""What is refused, or done otherwise, under S3PRL's own command, where nothing of host/ mends runner and upstream."""

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
    """Check that S3PRL's own runner, which passes over keys it does not know, knows what is asked of it.

    Parameters
    ----------
    runner : the ``runner`` section.

    Raises
    ------
    UserError : precision, compilation or checkpointing that S3PRL's own runner does not have.
    """
    asked = [key for key in SWITCHES if runner.get(key)]
    if not runner.get("fp16") and read_precision(runner) is not Precision.FP32:
        asked.append("precision")
    if asked:
        raise UserError(
            f"configuration: runner.{asked[0]} is {runner[asked[0]]}, which S3PRL's own command does not know. Use "
            "run_downstream.py of lid_mapmix, or leave it out."
        )


def config_without_patches(config: TaskConfig, upstream: str, trainable: bool) -> TaskConfig:
    """Return the settings that are safe under S3PRL's own command, where nothing of host/ mends the upstream.

    Parameters
    ----------
    config : those of the run.
    upstream : its name, -u.
    trainable : whether it is fine-tuned, -f.

    Returns
    -------
    the same, but that lengths are mixed only for filter banks: other upstreams may attend to padding.

    Raises
    ------
    UserError : an upstream that would be trained otherwise than asked for.
    """
    if upstream.startswith("hf_") and trainable:
        raise UserError(
            f"upstream {upstream} cannot be fine-tuned by S3PRL's own command, which drops layers and masks frames in "
            "training. Use lid_mapmix's run_downstream.py, or leave out -f."
        )
    for name, value in asdict(config.upstream).items():
        if value:
            raise UserError(
                f"configuration: {TASK_KEY}.upstream.{name}: S3PRL's own command does not know it. Use lid_mapmix's "
                "run_downstream.py, or leave it out."
            )
    mixes = config.evaluation.mix_lengths and is_filter_bank(upstream)
    return replace(config, evaluation=replace(config.evaluation, mix_lengths=mixes))
