"""datamap.png: confidence over variability, coloured by correctness, after Dataset Cartography (arXiv 2009.10795).

Both axes always span all there can be, so that pictures of two runs can be laid side by side. Up to a number of
utterances each is a point; beyond it, a cell of a grid is coloured by its mean correctness and the more opaque the more
utterances it holds, so that a million are as quick to draw, and to read, as a thousand.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...config.schema import DatamapConfig
from ...mapmix.datamap import UNREAD, Measures, Region, RegionRule
from ...mapmix.datamap_files import read_datamap
from ...utils.run_folder import RunFolder
from .figures import new_figure, save_figure

logger = logging.getLogger(__name__)

# A standard deviation of probabilities is 0.5 at most.
_VARIABILITY, _CONFIDENCE = (0.0, 0.5), (0.0, 1.0)
_MOST_POINTS = 20_000
_MOST_POINTS_A_PANEL = 2_000
_CELLS, _PANEL_CELLS = 320, 80
_LEAST_OPACITY = 0.45
_LONGEST_NAME = 18
_LINES = {"color": "0.25", "linewidth": 0.9, "linestyle": (0, (4, 2))}


def draw_datamap(path: Path | None, measures: Measures, regions: np.ndarray, config: DatamapConfig | None) -> Any:
    """Draw all utterances, with a histogram along each axis; complete or not at all.

    Parameters
    ----------
    path : the PNG to write; None for a page.
    measures, regions : of the utterances.
    config : by which the regions were assigned; None where that is not known, and no boundaries are drawn.

    Returns
    -------
    The figure.

    Raises
    ------
    UserError : matplotlib is not installed.
    """
    figure = new_figure(path, 8.0, 7.6)
    grid = figure.add_gridspec(2, 2, width_ratios=(5, 1), height_ratios=(1, 5), wspace=0.03, hspace=0.03)
    main = figure.add_subplot(grid[1, 0])
    above = figure.add_subplot(grid[0, 0], sharex=main)
    beside = figure.add_subplot(grid[1, 1], sharey=main)
    colours = _colours()
    _draw_points(main, measures, np.arange(len(regions)), colours=colours, most_points=_MOST_POINTS, cells=_CELLS)
    # A share of each class is not delimited by one line.
    if config is not None and (config.regions is RegionRule.FIXED or not config.per_class):
        _draw_boundaries(main, measures.confidence, regions, config)
    main.set(xlabel="variability", ylabel="confidence")
    heard = ~np.isnan(measures.confidence)
    above.hist(measures.variability[heard], bins=50, range=_VARIABILITY, color="0.55")
    beside.hist(measures.confidence[heard], bins=50, range=_CONFIDENCE, color="0.55", orientation="horizontal")
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
    gold: np.ndarray,
) -> None:
    """Draw a panel a class, in the order of the classes, all on the same axes; complete or not at all.

    Parameters
    ----------
    path : the PNG to write.
    measures, regions, config : as for :func:`draw_datamap`.
    classes : names of the classes.
    gold : (utterances,) int, class number of each utterance.

    Raises
    ------
    UserError : matplotlib is not installed.
    """
    columns = math.ceil(math.sqrt(len(classes)))
    rows = math.ceil(len(classes) / columns)
    figure = new_figure(path, 1.7 * columns + 1.2, 1.8 * rows + 0.9)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    colours = _colours()
    # Shares of each class have boundaries of their own in each.
    of_class = config.regions is RegionRule.QUANTILE and config.per_class
    for number, (axes, name) in enumerate(zip(panels, classes, strict=False)):
        members = np.flatnonzero(gold == number)
        _draw_points(axes, measures, members, colours=colours, most_points=_MOST_POINTS_A_PANEL, cells=_PANEL_CELLS)
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
    axes: Any, measures: Measures, members: np.ndarray, *, colours: Any, most_points: int, cells: int
) -> None:
    members = members[~np.isnan(measures.confidence[members])]
    variability, confidence = measures.variability[members], measures.confidence[members]
    correctness = measures.correctness[members]
    if len(members) <= most_points:
        # The often wrong last, and so on top: there are few of them, and they are what one looks for.
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
        limits = (_VARIABILITY, _CONFIDENCE)
        raster = rasterise(variability, confidence, correctness, limits=limits, shape=(cells, cells))
        image = colours(np.nan_to_num(raster.means))
        image[..., 3] = opacities(raster.counts, _LEAST_OPACITY)
        axes.imshow(image, extent=(*_VARIABILITY, *_CONFIDENCE), origin="lower", aspect="auto", interpolation="nearest")
    # A little beyond both ends, so that points on the edge are drawn whole.
    axes.set(xlim=(-0.01, _VARIABILITY[1] + 0.01), ylim=(-0.02, _CONFIDENCE[1] + 0.02))


def _boundaries(
    confidence: np.ndarray, regions: np.ndarray, config: DatamapConfig
) -> list[tuple[list[float], list[float]]]:
    """Return the lines between regions, each as its variabilities and its confidences.

    Parameters
    ----------
    confidence, regions : of the utterances.
    config : by which the regions were assigned.
    """
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
    """Shorten a long name, and let no sign in it start a formula."""
    short = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
    return short.replace("$", r"\$")


def _colours() -> Any:
    from matplotlib import colormaps  # noqa: PLC0415
    from matplotlib.colors import ListedColormap  # noqa: PLC0415

    # Even for the colour-blind; without its last, bright yellows, which vanish on white.
    return ListedColormap(colormaps["plasma"](np.linspace(0, 0.88, 256)))


def _add_colour_bar(figure: Any, axes: list, colours: Any) -> None:
    from matplotlib.cm import ScalarMappable  # noqa: PLC0415
    from matplotlib.colors import Normalize  # noqa: PLC0415

    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), colours), ax=axes, fraction=0.03, pad=0.02, aspect=35)
    bar.set_label("correctness: fraction of the epochs that were right", fontsize=8)
    bar.ax.tick_params(labelsize=8)


@dataclass(frozen=True, eq=False)
class Raster:
    """Points counted in cells of a grid; row 0 is the lowest, column 0 the leftmost.

    Attributes
    ----------
    counts : (rows, columns) int64, points in each cell.
    means : (rows, columns) float64, mean value of these points; NaN where there is none.
    """

    counts: np.ndarray
    means: np.ndarray


def rasterise(
    horizontal: np.ndarray,
    vertical: np.ndarray,
    values: np.ndarray,
    *,
    limits: tuple[tuple[float, float], tuple[float, float]],
    shape: tuple[int, int],
) -> Raster:
    """Count points in cells and average their values there.

    Parameters
    ----------
    horizontal, vertical, values : (N,) float.
    limits : lower and upper end of the horizontal and of the vertical axis. A point outside counts in the cell nearest
        to it, so that none is lost.
    shape : rows and columns.
    """
    cells = np.zeros(len(values), dtype=np.int64)
    for coordinates, (low, high), count in ((vertical, limits[1], shape[0]), (horizontal, limits[0], shape[1])):
        place = np.floor((coordinates - low) / (high - low) * count).astype(np.int64)
        cells = cells * count + place.clip(0, count - 1)
    size = shape[0] * shape[1]
    counts = np.bincount(cells, minlength=size)
    sums = np.bincount(cells, weights=values, minlength=size)
    means = np.divide(sums, counts, out=np.full(size, np.nan), where=counts > 0)
    return Raster(counts.reshape(shape), means.reshape(shape))


def opacities(counts: np.ndarray, least: float) -> np.ndarray:
    """Return how opaque to draw each cell, by the logarithm of its count.

    Parameters
    ----------
    counts : (...) int, from 0 up.
    least : opacity of a cell with one point, so that a lone one is still seen.

    Returns
    -------
    (...) float64: 0 where there is no point, `least` for one, 1 for the fullest cell (also where that has one).
    """
    most = int(counts.max(initial=0))
    shares = np.log(np.maximum(counts, 1)) / np.log(most) if most > 1 else np.ones(counts.shape)
    return np.where(counts > 0, least + (1 - least) * shares, 0.0)


def try_datamap_figure(folder: RunFolder, config: DatamapConfig) -> None:
    """Draw the map that a run has left; where that fails, say so and leave the run as complete as it is."""
    if not folder.datamap.is_file():
        return
    try:
        datamap = read_datamap(folder.datamap)
        draw_datamap(folder.datamap_figure, datamap, datamap.regions, config)
    # Whatever it is: a figure is not worth a run, and the command draws it again.
    except Exception as error:  # noqa: BLE001
        logger.warning("%s was not drawn: %s", folder.datamap_figure, error)
