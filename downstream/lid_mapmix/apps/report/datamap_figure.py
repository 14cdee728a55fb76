"""datamap.png: confidence over variability, coloured by correctness, after Dataset Cartography (arXiv 2009.10795).

Both axes always span the full range, so that figures of two runs can be compared. Up to a limit each utterance is drawn
as a point. Above it the plane is divided into hexagons, coloured by mean correctness.
"""

from pathlib import Path
from typing import Any

import numpy as np

from ...config.schema import DatamapConfig
from ...mapmix.datamap import UNREAD, Measures, Region, RegionRule
from ...mapmix.datamap_files import read_datamap
from ...utils.files import warn_if_not_written
from ...utils.run_folder import RunFolder
from .figures import DASHED, new_figure, save_figure

# The standard deviation of probabilities is at most 0.5.
_VARIABILITY, _CONFIDENCE = (0.0, 0.5), (0.0, 1.0)
_MAX_POINTS = 20_000
_CELLS = 160


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
    _draw_points(main, measures, colours)
    # Quantiles per class have no common boundary.
    if config is not None and (config.regions is RegionRule.FIXED or not config.per_class):
        for line in _boundaries(measures.confidence, regions, config):
            main.plot(*line, **DASHED)
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


def _draw_points(axes: Any, measures: Measures, colours: Any) -> None:
    read = ~np.isnan(measures.confidence)
    variability, confidence, correctness = (
        values[read] for values in (measures.variability, measures.confidence, measures.correctness)
    )
    if len(confidence) <= _MAX_POINTS:
        # Utterances with low correctness are drawn last, on top: they are few and the most interesting.
        order = np.argsort(-correctness, kind="stable")
        axes.scatter(
            variability[order],
            confidence[order],
            c=correctness[order],
            cmap=colours,
            vmin=0,
            vmax=1,
            s=float(np.clip(2e4 / max(len(confidence), 1), 3, 18)),
            alpha=0.8,
            linewidths=0,
            rasterized=True,  # one image in a page, not thousands of elements
        )
    else:
        extent, options = (*_VARIABILITY, *_CONFIDENCE), {"cmap": colours, "vmin": 0, "vmax": 1, "rasterized": True}
        axes.hexbin(variability, confidence, correctness, gridsize=_CELLS, extent=extent, **options)
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


def _counts(regions: np.ndarray) -> str:
    parts = []
    for name in (*(region.value for region in Region), UNREAD):
        count = np.count_nonzero(regions == name)
        if count or name != UNREAD:
            parts.append(f"{name} {count:,} ({count / max(len(regions), 1):.1%})")
    return " · ".join(parts)


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
