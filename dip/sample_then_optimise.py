"""Sample-then-optimise: a posterior draw as the minimiser of a randomised quadratic over the weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dip.pathwise import Update, WhitenedRays, relative_norm
from operators import GramMap, LinearMap, Noise, largest_eigenvalue


class SampleThenOptimiseUpdate:
    """Gradient descent with Nesterov's momentum on ½|Φ u'|² + ½|u' − (u + Φᵀ R⁻¹ε)|², over the latent variables.

    This is sample-then-optimise (arXiv 2210.04994) in the form of low variance, with the noise in the regulariser
    (2306.11589). Nothing of the rays' size squared is held, so volumes can be drawn. All rays are in every step:
    through a network, a random subset of them costs as much; so there is no gradient noise, and nothing to average
    out. The momentum is k / (k + 3), at most the best for the quadratic's condition (Nesterov 2018). The
    residual is |gradient| / |R⁻¹ε| at the point that is returned. The error of u' in units of its posterior deviation
    is (I + ΦᵀΦ)^(-1/2) gradient, so that this bounds it from above, as that of `updated_by_dual` does; relative to
    u + Φᵀ R⁻¹ε, which the strongest signal dominates, the gradient would look small long before.

    Args:
        rays: Φ.
        tolerance: residual at which all draws of a batch are done.
        iterations: at most so many, each two passes a draw.
        generator: of the power iteration for the step size. It is copied, so that this object stays what it is.

    Raises:
        ValueError: numbers out of range.
    """

    def __init__(self, rays: WhitenedRays, *, tolerance: float, iterations: int, generator: torch.Generator) -> None:
        if iterations < 1 or not tolerance > 0:
            raise ValueError(f"expected iterations >= 1 and tolerance > 0, got {iterations} and {tolerance}")
        self.rays, self.tolerance, self._iterations = rays, tolerance, iterations
        self._generator = generator.clone_state()
        # From below by a percent or so; momentum is stable up to a third above 1 / curvature.
        self._curvature = 1 + largest_eigenvalue(GramMap(rays), generator=self._generator)

    def __call__(self, latent: Tensor, noise: Tensor) -> Update:
        """Update draws u, (n, *latent), with ε, (n, *rays); all draws take the same iterations."""
        white, start = self.rays.noise.whiten(noise), latent.double()
        fastest = (math.sqrt(self._curvature) - 1) / (math.sqrt(self._curvature) + 1)
        # From the prior's draw: what the rays do not see is right from the first step.
        point = ahead = start
        steps = 0
        while True:
            steps += 1
            images = self.rays.image(ahead)
            gradient = ahead - start + self.rays.adjoint(self.rays.project(images.double()) - white)
            residual = relative_norm(gradient, white)
            if steps == self._iterations or bool((residual <= self.tolerance).all()):
                return Update(ahead, images, residual, 2 * steps)
            previous, point = point, ahead - gradient / self._curvature
            ahead = point + min(steps / (steps + 3), fastest) * (point - previous)

    def observing(self, transform: LinearMap, *, noise: Noise) -> SampleThenOptimiseUpdate:
        """The same had these rays been measured too; costs the passes of another power iteration."""
        return SampleThenOptimiseUpdate(
            self.rays.observing(transform, noise=noise),
            tolerance=self.tolerance,
            iterations=self._iterations,
            generator=self._generator,
        )
