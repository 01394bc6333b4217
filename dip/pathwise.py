"""Pathwise conditioning: a draw from the prior becomes one from the posterior by a linear solve (Matheron's rule)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from operators import GramMap, LinearMap, Noise, StackedMap, StackedNoise
from operators.linear_map import batch_shape


@dataclass(frozen=True, eq=False)
class WhitenedRays:
    """Φ = R⁻¹ A F: a `LinearMap` from latent variables to rays in units of their noise.

    The passes through A and F run in `dtype`, whitening and all that is handed in and out in the caller's own, so that
    solvers keep their vectors in float64 while the network runs in float32.

    Args:
        transform: A, image (row, col) -> its out_shape.
        factor: F, latent variables -> (row, col).
        noise: N = R Rᵀ, of A's out_shape.
        dtype: of the passes.
        device: likewise.
    """

    transform: LinearMap
    factor: LinearMap
    noise: Noise
    dtype: torch.dtype
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Of F."""
        return self.factor.in_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Of A."""
        return self.transform.out_shape

    def __call__(self, x: Tensor) -> Tensor:
        """Φ u: (*batch, *in_shape) -> (*batch, *out_shape)."""
        batch_shape(x, self.in_shape, "latent variables")
        return self.project(self.image(x).to(x.dtype))

    def adjoint(self, y: Tensor) -> Tensor:
        """Φᵀ y: (*batch, *out_shape) -> (*batch, *in_shape)."""
        batch_shape(y, self.out_shape, "rays")
        images = self.transform.adjoint(self.noise.whiten_adjoint(y).to(self.dtype))
        return self.factor.adjoint(images).to(y.dtype)

    def image(self, latent: Tensor) -> Tensor:
        """F u in the dtype of the passes: (*batch, *in_shape) -> (*batch, row, col)."""
        return self.factor(latent.to(self.dtype))

    def project(self, images: Tensor) -> Tensor:
        """R⁻¹ A x: (*batch, row, col) -> (*batch, *out_shape), in the dtype of `images`."""
        return self.noise.whiten(self.transform(images.to(self.dtype)).to(images.dtype))

    def whiten_covariance(self, covariance: Tensor) -> Tensor:
        """R⁻¹ K R⁻ᵀ, which is I + ΦΦᵀ for K = A F Fᵀ Aᵀ + N: (rays, rays) -> (rays, rays)."""
        for _ in range(2):
            covariance = self.noise.whiten(covariance.reshape(-1, *self.out_shape)).flatten(1).mT
        return covariance

    def covariance_rows(self, n_last: int) -> Tensor:
        """The last rows of I + ΦΦᵀ, (n_last, rays) float64: two passes for each."""
        n_rays = math.prod(self.out_shape)
        unit = torch.eye(n_rays, dtype=torch.float64, device=self.device)[n_rays - n_last :]
        return GramMap(self, shift=1.0)(unit.reshape(n_last, *self.out_shape)).reshape(n_last, n_rays)

    def observing(self, transform: LinearMap, *, noise: Noise) -> WhitenedRays:
        """These rays, then those of `transform`, in one vector."""
        return WhitenedRays(
            StackedMap(self.transform, transform),
            self.factor,
            StackedNoise(self.noise, noise, (self.out_shape, transform.out_shape)),
            self.dtype,
            self.device,
        )


class Update(NamedTuple):
    """Draws from the posterior, and how well the equations behind them were solved.

    Args:
        latent: u' = u + Φᵀ(I + ΦΦᵀ)⁻¹(R⁻¹ε − Φ u), (n, *latent) float64.
        images: F u', (n, row, col) in the dtype of the passes.
        relative_residual: of the equations solved, relative to R⁻¹ε, (n,) float64.
        passes: products with A F or its adjoint, for each draw.
    """

    latent: Tensor
    images: Tensor
    relative_residual: Tensor
    passes: int


class PathwiseUpdate(Protocol):
    """Conditions draws from the prior on the rays."""

    @property
    def rays(self) -> WhitenedRays:
        """Φ, and what it is made of."""
        ...

    @property
    def tolerance(self) -> float:
        """Relative residual up to which a draw counts as converged."""
        ...

    def __call__(self, latent: Tensor, noise: Tensor) -> Update:
        """Update draws u of N(0, I), (n, *latent), with draws ε of N(0, N), (n, *rays) float64."""
        ...

    def observing(self, transform: LinearMap, *, noise: Noise) -> PathwiseUpdate:
        """The same method had these rays been measured too."""
        ...


def conditioned_draw(update: PathwiseUpdate, n: int, *, generator: torch.Generator) -> Update:
    """Draw u and ε, n of each, and update them."""
    rays = update.rays
    latent = torch.randn(n, *rays.in_shape, generator=generator, device=generator.device, dtype=rays.dtype)
    noise = rays.noise.sample((n, *rays.out_shape), generator=generator, dtype=torch.float64)
    return update(latent.to(rays.device), noise.to(rays.device))


def updated_by_dual(rays: WhitenedRays, latent: Tensor, white: Tensor, dual: Tensor, *, passes: int) -> Update:
    """The update u' = u + Φᵀβ from a solution β of (I + ΦΦᵀ)β = R⁻¹ε − Φ u.

    It is checked by Φ u' = R⁻¹ε − β, which an exact β fulfils. The mismatch is reported relative to R⁻¹ε. Along a
    singular direction of Φ that the rays determine, that is the error of a draw in units of its posterior deviation;
    relative to the right-hand side it would say nothing, as Φ u may be 1e4 times R⁻¹ε. Whitened, rays with a huge
    variance do not hide the others.

    Args:
        rays: Φ.
        latent: u, (n, *latent).
        white: R⁻¹ε, (n, *rays) float64.
        dual: β, (n, *rays) float64.
        passes: spent on β for each draw.
    """
    moved = latent.double() + rays.adjoint(dual)
    images = rays.image(moved)
    mismatch = white - dual - rays.project(images.double())
    return Update(moved, images, relative_norm(mismatch, white), passes + 2)


def relative_norm(part: Tensor, whole: Tensor) -> Tensor:
    """|part| / |whole| draw by draw: (n, ...) and (n, ...) -> (n,)."""
    ratio: Tensor = torch.linalg.vector_norm(part.flatten(1), dim=1) / torch.linalg.vector_norm(whole.flatten(1), dim=1)
    return ratio


class CholeskyUpdate:
    """By a Cholesky factor of I + ΦΦᵀ in float64 (Matheron's rule, arXiv 2210.04994): three passes a draw.

    The residual is |Φ u' − R⁻¹ε + β| / |R⁻¹ε|, see `updated_by_dual`. It shows the rounding of the passes, and a
    factor that is not of what the maps make.

    Args:
        rays: Φ.
        data_factor: lower Cholesky factor of I + ΦΦᵀ, (rays, rays) float64.
        tolerance: residual up to which the passes' rounding is let pass.

    Raises:
        ValueError: a factor of another shape than the rays'.
    """

    def __init__(self, rays: WhitenedRays, data_factor: Tensor, *, tolerance: float) -> None:
        n_rays = math.prod(rays.out_shape)
        if data_factor.shape != (n_rays, n_rays):
            raise ValueError(f"data_factor must be ({n_rays}, {n_rays}) for these rays, got {tuple(data_factor.shape)}")
        self.rays, self.tolerance, self._data_factor = rays, tolerance, data_factor

    def __call__(self, latent: Tensor, noise: Tensor) -> Update:
        """Update draws u, (n, *latent), with ε, (n, *rays) float64."""
        white = self.rays.noise.whiten(noise)
        data = white - self.rays(latent.double())
        dual = torch.cholesky_solve(data.flatten(1).mT, self._data_factor).mT.reshape(data.shape)
        return updated_by_dual(self.rays, latent, white, dual, passes=1)

    def observing(self, transform: LinearMap, *, noise: Noise) -> CholeskyUpdate:
        """The same had these rays been measured too, by a further block of the factor; two passes for every new ray."""
        both, n_old = self.rays.observing(transform, noise=noise), len(self._data_factor)
        rows = both.covariance_rows(math.prod(transform.out_shape))
        lower = torch.linalg.solve_triangular(self._data_factor, rows[:, :n_old].mT, upper=False).mT
        own = rows[:, n_old:]
        corner = torch.linalg.cholesky((own + own.mT) / 2 - lower @ lower.mT)
        above = torch.nn.functional.pad(self._data_factor, (0, len(rows)))
        return CholeskyUpdate(both, torch.cat([above, torch.cat([lower, corner], 1)]), tolerance=self.tolerance)
