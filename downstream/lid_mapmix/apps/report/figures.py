"""Figures of matplotlib, which is imported only when one is drawn."""

from pathlib import Path
from typing import Any

from ...utils.errors import UserError
from ...utils.files import replace_when_complete

_DPI = 130


def new_figure(name: str, width: float, height: float) -> Any:
    """Return an empty matplotlib figure.

    Parameters
    ----------
    name : of the picture, for the error.
    width, height : in inches.

    Raises
    ------
    UserError : matplotlib is not installed.
    """
    try:
        # Not pyplot: it keeps figures, and looks for a screen.
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError:
        raise UserError(
            f"{name} needs matplotlib, which is not installed. Install it by 'pip install matplotlib'."
        ) from None
    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained")


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure in the format that its name ends in, such as .png, complete or not at all."""
    with replace_when_complete(path) as temporary:
        figure.savefig(temporary, format=path.suffix.removeprefix(".").lower())
