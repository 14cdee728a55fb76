"""Precision of computation: ``runner.precision`` fp32, bf16 or fp16, in training and in evaluation.

S3PRL's runner has ``fp16`` on a GPU, in training only. Here autocast covers upstream, featurizer and downstream in all
three modes, on a CPU too. Weights and Adam's moments stay float32, and pooling, classifier and loss are computed in
float32 (model.py). fp16 uses a gradient scaler, whose state is stored in checkpoints.
"""

import contextlib
from collections.abc import Iterator, Mapping, MutableMapping
from contextvars import ContextVar
from enum import StrEnum
from typing import Any

import torch

from ..utils.errors import UserError

_SCALER = "GradScaler"


class Precision(StrEnum):
    """Precision of matrix products."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


def read_precision(runner: Mapping[str, Any]) -> Precision:
    """Return the precision of ``runner``, with S3PRL's ``fp16``. Raises UserError: another value, or two."""
    value = runner.get("precision")
    try:
        precision = Precision.FP32 if value is None else Precision(value)
    except ValueError:
        raise UserError(f"configuration: runner.precision is {value!r}; expected fp32, bf16 or fp16.") from None
    if not runner.get("fp16"):
        return precision
    if precision is Precision.BF16:
        raise UserError(
            "configuration: expected one precision, found runner.precision bf16 and runner.fp16 true. Omit runner.fp16."
        )
    return Precision.FP16


class Casting:
    """The precision of one runner on a device. Raises UserError: fp16 without a GPU."""

    def __init__(self, precision: Precision, device: str) -> None:
        self.precision = precision
        self.device_type = torch.device(device).type
        self._scaler_state: dict[str, Any] | None = None
        self._scaler: Any = None
        if precision is Precision.FP16 and self.device_type == "cpu":
            raise UserError(
                "runner.precision fp16: expected a GPU, found --device cpu. Use -o config.runner.precision=bf16."
            )

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context for computing in this precision."""
        if self.precision is Precision.FP32:
            return contextlib.nullcontext()
        dtype = torch.bfloat16 if self.precision is Precision.BF16 else torch.float16
        return torch.autocast(self.device_type, dtype)

    def new_scaler(self) -> Any:
        """Return a gradient scaler; in a resumed run, with the state of the checkpoint."""
        self._scaler = torch.amp.GradScaler(self.device_type)
        if self._scaler_state is not None:
            self._scaler.load_state_dict(self._scaler_state)
        return self._scaler

    @contextlib.contextmanager
    def training(self, runner: MutableMapping[str, Any]) -> Iterator[None]:
        """Run S3PRL's training loop in this precision, with ``fp16`` set in its section `runner` meanwhile."""
        token = casting.set(self)
        if self.precision is Precision.FP16:
            runner["fp16"] = True
        try:
            yield
        finally:
            runner.pop("fp16", None)
            casting.reset(token)

    def completed(self, states: dict[str, Any]) -> dict[str, Any]:
        """Return the states of a checkpoint with the scaler's state, and with the original settings."""
        config = states["Config"]
        runner = {key: value for key, value in config["runner"].items() if key != "fp16"}
        scaler = {} if self._scaler is None else {_SCALER: self._scaler.state_dict()}
        return {**states, "Config": {**config, "runner": runner}, **scaler}

    def resume(self, states: Mapping[str, Any]) -> None:
        """Restore the scaler's state from a checkpoint, if it has one."""
        self._scaler_state = states.get(_SCALER)


# The precision of the runner that is training.
casting: ContextVar[Casting | None] = ContextVar("casting", default=None)


def training_autocast(enabled: bool = True) -> contextlib.AbstractContextManager[Any]:
    """Replaces ``torch.cuda.amp.autocast`` in S3PRL's training loop, which enables it for fp16 only."""
    current = casting.get()
    return contextlib.nullcontext() if current is None else current.autocast()


def training_scaler() -> Any:
    """Replaces ``torch.cuda.amp.GradScaler`` in S3PRL's training loop."""
    current = casting.get()
    if current is None:
        raise RuntimeError("expected a runner that is training, found none")
    return current.new_scaler()
