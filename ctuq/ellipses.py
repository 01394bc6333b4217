"""Random ellipses: images that look like no object in particular, to learn from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MEAN_NUMBER = 40
_MEAN_SEMI_AXIS = 0.2  # of half the image's side


def random_ellipses(size: int, *, rng: np.random.Generator) -> NDArray[np.float64]:
    """Some forty ellipses that add up, as in arXiv 2111.11926: (size, size) from 0 to 1, smooth over a pixel.

    Values are uniform in [-0.4, 1], semi-axes exponential with a mean of a tenth of the side, centres and directions
    uniform. Where ellipses add to less than nothing, there is nothing.

    Args:
        size: pixels a side.
        rng: draws them.
    """
    at = (2 * np.arange(size) + 1) / size - 1
    image = np.zeros((size, size))
    for _ in range(max(1, rng.poisson(_MEAN_NUMBER))):
        value, (x, y), angle = rng.uniform(-0.4, 1), rng.uniform(-0.9, 0.9, 2), rng.uniform(0, np.pi)
        axes = np.maximum(rng.exponential(_MEAN_SEMI_AXIS, 2), 1 / size)
        along = ((at - x) * np.cos(angle) + (at[:, None] - y) * np.sin(angle)) / axes[0]
        across = ((at[:, None] - y) * np.cos(angle) - (at - x) * np.sin(angle)) / axes[1]
        # Half a side has size / 2 pixels: an edge about a pixel wide.
        image += value * np.clip(0.5 + (1 - np.hypot(along, across)) * axes.min() * size / 2, 0, 1)
    image = np.maximum(image, 0)
    return image / (image.max() or 1.0)
