"""datamap.png: confidence over variability, coloured by correctness, after Dataset Cartography (arXiv 2009.10795).

Both axes always span the full range, so that figures of two runs can be compared. Up to a limit each utterance is drawn
as a point. Above it the plane is divided into hexagons, coloured by mean correctness.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...config.schema import DatamapConfig
from ...mapmix.datamap import UNREAD, Measures, Region, RegionRule
from ...mapmix.datamap_files import read_datamap
from ...utils.files import warn_if_not_written
from ...utils.run_folder import RunFolder
from .figures import new_figure, save_figure

# The standard deviation of probabilities is at most 0.5.
_VARIABILITY, _CONFIDENCE = (0.0, 0.5), (0.0, 1.0)
_MAX_POINTS = 20_000
_MAX_POINTS_PER_PANEL = 2_000
_CELLS, _PANEL_CELLS = 160, 40
_MAX_NAME_LENGTH = 18
_LINES = {"color": "0.25", "linewidth": 0.9, "linestyle": (0, (4, 2))}


def draw_datamap(path: Path | None, measures: Measures, regions: np.ndarray, config: DatamapConfig | None) -> Any:
    """Draw all utterances, with a histogram along each axis; complete or not at all.

    `path`: PNG to write; None for a page. `measures`, `regions`: of the utterances. `config`: settings by which regions
    were assigned; None if unknown: no boundaries are drawn.
    """
    figure = new_figure(path, 8.0, 7.6)
    grid = figure.add_gridspec(2, 2, width_ratios=(5, 1), height_ratios=(1, 5), wspace=0.03, hspace=0.03)
    main = figure.add_subplot(grid[1, 0])
    above = figure.add_subplot(grid[0, 0], sharex=main)
    beside = figure.add_subplot(grid[1, 1], sharey=main)
    colours = _colours()
    _draw_points(main, measures, np.arange(len(regions)), colours=colours, max_points=_MAX_POINTS, cells=_CELLS)
    # Quantiles per class have no common boundary.
    if config is not None and (config.regions is RegionRule.FIXED or not config.per_class):
        _draw_boundaries(main, measures.confidence, regions, config)
    main.set(xlabel="variability", ylabel="confidence")
    read = ~np.isnan(measures.confidence)
    above.hist(measures.variability[read], bins=50, range=_VARIABILITY, color="0.55")
    beside.hist(measures.confidence[read], bins=50, range=_CONFIDENCE, color="0.55", orientation="horizontal")
    for axes in (above, beside):
        axes.tick_params(labelleft=axes is above, labelbottom=axes is beside, labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    above.set_ylabel("utterances", fontsize=8)
    beside.set_xlabel("utterances", fontsize=8)
    beside.tick_params(axis="x", rotation=90)
    epochs = int(measures.epochs.max())
    figure.suptitle(f"{len(regions):,} utterances, {epochs} {'epoch' if epochs == 1 else 'epochs'}\n{_counts(regions)}")
    _add_colour_bar(figure, [main, beside], colours)
    save_figure(figure, path)
    return figure


def draw_by_class(
    path: Path,
    measures: Measures,
    regions: np.ndarray,
    config: DatamapConfig,
    *,
    classes: Sequence[str],
    targets: np.ndarray,
) -> None:
    """Draw one panel per class, in the order of the classes, with the same axes; complete or not at all.

    `path`: PNG to write. `measures`, `regions`, `config`: as for :func:`draw_datamap`. `targets`: (utterances,) int,
    target class of each utterance.
    """
    columns = math.ceil(math.sqrt(len(classes)))
    rows = math.ceil(len(classes) / columns)
    figure = new_figure(path, 1.7 * columns + 1.2, 1.8 * rows + 0.9)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    colours = _colours()
    # Quantiles per class have their own boundaries in each panel.
    of_class = config.regions is RegionRule.QUANTILE and config.per_class
    for number, (axes, name) in enumerate(zip(panels, classes, strict=False)):
        members = np.flatnonzero(targets == number)
        _draw_points(axes, measures, members, colours=colours, max_points=_MAX_POINTS_PER_PANEL, cells=_PANEL_CELLS)
        bounded = members if of_class else slice(None)
        _draw_boundaries(axes, measures.confidence[bounded], regions[bounded], config)
        counts = "/".join(str(np.count_nonzero(regions[members] == region.value)) for region in Region)
        axes.set_title(f"{_printable(name)}\n{counts}", fontsize=8)
        axes.tick_params(labelsize=7)
    for axes in panels[len(classes) :]:
        axes.set_visible(False)
    for number in range(max(0, len(classes) - columns), len(classes)):
        panels[number].tick_params(labelbottom=True)
    figure.supxlabel("variability", fontsize=9)
    figure.supylabel("confidence", fontsize=9)
    figure.suptitle(f"class\n{'/'.join(Region)}", fontsize=9)
    _add_colour_bar(figure, list(panels), colours)
    save_figure(figure, path)


def _draw_points(
    axes: Any, measures: Measures, members: np.ndarray, *, colours: Any, max_points: int, cells: int
) -> None:
    members = members[~np.isnan(measures.confidence[members])]
    variability, confidence = measures.variability[members], measures.confidence[members]
    correctness = measures.correctness[members]
    if len(members) <= max_points:
        # Utterances with low correctness are drawn last, on top: they are few and the most interesting.
        order = np.argsort(-correctness, kind="stable")
        axes.scatter(
            variability[order],
            confidence[order],
            c=correctness[order],
            cmap=colours,
            vmin=0,
            vmax=1,
            s=float(np.clip(2e4 / max(len(members), 1), 3, 18)),
            alpha=0.8,
            linewidths=0,
            rasterized=True,  # one image in a page, not thousands of elements
        )
    else:
        extent, options = (*_VARIABILITY, *_CONFIDENCE), {"cmap": colours, "vmin": 0, "vmax": 1, "rasterized": True}
        axes.hexbin(variability, confidence, correctness, gridsize=cells, extent=extent, **options)
    # A margin, so that points on the edge are drawn completely.
    axes.set(xlim=(-0.01, _VARIABILITY[1] + 0.01), ylim=(-0.02, _CONFIDENCE[1] + 0.02))


def _boundaries(
    confidence: np.ndarray, regions: np.ndarray, config: DatamapConfig
) -> list[tuple[list[float], list[float]]]:
    """Return the boundaries of the regions, each as (variabilities, confidences)."""
    if config.regions is RegionRule.FIXED:
        easy, hard = config.easy_variability, config.hard_variability
        return [
            ([0.0, easy, easy], [config.easy_confidence, config.easy_confidence, 1.0]),
            ([0.0, hard, hard], [config.hard_confidence, config.hard_confidence, 0.0]),
        ]
    edges = [
        float(edge(members))
        for region, edge in ((Region.EASY, np.min), (Region.HARD, np.max))
        if len(members := confidence[regions == region.value])
    ]
    return [(list(_VARIABILITY), [edge, edge]) for edge in edges]


def _draw_boundaries(axes: Any, confidence: np.ndarray, regions: np.ndarray, config: DatamapConfig) -> None:
    for line in _boundaries(confidence, regions, config):
        axes.plot(*line, **_LINES)


def _counts(regions: np.ndarray) -> str:
    parts = []
    for name in (*(region.value for region in Region), UNREAD):
        count = np.count_nonzero(regions == name)
        if count or name != UNREAD:
            parts.append(f"{name} {count:,} ({count / max(len(regions), 1):.1%})")
    return " · ".join(parts)


def _printable(name: str) -> str:
    """Shorten a long name, and escape $, which starts a formula."""
    short = name if len(name) <= _MAX_NAME_LENGTH else f"{name[: _MAX_NAME_LENGTH - 1]}…"
    return short.replace("$", r"\$")


def _colours() -> Any:
    from matplotlib import colormaps  # noqa: PLC0415
    from matplotlib.colors import ListedColormap  # noqa: PLC0415

    # Readable with colour blindness; without the bright yellows, which are invisible on white.
    return ListedColormap(colormaps["plasma"](np.linspace(0, 0.88, 256)))


def _add_colour_bar(figure: Any, axes: list, colours: Any) -> None:
    from matplotlib.cm import ScalarMappable  # noqa: PLC0415
    from matplotlib.colors import Normalize  # noqa: PLC0415

    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), colours), ax=axes, fraction=0.03, pad=0.02, aspect=35)
    bar.set_label("correctness: fraction of epochs with a correct prediction", fontsize=8)
    bar.ax.tick_params(labelsize=8)


def try_datamap_figure(folder: RunFolder, config: DatamapConfig) -> None:
    """Draw the data map of a run, if there is one; log a warning if that fails."""
    if not folder.datamap.is_file():
        return
    with warn_if_not_written(folder.datamap_figure):
        datamap = read_datamap(folder.datamap)
        draw_datamap(folder.datamap_figure, datamap, datamap.regions, config)
