"""Pathwise conditioning by preconditioned conjugate gradients on the whitened rays, from passes alone."""

from __future__ import annotations

import torch
from torch import Tensor

from dip.pathwise import Update, WhitenedRays, relative_norm, updated_by_dual
from dip.ray_preconditioner import RayPreconditioner
from operators import GramMap, LinearMap, Noise, conjugate_gradients


class ConjugateGradientUpdate:
    """(I + ΦΦᵀ)β = R⁻¹ε − Φ u by conjugate gradients, for rays whose covariance is too large to hold.

    One `RayPreconditioner` serves all draws. The residual is |Φ u' − R⁻¹ε + β| / |R⁻¹ε|, see `updated_by_dual`, of the
    worst draw of a batch at most `tolerance` where the passes' rounding lets it.

    Args:
        rays: Φ.
        tolerance: residual at which a draw is done.
        iterations: at most so many, each two passes a draw.
        rank: of the preconditioner, two passes each, once; 0 for none.
        generator: of the preconditioner. It is copied, so that this object stays what it is.
        batch: vectors handed to Φ at a time while the preconditioner is made.

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
        batch: int = 16,
    ) -> None:
        if iterations < 1 or not tolerance > 0:
            raise ValueError(f"expected iterations >= 1 and tolerance > 0, got {iterations} and {tolerance}")
        self.rays, self.tolerance = rays, tolerance
        self._iterations, self._rank, self._batch = iterations, rank, batch
        self._generator = generator.clone_state()
        self._preconditioner = RayPreconditioner(
            GramMap(rays), rank, generator=self._generator, rounding=torch.finfo(rays.dtype).eps, batch=batch
        )

    def __call__(self, latent: Tensor, noise: Tensor) -> Update:
        """Update draws u, (n, *latent), with ε, (n, *rays) float64; all draws take the same iterations."""
        white = self.rays.noise.whiten(noise)
        data = white - self.rays(latent.double())
        # The solver measures against the data, of which the noise may be a small part.
        share = float(relative_norm(white, data).min())
        solution = conjugate_gradients(
            GramMap(self.rays, shift=1.0),
            data,
            iterations=self._iterations,
            tolerance=self.tolerance * share,
            preconditioner=lambda residual: self._preconditioner.power(residual, -1),
        )
        passes = 1 + 2 * (solution.iterations + 1)  # the solver checks itself once
        return updated_by_dual(self.rays, latent, white, solution.value, passes=passes)

    def observing(self, transform: LinearMap, *, noise: Noise) -> ConjugateGradientUpdate:
        """The same had these rays been measured too; costs the passes of a new preconditioner."""
        return ConjugateGradientUpdate(
            self.rays.observing(transform, noise=noise),
            tolerance=self.tolerance,
            iterations=self._iterations,
            rank=self._rank,
            generator=self._generator,
            batch=self._batch,
        )
