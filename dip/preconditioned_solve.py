"""Solves for expectation maximisation from products alone, with a preconditioner for signals far above the noise."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from dip.conjugate_gradient_update import MARGIN
from dip.expectation_maximisation import LatentRays
from dip.ray_preconditioner import RayPreconditioner
from operators import GramMap, LinearMap, Solution, conjugate_gradients

_WORTH = 4  # times its own price is what a preconditioner serves for


class PreconditionedSolve:
    """Solves with K by products alone, whose signal may be far above the noise: see `RayPreconditioner`.

    In units of the rays' own errors, R Rᵀ = Σ_c θ_c diag d_c. As K moves, the preconditioner is made anew once the
    solves since have taken four times the products that making it took.

    Args:
        rays: K.
        tolerance: |R⁻¹(y − K α)| of a column relative to √rays, the size that errors alone have. The signal may be many
            times that, and the noise is learned from what is left of it.
        iterations: at most so many a solve.
        rank: of the preconditioner, a product with Φ and with Φᵀ each.
        generator: of the preconditioner.
        rounding: relative, of a product.
        batch: columns solved for together.
    """

    def __init__(
        self,
        rays: LatentRays,
        *,
        tolerance: float,
        iterations: int,
        rank: int,
        generator: torch.Generator,
        rounding: float,
        batch: int,
    ) -> None:
        self._rays, self._tolerance, self._iterations = rays, tolerance, iterations
        self._rank, self._generator, self._rounding, self._batch = rank, generator, rounding, batch
        self._preconditioner: RayPreconditioner | None = None
        self._served = 0

    def __call__(self, variances: Mapping[str, float], columns: Tensor, start: Tensor) -> Solution:
        """K⁻¹ of columns, (n, rays) -> (n, rays); residuals in units of the errors."""
        deviation = self._rays.diagonal(variances).sqrt()
        rays = _WhitenedFactor(self._rays.factor(variances), deviation)
        preconditioner = self._preconditioner_of(rays)
        values, residuals, iterations = [], [], 0
        for part, first in zip(torch.split(columns, self._batch), torch.split(start, self._batch), strict=True):
            data = part / deviation
            solution = conjugate_gradients(
                GramMap(rays, shift=1.0),
                data,
                iterations=self._iterations,
                tolerance=MARGIN * self._tolerance,
                preconditioner=lambda residual: preconditioner.power(residual, -1),
                start=first * deviation,
                scale=torch.ones_like(data),
            )
            self._served += solution.iterations * len(part)
            values.append(solution.value / deviation)
            residuals.append(solution.relative_residual)
            iterations = max(iterations, solution.iterations)
        return Solution(torch.cat(values), torch.cat(residuals), iterations, self._tolerance)

    def _preconditioner_of(self, rays: _WhitenedFactor) -> RayPreconditioner:
        if self._preconditioner is None or self._served > _WORTH * self._rank:
            self._served = 0
            self._preconditioner = RayPreconditioner.of_map(
                GramMap(rays),
                self._rank,
                generator=self._generator,
                rounding=self._rounding,
                batch=self._batch,
                device=rays.device,
            )
        return self._preconditioner


class _WhitenedFactor:
    """R⁻¹ Φ, a `LinearMap`: rays in units of their own errors."""

    def __init__(self, factor: LinearMap, deviation: Tensor) -> None:
        self._factor, self._deviation = factor, deviation

    @property
    def in_shape(self) -> tuple[int, ...]:
        return self._factor.in_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        return self._factor.out_shape

    @property
    def device(self) -> torch.device:
        return self._deviation.device

    def __call__(self, x: Tensor) -> Tensor:
        return self._factor(x) / self._deviation

    def adjoint(self, y: Tensor) -> Tensor:
        return self._factor.adjoint(y / self._deviation)
