"""The reliability curve: how often answers of each probability are right, and how many there are of each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .figures import new_figure, save_figure

# Told apart by the colour-blind, and in grey by their lightness and markers.
_COLOURS, _MARKERS = ("#d95f02", "#1b4e9b"), ("o", "s")
_WIDTH = 0.8


def draw_reliability(
    path: Path, curves: Mapping[str, Sequence[Mapping[str, Any]]], errors: Mapping[str, float]
) -> None:
    """Draw one curve or two, with the number of utterances of each bin below; complete or not at all.

    Parameters
    ----------
    path : the picture to write, in the format that its name ends in.
    curves : name → what `metrics.reliability_curve` returns.
    errors : name → the expected calibration error.

    Raises
    ------
    UserError : matplotlib is not installed.
    """
    figure = new_figure(path.name, 5.6, 6.8)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    above.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=(0, (4, 3)), label="as often right as said")
    share = _WIDTH / len(curves)
    for place, (name, points) in enumerate(curves.items()):
        colour = _COLOURS[place]
        above.plot(
            [point["confidence"] for point in points],
            [point["accuracy"] for point in points],
            color=colour,
            marker=_MARKERS[place],
            markersize=5,
            clip_on=False,
            label=f"{name} (ECE {errors[name]:.3f})",
        )
        width = [(point["high"] - point["low"]) * share for point in points]
        start = [point["low"] + (point["high"] - point["low"]) * ((1 - _WIDTH) / 2 + place * share) for point in points]
        below.bar(start, [point["count"] for point in points], width, align="edge", color=colour)
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel="fraction of answers that are right")
    above.legend(loc="upper left", frameon=False, fontsize=9)
    below.set(xlabel="probability of the answer", ylabel="utterances")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    total = sum(point["count"] for point in next(iter(curves.values())))
    above.set_title(f"{total:,} utterances", fontsize=10)
    save_figure(figure, path)
