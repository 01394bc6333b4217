"""The Matérn prior: images as smooth random fields, with no network."""

from __future__ import annotations

import itertools
import math

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from operators import ImageGrid
from operators.linear_map import batch_shape

# Distance in units of ℓ/√(2ν) beyond which the correlation is below 1e-6.
_REACH: dict[float, float] = {0.5: 14.0, 1.5: 17.0, 2.5: 19.0}
_WRAPS = (-2, -1, 0, 1, 2)  # periods whose correlations are added: the next lies below float64's rounding


def matern_correlation(distance: Tensor, *, smoothness: float, length: float) -> Tensor:
    """Matérn correlation at a distance (Rasmussen & Williams 2006).

    Args:
        distance: any shape, in the unit of `length`.
        smoothness: ν, 0.5, 1.5 or 2.5; the field has ⌈ν⌉ − 1 derivatives.
        length: ℓ.
    """
    scaled = math.sqrt(2 * smoothness) * distance / length
    polynomial = {0.5: torch.ones_like(scaled), 1.5: 1 + scaled, 2.5: 1 + scaled + scaled.square() / 3}[smoothness]
    return polynomial * torch.exp(-scaled)


class MaternPrior:
    """F in x = x̂ + F u, u ~ N(0, I), with F Fᵀ the Matérn covariance of the pixels' centres: a `LinearMap`.

    F is the root of a circulant covariance on a larger, periodic grid, cut to the image (circulant embedding, Dietrich
    & Newsam 1997): two fast Fourier transforms, and exact but for what wraps around, below 1e-5 of the variance. The
    covariance on the periodic grid is the sum over all periods, so that no eigenvalue is negative, as those of a
    covariance that is merely cut may be.

    With it the posteriors of this package are Gaussian-process regression. For a prior of mean zero, a `PathwiseUpdate`
    of u = 0 with the data in place of the noise is the posterior's mean.

    Args:
        grid: of the image.
        smoothness: ν, 0.5, 1.5 or 2.5.
        length_mm: ℓ.
        variance: of every pixel, in squared units of the image.

    Raises:
        ValueError: another smoothness, or a length or variance that is not positive and finite.
    """

    def __init__(self, grid: ImageGrid, *, smoothness: float, length_mm: float, variance: float) -> None:
        if smoothness not in _REACH:
            raise ValueError(f"smoothness must be one of {tuple(_REACH)}, got {smoothness}")
        for name, value in {"length_mm": length_mm, "variance": variance}.items():
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {value}")
        self._shape = grid.shape
        reach = math.ceil(_REACH[smoothness] / math.sqrt(2 * smoothness) * length_mm / grid.pixel_mm)
        self._period = (next_fast_len(grid.shape[0] + reach), next_fast_len(grid.shape[1] + reach))
        first, second = (torch.arange(n, dtype=torch.float64) for n in self._period)
        kernel = torch.zeros(self._period, dtype=torch.float64)
        for up, across in itertools.product(_WRAPS, _WRAPS):
            rows, cols = first + up * self._period[0], second + across * self._period[1]
            distance = grid.pixel_mm * torch.hypot(rows[:, None], cols)
            kernel += variance * matern_correlation(distance, smoothness=smoothness, length=length_mm)
        # Rounding leaves eigenvalues of -1e-16 times the largest where the true ones are smaller still.
        self._root_spectrum = torch.fft.rfft2(kernel).real.clamp(min=0).sqrt()

    @property
    def in_shape(self) -> tuple[int, int]:
        """(row, col) of the periodic grid."""
        return self._period

    @property
    def out_shape(self) -> tuple[int, int]:
        """(row, col)."""
        return self._shape

    def __call__(self, x: Tensor) -> Tensor:
        """F u: (*batch, *in_shape) -> (*batch, row, col)."""
        batch_shape(x, self.in_shape, "latent variables")
        rows, cols = self._shape
        return self._filtered(x)[..., :rows, :cols]

    def adjoint(self, y: Tensor) -> Tensor:
        """Fᵀ x: (*batch, row, col) -> (*batch, *in_shape)."""
        batch_shape(y, self.out_shape, "image")
        below, beside = (whole - part for whole, part in zip(self._period, self._shape, strict=True))
        return self._filtered(torch.nn.functional.pad(y, (0, beside, 0, below)))

    def _filtered(self, field: Tensor) -> Tensor:
        """The symmetric root of the circulant covariance."""
        spectrum = torch.fft.rfft2(field) * self._root_spectrum.to(field)
        filtered: Tensor = torch.fft.irfft2(spectrum, s=self._period)
        return filtered
