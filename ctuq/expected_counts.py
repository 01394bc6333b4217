"""How many counts were to be expected in every ray of a detector row, from its neighbours rather than from itself."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d, gaussian_filter

Array = NDArray[np.float64]

# Standard deviations of the kernels that are tried, in (views, columns).
_KERNELS = ((0, 0.5), (0, 1), (0.5, 0.5), (0.7, 0.7), (1, 0.6), (1, 1), (1.5, 1), (2, 2), (3, 2))
_EXCESS_WIDTH = 2.0  # of the window in which neighbours are found to disagree, likewise
_CUT = 3.0  # where Gaussians end, in standard deviations


def expected_counts(signal: Array, open_beam: Array, dark_variance: Array) -> Array:
    """Estimate the expected signal of every ray, (angle, col), in the signal's units.

    The signal of a ray is predicted by its neighbours' transmission, a Gaussian mean that leaves the ray itself out, so
    that the prediction does not know its noise; for the same reason the kernel that predicts best is found without
    fitting noise (leave-one-out cross-validation). Where neighbours differ by more than noise, at edges, the prediction
    is wrong; there the ray's own count is taken in by the share that excess has in the squared error, as in a Wiener
    filter, but only as far as the excess exceeds one standard error of itself.

    Args:
        signal: (angle, col) photons above the dark; anything where `open_beam` is 0.
        open_beam: (angle, col) photons without an object; 0 for rays without a count.
        dark_variance: (col,) of a single count's dark part, photons².
    """
    known = open_beam > 0
    signal = np.where(known, signal, 0.0)
    everywhere = max(signal.sum() / open_beam.sum(), 1e-6)
    best, prediction, variance_share = math.inf, signal, 0.0
    for kernel in _KERNELS:
        weights = [_gaussian(width) for width in kernel]
        neighbours = _left_out_sum(open_beam, weights)
        transmission = np.divide(
            _left_out_sum(signal, weights), neighbours, out=np.full_like(signal, everywhere), where=neighbours > 1e-9
        )
        trial = np.maximum(open_beam * transmission, everywhere * 1e-6)
        score = float(_pearson(signal, trial, dark_variance)[known].mean())
        if score < best:
            best, prediction, variance_share = score, trial, _variance_share(weights)
    share = _own_share(_pearson(signal, prediction, dark_variance), known, 1 + variance_share)
    expected: Array = np.where(known, share * signal + (1 - share) * prediction, prediction)
    return np.maximum(expected, 0.0)


def _own_share(pearson: Array, known: NDArray[np.bool_], expected: float) -> Array:
    """Weight of a ray's own count: squared error beyond noise over all of it, in a window around the ray."""
    weight = gaussian_filter(known.astype(np.float64), _EXCESS_WIDTH, truncate=_CUT)
    local = gaussian_filter(np.where(known, pearson, 0.0), _EXCESS_WIDTH, truncate=_CUT) / np.maximum(weight, 1e-9)
    kernel = _gaussian(_EXCESS_WIDTH)
    one_error = math.sqrt(2) * float((kernel**2).sum() / kernel.sum() ** 2) * expected
    excess: Array = np.maximum(local - expected - one_error, 0.0)
    return excess / (1 + excess)


def _pearson(signal: Array, prediction: Array, dark_variance: Array) -> Array:
    squared: Array = (signal - prediction) ** 2 / np.maximum(prediction + dark_variance, 1.0)
    return squared


def _gaussian(width: float) -> Array:
    radius = math.ceil(_CUT * width)
    places = np.arange(-radius, radius + 1)
    return np.exp(-0.5 * (places / width) ** 2) if width else np.ones(1)


def _left_out_sum(values: Array, weights: list[Array]) -> Array:
    """Sum over neighbours, the ray itself left out; nothing beyond the border."""
    whole = values
    for axis, weight in enumerate(weights):
        whole = convolve1d(whole, weight, axis=axis, mode="constant")
    return np.maximum(whole - values, 0.0)  # a Gaussian is 1 in the middle


def _variance_share(weights: list[Array]) -> float:
    """Variance of the neighbours' mean over that of a ray like them."""
    total = math.prod(float(weight.sum()) for weight in weights) - 1
    return (math.prod(float((weight**2).sum()) for weight in weights) - 1) / total**2
