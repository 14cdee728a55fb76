"""Map-Mix dialect and language identification as an S3PRL downstream task.

``from lid_mapmix import Identifier`` identifies recordings with a trained run. It is imported on first use, because it
imports torch.
"""

from typing import Any

__all__ = ["Identifier"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return import_module(".inference.identifier", __name__).Identifier
