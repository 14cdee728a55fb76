"""Optimizer and learning-rate schedule: checked before anything else is built, and made faster.

S3PRL evaluates the names of both and passes them all other settings, after the upstream is loaded. Here one step on one
weight shows early what does not work. Where it pays, Adam updates all weights in one pass.
"""

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import torch
from torch import optim

from ..utils.errors import UserError

# Functions of S3PRL's modules whose names look like those that build an optimizer or a schedule.
_NO_MAKERS = ("optimizer", "grouped_parameters", "scheduler")
_STEPS = 10
# Classes of torch.optim whose fused kernels give the same results as their loops, up to rounding, on CPU and GPU.
_FUSED = ("Adam", "AdamW")


def check_optimization(optimizer: Mapping[str, Any], scheduler: Mapping[str, Any] | None) -> None:
    """Take one step on one weight as the runner would. Raises UserError: an unknown name or a wrong setting."""
    from s3prl import optimizers, schedulers

    skip_dynamo()
    _check_name("optimizer.name", optimizer.get("name"), optimizers)
    if scheduler:
        _check_name("scheduler.name", scheduler.get("name"), schedulers)
    model = torch.nn.Module()
    model.weight = torch.nn.Parameter(torch.ones(2))
    part, section = "optimizer", optimizer
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = optimizers.get_optimizer([model], _STEPS, dict(optimizer))
            model.weight.square().sum().backward()
            made.step()
            if scheduler:
                part, section = "scheduler", scheduler
                schedulers.get_scheduler(made, _STEPS, dict(scheduler)).step()
        # Each optimizer raises its own exceptions for a setting.
        except Exception as error:
            found = ", ".join(f"{key}: {value!r}" for key, value in section.items())
            reason = " ".join(str(error).split())
            raise UserError(
                f"configuration: {part} is {{{found}}}, which does not work: {reason}. Correct it."
            ) from error


def with_fused(optimizer: Mapping[str, Any], state: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the ``optimizer`` section with ``fused``, if there is such a kernel and no other one is requested.

    `optimizer`: the section; not changed. `state`: of the optimizer of a resumed run, or None. A resumed run keeps its
    kernel, because the other one rounds differently, and torch fails if a gradient scaler is for one kernel and the
    state from the other.
    """
    skip_dynamo()
    section = dict(optimizer)
    is_fit = section.get("name") == "TorchOptim" and section.get("torch_optim_name") in _FUSED
    asked = {"fused", "foreach", "capturable", "differentiable"} & section.keys()
    began_otherwise = state is not None and not all(group.get("fused") for group in state["param_groups"])
    if is_fit and not asked and not began_otherwise:
        section["fused"] = True
    return section


def skip_dynamo() -> None:
    """Let the optimizers of torch.optim work without importing torch._dynamo, 900 modules that take seconds.

    Their methods import it only to exclude themselves from torch.compile. No optimizer is compiled here, only layers of
    an upstream (``runner.compile``), so the methods work the same without it.
    """
    for method in vars(optim.Optimizer).values():
        if _is_made_by(method, "_disable_dynamo"):
            # torch's wrapper looks here for the function to call, and imports torch._dynamo if it finds none.
            vars(method.__wrapped__).setdefault("__dynamo_disable", method.__wrapped__)
    for kind in filter(inspect.isclass, vars(optim).values()):
        step: Any = vars(kind).get("step")
        if _is_made_by(step, "_use_grad_for_differentiable"):
            setattr(kind, "step", _without_graph_breaks(step.__wrapped__))  # noqa: B010 - not every class has one


def _is_made_by(function: Any, decorator: str) -> bool:
    return inspect.isfunction(function) and function.__code__.co_qualname.startswith(decorator)


def _without_graph_breaks(step: Callable[..., Any]) -> Callable[..., Any]:
    """Return an optimizer's step, with gradients of the step itself only if they are requested."""

    @functools.wraps(step)
    def wrapped(self: Any, *arguments: Any, **keywords: Any) -> Any:
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return step(self, *arguments, **keywords)

    return wrapped


def _check_name(place: str, name: Any, module: ModuleType) -> None:
    """Check a name before S3PRL evaluates it."""
    functions = dict(inspect.getmembers(module, inspect.isfunction))
    known = [key[4:] for key in functions if key.startswith("get_") and key[4:] not in _NO_MAKERS]
    if name not in known:
        raise UserError(f"configuration: {place} is {name!r}; expected one of {', '.join(known)}. Choose one of them.")
