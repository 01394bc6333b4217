"""Sample-then-optimise: a posterior draw as the minimiser of a randomised quadratic over the weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dip.pathwise import Update, WhitenedRays, relative_norm, updated_by_dual
from dip.ray_preconditioner import PreconditionedMap, RayPreconditioner
from operators import GramMap, LinearMap, Noise, largest_eigenvalue


class SampleThenOptimiseUpdate:
    """Gradient descent with Nesterov's momentum on ½|Φ u'|² + ½|u' − (u + Φᵀ R⁻¹ε)|², over the latent variables.

    This is sample-then-optimise (arXiv 2210.04994) in the form of low variance, with the noise in the regulariser
    (2306.11589). Nothing of the rays' size squared is held, so volumes can be drawn. All rays are in every step:
    through a network, a random subset of them costs as much; so there is no gradient noise, and nothing to average out.

    From the prior's draw u, every step and the minimiser differ from it by Φᵀβ alone, so that β, one number a ray, is
    what is kept. The gradient is Φᵀ((I + ΦΦᵀ)β − R⁻¹ε + Φ u), and a `RayPreconditioner` P makes the steps
    −P⁻¹((I + ΦΦᵀ)β − R⁻¹ε + Φ u) in β. The condition of the quadratic is otherwise that of I + ΦΦᵀ, and the steps grow
    with its root (tests/benchmarks/samplers.py counts them with and without). The momentum is
    k / (k + 3), at most the best for the condition (Nesterov 2018). The residual is that of `updated_by_dual`.

    Args:
        rays: Φ.
        tolerance: residual at which all draws of a batch are done.
        iterations: at most so many, each two passes a draw.
        rank: of the preconditioner, two passes each, once; 0 for none.
        generator: of the preconditioner, and of the power iteration for the step size. It is copied, so that this
            object stays what it is.
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
        self._product = PreconditionedMap(GramMap(rays, shift=1.0), self._preconditioner)
        # From below, and the less so the finer: momentum is stable up to a third above 1 / curvature.
        self._curvature = largest_eigenvalue(self._product, generator=self._generator, tolerance=1e-3)

    def __call__(self, latent: Tensor, noise: Tensor) -> Update:
        """Update draws u, (n, *latent), with ε, (n, *rays) float64; all draws take the same iterations."""
        white = self.rays.noise.whiten(noise)
        data = self._preconditioner.power(white - self.rays(latent.double()), -0.5)
        root = math.sqrt(max(self._curvature, 1.0))
        fastest = (root - 1) / (root + 1)
        # Zero is the prior's own draw: what the rays do not see is right from the first step.
        point = ahead = torch.zeros_like(data)
        steps = 0
        while True:
            steps += 1
            gradient = self._product(ahead) - data
            residual = relative_norm(self._preconditioner.power(gradient, 0.5), white)
            if steps == self._iterations or bool((residual <= self.tolerance).all()):
                dual = self._preconditioner.power(ahead, -0.5)
                return updated_by_dual(self.rays, latent, white, dual, passes=1 + 2 * steps)
            previous, point = point, ahead - gradient / self._curvature
            ahead = point + min(steps / (steps + 3), fastest) * (point - previous)

    def observing(self, transform: LinearMap, *, noise: Noise) -> SampleThenOptimiseUpdate:
        """The same had these rays been measured too; costs the passes of a new preconditioner and power iteration."""
        return SampleThenOptimiseUpdate(
            self.rays.observing(transform, noise=noise),
            tolerance=self.tolerance,
            iterations=self._iterations,
            rank=self._rank,
            generator=self._generator,
            batch=self._batch,
        )
