"""Pathwise conditioning by block conjugate gradients on the whitened rays, preconditioned, from passes alone."""

from __future__ import annotations

from torch import Tensor

from dip.pathwise import Update, updated_by_dual
from dip.preconditioned_update import PreconditionedUpdate
from operators import GramMap, conjugate_gradient_iterate

MARGIN = 0.9
"""Of the tolerance, at which to stop: solutions are checked by passes of their own, whose rounding is another."""


class ConjugateGradientUpdate(PreconditionedUpdate):
    """(I + ΦΦᵀ)β = R⁻¹ε − Φ u by block conjugate gradients; the arguments are those of `PreconditionedUpdate`.

    Draws handed in together share the directions that they are searched along, and take fewer steps the more they are.
    The residual of the worst of them is at most `tolerance` where the passes' rounding lets it.
    """

    def __call__(self, latent: Tensor, noise: Tensor) -> Update:
        """Update draws u, (n, *latent), with ε, (n, *rays) float64; all draws take the same iterations."""
        white = self.rays.noise.whiten(noise)
        iterate = conjugate_gradient_iterate(
            GramMap(self.rays, shift=1.0),
            white - self.rays(latent.double()),
            iterations=self._iterations,
            tolerance=MARGIN * self.tolerance,
            preconditioner=lambda residual: self._preconditioner.power(residual, -1),
            scale=white,  # which may be a small part of the data
            keep=self._preconditioner.room,
        )
        if self._preconditioner.record is not None:
            self._preconditioner.record(iterate.search, iterate.images)
        # The update is checked by passes of its own: a check by the solver would be a second one.
        return updated_by_dual(self.rays, latent, white, iterate.value, passes=1 + 2 * iterate.iterations)
