"""Pathwise conditioning from passes alone: what its iterative solvers have in common, their preconditioner foremost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor

from dip.pathwise import Update, WhitenedRays
from dip.ray_preconditioner import RayPreconditioner
from operators import GramMap, LinearMap, Noise


class PreconditionedUpdate(ABC):
    """Solves (I + ΦΦᵀ)β = R⁻¹ε − Φ u step by step, for rays whose covariance is too large to hold.

    One `RayPreconditioner` serves all draws. The residual is |Φ u' − R⁻¹ε + β| / |R⁻¹ε|, see `updated_by_dual`.

    Args:
        rays: Φ.
        tolerance: residual at which a draw is done.
        iterations: at most so many, each two passes a draw.
        rank: of the preconditioner, two passes each, once; 0 for none. With one that was made before it is that of
            `observing`.
        generator: of the preconditioner, and of what else is drawn to set the solver up. It is copied, so that this
            object stays what it is.
        batch: vectors handed to Φ at a time while the preconditioner is made.
        preconditioner: one that was made before, in place of one that is made here.

    Raises:
        ValueError: numbers out of range.
    """

    def __init__(
        self,
        rays: WhitenedRays,
        *,
        tolerance: float,
        iterations: int,
        rank: int,
        generator: torch.Generator,
        batch: int = 32,
        preconditioner: RayPreconditioner | None = None,
    ) -> None:
        if iterations < 1 or not tolerance > 0:
            raise ValueError(f"expected iterations >= 1 and tolerance > 0, got {iterations} and {tolerance}")
        self.rays, self.tolerance = rays, tolerance
        self._iterations, self._rank, self._batch = iterations, rank, batch
        self._generator = generator.clone_state()
        self._preconditioner = (
            preconditioner
            if preconditioner is not None
            else RayPreconditioner.of_map(
                GramMap(rays),
                rank,
                generator=self._generator,
                rounding=torch.finfo(rays.dtype).eps,
                batch=batch,
                device=rays.device,
            )
        )

    @abstractmethod
    def __call__(self, latent: Tensor, noise: Tensor) -> Update:
        """Update draws u, (n, *latent), with ε, (n, *rays) float64; all draws take the same iterations."""

    def observing(self, transform: LinearMap, *, noise: Noise) -> Self:
        """The same had these rays been measured too; costs the passes of setting it up anew."""
        return type(self)(
            self.rays.observing(transform, noise=noise),
            tolerance=self.tolerance,
            iterations=self._iterations,
            rank=self._rank,
            generator=self._generator,
            batch=self._batch,
        )
