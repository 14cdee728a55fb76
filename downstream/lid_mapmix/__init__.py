"""Map-Mix dialect and language identification as an S3PRL downstream task.

The names of the public interface are imported on first use, because they import torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .apps.api import DataMap, Scores, TrainedRun, evaluate, score, train
    from .inference.identifier import Identifier
    from .utils.errors import UserError

__version__ = "0.2.0"

__all__ = ["DataMap", "Identifier", "Scores", "TrainedRun", "UserError", "evaluate", "score", "train"]

_MODULES = {"Identifier": ".inference.identifier", "UserError": ".utils.errors"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(_MODULES.get(name, ".apps.api"), __name__), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
