"""Adam in one pass over the weights, for S3PRL's ``TorchOptim``."""

from collections.abc import Mapping
from typing import Any

# Those of torch.optim whose fused kernels give the same as their loops, to rounding, on CPU and GPU.
_FUSED = ("Adam", "AdamW")


def with_fused(optimizer: Mapping[str, Any], state: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the ``optimizer`` section with ``fused``, where there is such a kernel and nothing else was asked for.

    Parameters
    ----------
    optimizer : the section; not changed.
    state : of the optimizer that a run goes on with, or None. It goes on with the kernel it began with, since another
        rounds otherwise, and torch fails where a gradient scaler was made for one and the state is of the other.
    """
    section = dict(optimizer)
    is_fit = section.get("name") == "TorchOptim" and section.get("torch_optim_name") in _FUSED
    asked = {"fused", "foreach", "capturable", "differentiable"} & section.keys()
    began_otherwise = state is not None and not all(group.get("fused") for group in state["param_groups"])
    if is_fit and not asked and not began_otherwise:
        section["fused"] = True
    return section
