"""Pathwise conditioning by preconditioned conjugate gradients on the whitened rays, from passes alone."""

from __future__ import annotations

from torch import Tensor

from dip.pathwise import Update, relative_norm, updated_by_dual
from dip.preconditioned_update import PreconditionedUpdate
from operators import GramMap, conjugate_gradients


class ConjugateGradientUpdate(PreconditionedUpdate):
    """(I + ΦΦᵀ)β = R⁻¹ε − Φ u by conjugate gradients; the arguments are those of `PreconditionedUpdate`.

    The residual of the worst draw of a batch is at most `tolerance` where the passes' rounding lets it.
    """

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
