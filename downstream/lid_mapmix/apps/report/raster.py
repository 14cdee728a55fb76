"""Many points as few cells: what a picture of a data map of a million utterances is drawn from."""

from dataclasses import dataclass

import numpy as np


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
