"""Latents in the plane: t-SNE (van der Maaten and Hinton, JMLR 2008) of scikit-learn's, the same picture each time."""

import numpy as np

from ...randomness import keyed_generator

# 2,000 take ten seconds, 10,000 two minutes.
MOST_POINTS = 2000
_LEAST_POINTS = 5
_PERPLEXITY = 30.0


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
