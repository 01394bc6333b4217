"""Independent Gaussian noise of measured line integrals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class GaussianNoise:
    """Independent zero-mean Gaussian noise, one variance for all rays or one a ray.

    Args:
        variance: of line integrals, dimensionless: a number, or (angle, detector).

    Raises:
        ValueError: a variance that is not positive and finite.
    """

    variance: float | Tensor

    def __post_init__(self) -> None:
        variance = torch.as_tensor(self.variance, dtype=torch.float64)
        bad = ~(variance.isfinite() & (variance > 0))
        if bad.any():
            raise ValueError(
                f"variance must be positive and finite for every ray, got {variance[bad][0]:g} and {int(bad.sum())} "
                f"such values in all: give rays to be ignored a large variance"
            )

    def standard_deviation(self, like: Tensor) -> Tensor:
        """Scalar or (angle, detector), in the dtype and on the device of `like`."""
        return torch.as_tensor(self.variance, dtype=like.dtype, device=like.device).sqrt()

    def whiten(self, residual: Tensor) -> Tensor:
        """Divide (*batch, angle, detector) by the standard deviation: unit noise where the variance is right."""
        return residual / self.standard_deviation(residual)

    def sample(
        self, shape: tuple[int, ...], *, generator: torch.Generator, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Draw noise of `shape` = (*batch, angle, detector), on the generator's device."""
        unit = torch.randn(shape, generator=generator, device=generator.device, dtype=dtype)
        return unit * self.standard_deviation(unit)

    def log_density(self, residual: Tensor) -> Tensor:
        """Log density of whole sinograms, in nats: (*batch, angle, detector) -> (*batch)."""
        deviation = self.standard_deviation(residual)
        per_ray = -0.5 * (residual / deviation) ** 2 - deviation.log() - 0.5 * math.log(2 * math.pi)
        return per_ray.sum((-2, -1))
