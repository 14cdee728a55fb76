"""Small SVG pictures that stand in a page: every text is escaped, colours are classes of the page's style sheet."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

# Units of a picture. Shown at most half as large again, and on a telephone a little smaller.
WIDTH, HEIGHT = 440, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 14, 12, 42
_CROSS = 2.3


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """Return an element; what is not yet markup is escaped.

    Parameters
    ----------
    name : of the element.
    children : texts or elements.
    attributes : one whose value is None is left out; ``class_`` is class, ``font_size`` font-size.
    """
    written = Markup("").join(
        Markup(' {}="{}"').format(Markup(key.rstrip("_").replace("_", "-")), _value(value))
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(child if isinstance(child, Markup) else escape(child) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), written, inner)


def number(value: float, digits: int = 1) -> str:
    """Return a number as short as a coordinate needs it."""
    text = f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:.0f}"
    return "0" if text in {"-0", ""} else text


def dots(places: np.ndarray, shape: int = 0) -> str:
    """Return path data of a mark a point; the stroke's width is the mark's size.

    Parameters
    ----------
    places : (N, 2) float, in the picture's units.
    shape : 2 for crosses; 0 and 1 are dots and squares by the stroke's line cap.
    """
    if shape == 2:  # noqa: PLR2004
        arms = f"l{2 * _CROSS} {2 * _CROSS}m0-{2 * _CROSS}l-{2 * _CROSS} {2 * _CROSS}"
        return "".join(f"M{number(x - _CROSS)} {number(y - _CROSS)}{arms}" for x, y in places.tolist())
    return "".join(f"M{number(x)} {number(y)}h0" for x, y in places.tolist())


def polyline(places: np.ndarray) -> str:
    """Return path data of a line through (N, 2) places."""
    return "M" + "L".join(f"{number(x)} {number(y)}" for x, y in places.tolist())


def ticks_between(low: float, high: float) -> list[float]:
    """Return round numbers from `low` to `high`, about five."""
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    # As often wider than what was asked for.
    found = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    slack = 1e-9 * max(abs(low), abs(high))
    return [float(tick) for tick in found if low - slack <= tick <= high + slack]


@dataclass(frozen=True)
class Axis:
    """One of the two directions of a picture.

    Attributes
    ----------
    label : what is measured.
    low, high : its ends; where they are the same, both are moved apart.
    ticks : numbers to write beside it; about five round ones where there are none.
    is_logarithmic : equal ratios are equally far apart.
    """

    label: str
    low: float
    high: float
    ticks: tuple[float, ...] | None = None
    is_logarithmic: bool = False

    def share(self, values: np.ndarray | Sequence[float]) -> np.ndarray:
        """Return how far along the axis values lie, 0 to 1."""
        numbers, low, high = np.asarray(values, dtype=np.float64), self.low, self.high
        if self.is_logarithmic:
            numbers, low, high = np.log(numbers), math.log(low), math.log(high)
        return (numbers - low) / (high - low) if high > low else np.full(numbers.shape, 0.5)

    @property
    def all_ticks(self) -> list[float]:
        """The numbers beside the axis."""
        return list(self.ticks) if self.ticks is not None else ticks_between(self.low, self.high)


@dataclass(frozen=True)
class Frame:
    """A picture with two axes."""

    horizontal: Axis
    vertical: Axis
    height: int = HEIGHT

    def places(self, x: np.ndarray | Sequence[float], y: np.ndarray | Sequence[float]) -> np.ndarray:
        """Return points of the axes in the picture's units, (N, 2) float64."""
        across, up = self.horizontal.share(x), self.vertical.share(y)
        bottom = self.height - _BOTTOM
        return np.stack([_LEFT + across * (WIDTH - _LEFT - _RIGHT), bottom - up * (bottom - _TOP)], axis=-1)

    def rectangle(self, x: tuple[float, float], y: tuple[float, float], **attributes: object) -> Markup:
        """Return a rectangle between two values of each axis."""
        (left, top), (right, bottom) = self.places(x, (max(y), min(y))).tolist()
        return tag("rect", x=left, y=top, width=right - left, height=bottom - top, **attributes)

    def draw(self, *drawn: Markup, title: str) -> Markup:
        """Return the picture.

        Parameters
        ----------
        drawn : what lies between the axes.
        title : says in words what is to be seen, to those who do not see it.
        """
        return picture(*self._grid(), *drawn, title=title, height=self.height)

    def _grid(self) -> Iterable[Markup]:
        left, right, bottom = _LEFT, WIDTH - _RIGHT, self.height - _BOTTOM
        for tick in self.vertical.all_ticks:
            [(_, y)] = self.places([self.horizontal.low], [tick]).tolist()
            yield tag("path", d=f"M{left} {number(y)}H{right}", class_="grid")
            yield tag("text", _tick(tick), x=left - 7, y=y + 4, class_="end")
        for tick in self.horizontal.all_ticks:
            [(x, _)] = self.places([tick], [self.vertical.low]).tolist()
            yield tag("path", d=f"M{number(x)} {bottom}v4", class_="axis")
            yield tag("text", _tick(tick), x=x, y=bottom + 17, class_="middle")
        yield tag("path", d=f"M{left} {bottom}H{right}", class_="axis")
        yield tag("text", self.horizontal.label, x=(left + right) / 2, y=self.height - 6, class_="middle quiet")
        middle = (_TOP + bottom) / 2
        turned = f"translate(12 {number(middle)}) rotate(-90)"
        yield tag("text", self.vertical.label, transform=turned, class_="middle quiet")


def picture(*drawn: Markup, title: str, width: int = WIDTH, height: int = HEIGHT) -> Markup:
    """Return an SVG that is as wide as its place allows, and that a screen reader reads as its title."""
    return tag("svg", *drawn, viewBox=f"0 0 {width} {height}", role="img", aria_label=title)


def _tick(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"  # noqa: PLR2004


def _value(value: object) -> str:
    return number(value, 2) if isinstance(value, float) else str(value)
