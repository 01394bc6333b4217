"""Sample-then-optimise: a posterior draw as the minimiser of a randomised quadratic over the weights."""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor

from dip.pathwise import Update, relative_norm, updated_by_dual
from dip.preconditioned_update import PreconditionedUpdate
from dip.ray_preconditioner import PreconditionedMap
from operators import GramMap, largest_eigenvalue


class SampleThenOptimiseUpdate(PreconditionedUpdate):
    """Gradient descent with Nesterov's momentum on ½|Φ u'|² + ½|u' − (u + Φᵀ R⁻¹ε)|², over the latent variables.

    This is sample-then-optimise (arXiv 2210.04994) in the form of low variance, with the noise in the regulariser
    (2306.11589). Nothing of the rays' size squared is held, so volumes can be drawn. All rays are in every step:
    through a network, a random subset of them costs as much; so there is no gradient noise, and nothing to average out.

    From the prior's draw u, every step and the minimiser differ from it by Φᵀβ alone, so that β, one number a ray, is
    what is kept. The gradient is Φᵀ((I + ΦΦᵀ)β − R⁻¹ε + Φ u), and a `RayPreconditioner` P makes the steps
    −P⁻¹((I + ΦΦᵀ)β − R⁻¹ε + Φ u) in β. The condition of the quadratic is otherwise that of I + ΦΦᵀ, and the steps grow
    with its root (tests/benchmarks/samplers.py counts them with and without). The momentum is
    k / (k + 3), at most the best for the condition (Nesterov 2018). The residual is that of `updated_by_dual`.

    The arguments are those of `PreconditionedUpdate`; the generator draws the power iteration for the step size too.
    """

    @cached_property
    def _product(self) -> PreconditionedMap:
        return PreconditionedMap(GramMap(self.rays, shift=1.0), self._preconditioner)

    @cached_property
    def _curvature(self) -> float:
        # From below, and the less so the finer: momentum is stable up to a third above 1 / curvature.
        return largest_eigenvalue(
            self._product, generator=self._generator.clone_state(), tolerance=1e-3, device=self.rays.device
        )

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
