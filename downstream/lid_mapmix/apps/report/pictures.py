"""The pictures of the report: reliability, scores over something, the data map, latents in the plane."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from ...config.schema import DatamapConfig
from ...mapmix.datamap import Region, RegionRule
from ...mapmix.datamap_files import DataMap
from ...training.plan import assign_regions
from ...utils.randomness import keyed_generator
from .datamap_figure import CONFIDENCE, VARIABILITY, boundaries
from .raster import opacities, rasterise
from .svg import WIDTH, Axis, Frame, dots, picture, polyline, tag

# Of the style sheet: colours of one kind each, and steps from never to always right.
_COLOURS, _SHAPES, _STEPS = 8, 3, 6
_MOST_DOTS, _CELLS, _OPACITY_STEPS = 6000, 96, 4
# Rounding in datamap.csv may move a few utterances over a boundary.
_SAME_REGIONS = 0.999
_LATENTS_HEIGHT = 420
_PANEL_WIDTH, _PANEL_HEIGHT = 260, 250
LATENTS_ID = "all-latents"
# 2,000 take ten seconds, 10,000 two minutes.
MOST_POINTS = 2000
_LEAST_POINTS = 5
_PERPLEXITY = 30.0


@dataclass(frozen=True)
class Figure:
    """A picture and what belongs to it.

    Attributes
    ----------
    title : above it.
    svg : the picture.
    legend : (class of the style sheet, name) a series.
    caption : below it.
    """

    title: str
    svg: Markup
    legend: Sequence[tuple[str, str]] = ()
    caption: str = ""


def style(index: int) -> str:
    """Return the class that gives the `index`-th series its colour and mark; 24 can be told apart."""
    return f"c{index % _COLOURS} m{index % _SHAPES}"


def calibration_error(points: Sequence[Mapping[str, float]]) -> float:
    """Return the expected calibration error that the points of a reliability diagram stand for."""
    count = sum(point["count"] for point in points)
    return sum(abs(point["confidence"] - point["accuracy"]) * point["count"] for point in points) / count


def draw_reliability(title: str, points: Sequence[Mapping[str, float]]) -> Figure:
    """Draw accuracy over confidence, bin by bin, with the utterances of each."""
    frame = Frame(Axis("confidence: the answer's probability", 0, 1), Axis("share of right answers", 0, 1))
    bars, counts = [], []
    for point in points:
        right, said = point["accuracy"], point["confidence"]
        sides = (point["low"] + 0.006, point["high"] - 0.006)
        bars.append(frame.rectangle(sides, (0, min(right, said)), class_="bar"))
        bars.append(frame.rectangle(sides, (right, said), class_="surplus" if right > said else "gap"))
        [(x, y)] = frame.places([sum(sides) / 2], [max(right, said)]).tolist()
        counts.append(tag("text", f"{point['count']:,}", x=x, y=max(y - 4, 11), class_="middle small"))
    ideal = tag("path", d=polyline(frame.places([0, 1], [0, 1])), class_="ideal")
    error = calibration_error(points)
    spoken = "; ".join(f"at {point['confidence']:.2f} right {point['accuracy']:.2f}" for point in points)
    return Figure(
        title,
        frame.draw(
            *bars, ideal, *counts, title=f"Reliability diagram, {title}: calibration error {error:.3f}; {spoken}"
        ),
        caption=f"Expected calibration error {error:.3f}. Numbers: utterances in a bin.",
    )


def draw_lines(
    title: str,
    series: Mapping[str, tuple[np.ndarray, np.ndarray]],
    horizontal: Axis,
    vertical: Axis,
    *,
    has_marks: bool = True,
    mark: float | None = None,
    caption: str = "",
) -> Figure:
    """Draw lines, name → (x, y); `mark` is where on the horizontal axis to draw a line from top to bottom."""
    frame = Frame(horizontal, vertical)
    drawn, legend = [], []
    if mark is not None:
        line = frame.places([mark, mark], [vertical.low, vertical.high])
        drawn.append(tag("path", d=polyline(line), class_="ideal"))
    for index, (name, (x, y)) in enumerate(series.items()):
        places = frame.places(x, y)
        drawn.append(tag("path", d=polyline(places), class_=f"line {style(index)}"))
        if has_marks or len(places) == 1:
            drawn.append(tag("path", d=dots(places, index % _SHAPES), class_=f"dots large {style(index)}"))
        legend.append((style(index), name))
    spoken = "; ".join(f"{name} from {y[0]:.3g} to {y[-1]:.3g}" for name, (_, y) in series.items())
    return Figure(title, frame.draw(*drawn, title=f"{title}: {spoken}"), legend, caption)


def draw_datamap(datamap: DataMap, config: DatamapConfig) -> Figure:
    """Draw confidence over variability, coloured by correctness; cells in place of points where there are many."""
    frame = Frame(Axis("variability", *VARIABILITY), Axis("confidence", *CONFIDENCE), height=400)
    drawn = _points(frame, datamap) if len(datamap.ids) <= _MOST_DOTS else _cells(frame, datamap)
    gold = np.unique(datamap.classes, return_inverse=True)[1]
    regions = assign_regions(config, datamap.confidence, datamap.variability, gold)
    # A map that was made by another rule has other boundaries, and a share of each class has one a class.
    is_one_rule = config.regions is RegionRule.FIXED or not config.per_class
    if is_one_rule and (regions == datamap.regions).mean() > _SAME_REGIONS:
        drawn += [
            tag("path", d=polyline(frame.places(*line)), class_="ideal")
            for line in boundaries(datamap.confidence, datamap.regions, config)
        ]
    counts = [(region.value, int((datamap.regions == region.value).sum())) for region in Region]
    shares = ", ".join(f"{name} {count:,} ({100 * count / len(datamap.ids):.1f} %)" for name, count in counts)
    return Figure(
        "Training utterances",
        frame.draw(*drawn, title=f"Data map of {len(datamap.ids):,} utterances: {shares}"),
        caption=f"{len(datamap.ids):,} utterances over {int(datamap.epochs.max())} epochs: {shares}.",
    )


def correctness_steps() -> list[tuple[str, str]]:
    """Return the legend of the data map: a class of the style sheet a step, and the correctness it stands for."""
    return [(f"r{step} m1", f"{100 * step // (_STEPS - 1)} %") for step in range(_STEPS)]


def draw_clusters(places: np.ndarray, groups: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw latents in the plane, coloured by cluster; `LATENTS_ID` names all of them, for `draw_classes`.

    Parameters
    ----------
    places : (N, 2) float in the unit square.
    groups : (N,) int, cluster numbers.
    names : of the clusters.
    """
    scaled = _scaled(places, WIDTH, _LATENTS_HEIGHT)
    everything = tag("defs", tag("path", d=dots(_scaled(places, _PANEL_WIDTH, _PANEL_HEIGHT)), id=LATENTS_ID))
    drawn = [
        tag("path", d=dots(scaled[groups == index], index % _SHAPES), class_=f"dots {style(index)}")
        for index in range(len(names))
    ]
    legend = [(style(index), name) for index, name in enumerate(names)]
    spoken = f"t-SNE of {len(places):,} latents, coloured by their {len(names)} clusters"
    return Figure("By cluster", picture(everything, *drawn, title=spoken, height=_LATENTS_HEIGHT), legend)


def draw_classes(title: str, places: np.ndarray, groups: np.ndarray, members: Sequence[tuple[int, str]]) -> Figure:
    """Draw the classes of one cluster, (number, name) each, over all latents in grey."""
    scaled = _scaled(places, _PANEL_WIDTH, _PANEL_HEIGHT)
    drawn = [tag("use", href=f"#{LATENTS_ID}", class_="dots others")]
    for index, (number, _) in enumerate(members):
        drawn.append(tag("path", d=dots(scaled[groups == number], index % _SHAPES), class_=f"dots {style(index)}"))
    legend = [(style(index), name) for index, (_, name) in enumerate(members)]
    spoken = f"t-SNE: where the latents of {', '.join(name for _, name in members)} lie"
    return Figure(title, picture(*drawn, title=spoken, width=_PANEL_WIDTH, height=_PANEL_HEIGHT), legend)


def _scaled(places: np.ndarray, width: int, height: int, margin: int = 8) -> np.ndarray:
    return margin + places * (np.array([width, height]) - 2 * margin)


def _step(correctness: np.ndarray) -> np.ndarray:
    return np.rint(correctness * (_STEPS - 1)).astype(np.int64)


def _points(frame: Frame, datamap: DataMap) -> list[Markup]:
    places, steps = frame.places(datamap.variability, datamap.confidence), _step(datamap.correctness)
    # The often wrong last, and so on top: there are few of them, and they are what one looks for.
    return [
        tag("path", d=dots(places[steps == step]), class_=f"dots r{step}")
        for step in range(_STEPS - 1, -1, -1)
        if (steps == step).any()
    ]


def _cells(frame: Frame, datamap: DataMap) -> list[Markup]:
    limits, shape = (VARIABILITY, CONFIDENCE), (_CELLS, _CELLS)
    raster = rasterise(datamap.variability, datamap.confidence, datamap.correctness, limits=limits, shape=shape)
    steps = _step(np.nan_to_num(raster.means))
    opacity = np.ceil(opacities(raster.counts, 0.25) * _OPACITY_STEPS).astype(np.int64)
    (left, bottom), (right, top) = frame.places(VARIABILITY, CONFIDENCE).tolist()
    width, height = (right - left) / _CELLS, (bottom - top) / _CELLS
    cell = f"h{width:.2f}v{height:.2f}h-{width:.2f}z"
    drawn = []
    for step in range(_STEPS):
        for level in range(1, _OPACITY_STEPS + 1):
            rows, columns = np.nonzero((steps == step) & (opacity == level))
            corners = zip((left + columns * width).tolist(), (bottom - (rows + 1) * height).tolist(), strict=True)
            if outline := "".join(f"M{x:.1f} {y:.1f}{cell}" for x, y in corners):
                drawn.append(tag("path", d=outline, class_=f"cells r{step}", fill_opacity=level / _OPACITY_STEPS))
    return drawn


def chosen_points(count: int, most: int = MOST_POINTS, seed: int = 0) -> np.ndarray:
    """Return which of `count` latents to show, ascending int64: all, or `most` of them drawn without replacement."""
    if count <= most:
        return np.arange(count)
    return np.sort(keyed_generator(seed, "projection").choice(count, size=most, replace=False))


def project(latents: np.ndarray, seed: int = 0) -> np.ndarray | None:
    """Return places in the unit square, (N, 2) float64; None where there are too few latents, or all are the same.

    Parameters
    ----------
    latents : (N, dim) float, finite.
    seed : of the search.
    """
    if len(latents) < _LEAST_POINTS or np.ptp(latents, axis=0).max(initial=0) == 0:
        return None
    from sklearn.manifold import TSNE  # noqa: PLC0415
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    perplexity = min(_PERPLEXITY, (len(latents) - 1) / 3)
    initial = "pca" if min(latents.shape) > 1 else "random"
    # Several threads add up in an order of their own, and a t-SNE that starts another way ends elsewhere.
    with threadpool_limits(1):
        places = TSNE(perplexity=perplexity, init=initial, random_state=seed).fit_transform(latents)
    low, high = places.min(axis=0), places.max(axis=0)
    return ((places - low) / np.where(high > low, high - low, 1.0)).astype(np.float64)
