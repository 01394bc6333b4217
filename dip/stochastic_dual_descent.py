"""Stochastic dual descent: the rays' equations by random blocks of an explicit covariance, with nothing factorised."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dip.pathwise import Update, WhitenedRays, relative_norm, updated_by_dual
from dip.ray_preconditioner import RayPreconditioner
from operators import LinearMap, MatrixMap, Noise

_MOMENTUM = 0.9
_AVERAGED = 100  # the average reaches back over a hundredth of all steps, as in 2310.20581
_PROBED = 8  # blocks whose curvature bounds the step
_SWEEPS_A_CHECK = 10  # a check costs as much as a sweep
_SHARE = 0.5  # of the tolerance to stop at: the rest is for rounding of the passes, which the matrix does not show


class StochasticDualDescentUpdate:
    """Minimises ½βᵀ(I + ΦΦᵀ)β − βᵀ(R⁻¹ε − Φ u) by random coordinates (arXiv 2310.20581).

    For rays whose covariance can be held but takes too long to factorise: a sweep costs one product with the matrix.
    Nesterov's momentum ρ = 0.9 and geometric averages as in the paper. Its step size was tuned by hand; here it is
    (1 − ρ) / (1 − ρ^(rays / block)) of what a block's curvature allows, because momentum carries a block's step on for
    so long until the block is looked at again.

    The number of sweeps grows with the condition of the matrix, that of I + ΦΦᵀ with the signal over the noise. So
    the coordinates are those of P^(1/2)β, with P a `RayPreconditioner` made from the matrix, without passes. The
    residual is that of `updated_by_dual`, computed with passes rather than with the matrix.

    Args:
        rays: Φ.
        covariance: I + ΦΦᵀ, (rays, rays) float64.
        tolerance: residual at which all draws of a batch are done.
        sweeps: at most so many, each of (rays / block) steps.
        rank: of the preconditioner; 0 for none.
        generator: of the preconditioner and the blocks. It is copied, so that the same draws meet the same blocks.
        block: coordinates in a step, as many as there are rays at most.

    Raises:
        ValueError: a covariance of another shape than the rays', or numbers out of range.
    """

    def __init__(
        self,
        rays: WhitenedRays,
        covariance: Tensor,
        *,
        tolerance: float,
        sweeps: int,
        rank: int,
        generator: torch.Generator,
        block: int = 256,
    ) -> None:
        n_rays = math.prod(rays.out_shape)
        if covariance.shape != (n_rays, n_rays):
            raise ValueError(f"covariance must be ({n_rays}, {n_rays}) for these rays, got {tuple(covariance.shape)}")
        if sweeps < 1 or block < 1 or not tolerance > 0:
            raise ValueError(
                f"expected sweeps >= 1, block >= 1 and tolerance > 0, got {sweeps}, {block} and {tolerance}"
            )
        self.rays, self.tolerance = rays, tolerance
        self._covariance, self._sweeps, self._rank, self._block = covariance, sweeps, rank, min(block, n_rays)
        self._generator = generator.clone_state()
        signal = covariance.clone()
        signal.diagonal().sub_(1.0)
        # Rows of rays that were observed later come from passes, whatever the matrix is kept in.
        self._preconditioner = RayPreconditioner.of_map(
            MatrixMap(signal),
            rank,
            generator=self._generator,
            rounding=torch.finfo(rays.dtype).eps,
            device=signal.device,
        )
        half = self._preconditioner.power(covariance, -0.5).mT
        self._matrix = self._preconditioner.power(half, -0.5)
        self._curvature = max(self._block_curvature(self._generator) for _ in range(_PROBED))

    def __call__(self, latent: Tensor, noise: Tensor) -> Update:
        """Update draws u, (n, *latent), with ε, (n, *rays) float64; all draws meet the same blocks."""
        white = self.rays.noise.whiten(noise)
        data = white - self.rays(latent.double())
        dual = self._descend(data.flatten(1), white.flatten(1)).reshape(white.shape)
        return updated_by_dual(self.rays, latent, white, dual, passes=1)

    def observing(self, transform: LinearMap, *, noise: Noise) -> StochasticDualDescentUpdate:
        """The same had these rays been measured too; two passes for every new ray."""
        both = self.rays.observing(transform, noise=noise)
        rows = both.covariance_rows(math.prod(transform.out_shape))
        above = torch.cat([self._covariance, rows[:, : len(self._covariance)].mT], dim=1)
        return StochasticDualDescentUpdate(
            both,
            torch.cat([above, rows]),
            tolerance=self.tolerance,
            sweeps=self._sweeps,
            rank=self._rank,
            generator=self._generator,
            block=self._block,
        )

    def _descend(self, data: Tensor, noise: Tensor) -> Tensor:
        """β, (n, rays), from `data` and R⁻¹ε."""
        generator = self._generator.clone_state()
        data = self._preconditioner.power(data, -0.5)
        steps_a_sweep = math.ceil(data.shape[1] / self._block)
        shortened = (1 - _MOMENTUM) / (1 - _MOMENTUM ** (data.shape[1] / self._block))
        newest = min(1.0, _AVERAGED / (self._sweeps * steps_a_sweep))
        # Zero is the prior's own draw: what is left undone falls short of the posterior towards the prior.
        point, velocity, average = torch.zeros_like(data), torch.zeros_like(data), torch.zeros_like(data)
        for step in range(1, self._sweeps * steps_a_sweep + 1):
            block = self._draw_block(generator)
            rows = self._matrix[block]  # it is symmetric, and its columns lie apart in memory
            gradient = (point + _MOMENTUM * velocity) @ rows.mT - data[:, block]
            velocity *= _MOMENTUM
            velocity[:, block] -= shortened / self._curvature * gradient
            point += velocity
            average += newest * (point - average)
            if step % (_SWEEPS_A_CHECK * steps_a_sweep) == 0:
                left = self._preconditioner.power(data - average @ self._matrix, 0.5)
                if bool((relative_norm(left, noise) <= _SHARE * self.tolerance).all()):
                    break
        return self._preconditioner.power(average, -0.5)

    def _draw_block(self, generator: torch.Generator) -> Tensor:
        return torch.randperm(len(self._matrix), generator=generator, device=generator.device)[: self._block]

    def _block_curvature(self, generator: torch.Generator) -> float:
        block = self._draw_block(generator)
        return float(torch.linalg.eigvalsh(self._matrix[block[:, None], block])[-1])
