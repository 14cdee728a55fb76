"""Figures, drawn with matplotlib: reliability, truncation, curves.

The same function draws a figure for a file and, as inline SVG, for the report. matplotlib is imported when needed.
"""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from ...utils.errors import UserError
from ...utils.files import replace_when_complete

_DPI, _PAGE_DPI = 130, 200
# Width in inches of a figure in the report: its text then has the size of the surrounding text, also on phones.
_PAGE_WIDTH = 4.8
# Colour in the figures → variable of page.css, which has another value in dark mode.
_VARIABLES = {
    "#000000": "ink",
    "#ffffff": "card",
    "#404040": "ideal",
    "#e6e6e6": "grid",
    "#1b4e9b": "right",
    "#d95f02": "wrong",
    "#1f77b4": "c0",
    "#ff7f0e": "c1",
    "#2ca02c": "c2",
    "#d62728": "c3",
}
# Removed from an SVG: the style sheet (it would apply to the whole page), ids of groups (not unique), the font.
_FOREIGN = re.compile(r'<style.*?</style>|(?<=<g) id="[^"]*"|font-family: [^;"]*;? ?', re.DOTALL)
DASHED = {"color": "0.25", "linewidth": 0.9, "linestyle": (0, (4, 2))}
# Distinguishable with colour blindness, and in grey by lightness and markers.
_CURVE_COLOURS, _MARKERS = ("#d95f02", "#1b4e9b"), ("o", "s", "^", "D")
_WIDTH = 0.8
_UPWARDS = {"acc": "accuracy", "macro_f1": "macro F1", "c_acc": "cluster accuracy"}
_DOWNWARDS = {"ece": "ECE", "ece_calibrated": "ECE calibrated", "c_primary": "C_primary", "eer": "EER"}


def new_figure(path: Path | None, width: float, height: float) -> Any:
    """Return an empty figure, in inches; None for a page, with that ratio. Raises UserError: no matplotlib."""
    try:
        # Not pyplot: it keeps references to figures and opens a display.
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError:
        name = "the page" if path is None else path.name
        raise UserError(
            f"{name} needs matplotlib, which is not installed. Install it by 'pip install matplotlib'."
        ) from None
    scale, dpi = (_PAGE_WIDTH / width, _PAGE_DPI) if path is None else (1, _DPI)
    return Figure(figsize=(scale * width, scale * height), dpi=dpi, layout="constrained")


def save_figure(figure: Any, path: Path | None) -> None:
    """Write a figure in the format of the file's extension, such as .png, complete or not at all; nothing for None."""
    if path is not None:
        with replace_when_complete(path) as temporary:
            figure.savefig(temporary, format=path.suffix.removeprefix(".").lower())


def inline_svg(figure: Any, label: str) -> Markup:
    """Return a figure as inline SVG, scaled to the width of its container; deterministic.

    `figure`: rasterised parts become a PNG inside the SVG. `label`: text for screen readers; it must be unique on the
    page, since it makes the ids of the SVG unique.
    """
    from matplotlib import rc_context  # noqa: PLC0415

    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", dpi=figure.dpi, transparent=True, metadata=nothing)
    body = _FOREIGN.sub("", file.getvalue().partition("<svg ")[2].partition(">")[2]).replace("xlink:href", "href")
    for colour, variable in _VARIABLES.items():
        body = body.replace(f": {colour}", f": var(--{variable})")
    width, height = 72 * figure.get_size_inches()
    head = Markup('<svg viewBox="0 0 {:g} {:g}" role="img" aria-label="{}">').format(width, height, label)
    return head + Markup(body)


def draw_reliability(
    path: Path | None, curves: Mapping[str, Sequence[Mapping[str, Any]]], errors: Mapping[str, float]
) -> Any:
    """Draw one or two reliability curves, with the number of utterances per bin below; complete or not at all.

    `path`: figure to write, in the format of its extension; None for a page. `curves`: name → result of
    `metrics.reliability_curve`. `errors`: name → expected calibration error.
    """
    figure = new_figure(path, 5.6, 6.8)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    above.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=(0, (4, 3)), label="perfect calibration")
    fraction = _WIDTH / len(curves)
    for place, (name, points) in enumerate(curves.items()):
        colour = _CURVE_COLOURS[place]
        above.plot(
            [point["confidence"] for point in points],
            [point["accuracy"] for point in points],
            color=colour,
            marker=_MARKERS[place],
            markersize=5,
            clip_on=False,
            label=f"{name} (ECE {errors[name]:.3f})",
        )
        width = [(point["high"] - point["low"]) * fraction for point in points]
        offset = (1 - _WIDTH) / 2 + place * fraction
        start = [point["low"] + (point["high"] - point["low"]) * offset for point in points]
        below.bar(start, [point["count"] for point in points], width, align="edge", color=colour)
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    above.legend(loc="upper left", frameon=False, fontsize=9)
    below.set(xlabel="confidence: probability of the predicted class", ylabel="utterances")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    total = sum(point["count"] for point in next(iter(curves.values())))
    above.set_title(f"{total:,} utterances", fontsize=10)
    save_figure(figure, path)
    return figure


def draw_truncation(path: Path | None, split: str, scores: Mapping[str, Mapping[str, Any]]) -> Any:
    """Draw scores over duration: above those where higher is better, below the others; complete or not at all.

    `path`: PNG to write; None for a page. `scores`: duration in seconds, as text → scores; None values are not drawn.
    """
    figure = new_figure(path, 7.0, 6.6)
    above, below = figure.subplots(2, 1, sharex=True)
    seconds = [float(name) for name in scores]
    for axes, shown in ((above, _UPWARDS), (below, _DOWNWARDS)):
        for marker, (key, label) in zip(_MARKERS, shown.items(), strict=False):
            values = [float("nan") if row.get(key) is None else row[key] for row in scores.values()]
            (line,) = axes.plot(seconds, values, marker=marker, markersize=4, linewidth=1.2, label=label)
            hollow = [number for number, row in enumerate(scores.values()) if not row["long_enough"]]
            if hollow:  # no utterance is that long: these are scores of full lengths
                at = [seconds[number] for number in hollow], [values[number] for number in hollow]
                axes.plot(*at, marker, color=line.get_color(), markersize=4, markerfacecolor="white")
        axes.legend(fontsize=8)
        axes.grid(color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(bottom=0)
    above.set_ylim(top=1.02)
    below.set_xscale("log")
    below.set_xticks(seconds, [f"{name} s\n{row['long_enough']:,}" for name, row in scores.items()], fontsize=8)
    below.minorticks_off()
    gap = "\n" if path is None else " "  # a page is narrower
    below.set_xlabel(f"duration kept (s);{gap}below: number of utterances of at least that duration", fontsize=9)
    above.set_ylabel("higher is better", fontsize=9)
    below.set_ylabel("lower is better", fontsize=9)
    count = next(iter(scores.values()))["count"]
    figure.suptitle(f"{split.replace('$', chr(92) + '$')}: {count:,} utterances; shorter ones in full length")
    save_figure(figure, path)
    return figure


def draw_lines(
    series: Mapping[str, tuple[np.ndarray, np.ndarray]],
    horizontal: str,
    vertical: str,
    *,
    top: float | None = None,
    ticks: Sequence[float] | None = None,
    is_logarithmic: bool = False,
    has_marks: bool = True,
    mark: float | None = None,
) -> Any:
    """Draw lines for a page.

    Parameters
    ----------
    series : name → (x, y).
    horizontal, vertical : labels of the axes.
    top : upper end of the vertical axis, which starts at 0; None for the largest value.
    ticks : ticks of the horizontal axis; None for automatic ones.
    is_logarithmic : whether the horizontal axis is logarithmic.
    has_marks : whether each point has a marker.
    mark : position of a vertical line.
    """
    figure = new_figure(None, 4.8, 3.7)
    axes = figure.subplots()
    if mark is not None:
        axes.axvline(mark, **DASHED)
    for number, (name, (x, y)) in enumerate(series.items()):
        marker = _MARKERS[number % len(_MARKERS)] if has_marks or len(x) == 1 else ""
        axes.plot(x, y, marker=marker, markersize=4, linewidth=1.4, label=name)
    if is_logarithmic:
        axes.set_xscale("log")
        axes.minorticks_off()
    if ticks is not None:
        axes.set_xticks(ticks)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}")  # noqa: PLR2004
    axes.set(xlabel=horizontal, ylabel=vertical)
    axes.set_ylim(bottom=0, top=top)
    axes.grid(axis="y", color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper left", ncols=4, frameon=False, fontsize=9)
    return figure
