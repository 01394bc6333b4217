"""The posterior of an image under a linear-Gaussian model: y = A x + ε, x = x̂ + F u, u ~ N(0, I), ε ~ N(0, N)."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from operators import LinearMap
from operators.linear_map import batch_shape


class Samples(NamedTuple):
    """Draws from a posterior, and how well the solves behind them went."""

    images: Tensor  # (n, row, col)
    relative_residual: (
        Tensor  # (n,), mismatch of the sample's own normal equations in the data; 0 where none are solved
    )


class VarianceEstimate(NamedTuple):
    """Variance of every pixel, with its own error."""

    variance: Tensor  # (row, col)
    standard_error: Tensor  # (row, col), of the variance: variance · √(2/n) for n samples, zero where exact
    n_samples: int  # 0 where exact
    worst_residual: float


class Posterior(Protocol):
    """What is known of an image once its rays were measured."""

    @property
    def mean(self) -> Tensor:
        """(row, col)."""
        ...

    def sample(self, n: int, *, generator: torch.Generator) -> Samples:
        """Draw n images."""
        ...

    def variance(self, *, generator: torch.Generator) -> VarianceEstimate:
        """Variance of every pixel."""
        ...

    def covariance(self) -> Tensor:
        """(row · col, row · col), for small images."""
        ...

    def observing(self, transform: LinearMap) -> Posterior:
        """The posterior had these rays been measured too (its mean stays: no data are given)."""
        ...


class DensePosterior:
    """The posterior by a factor of the pixels' covariance: exact, for images of a few thousand pixels.

    With F = `factor` and Φ = N^{-1/2} A F, the covariance is F (I + ΦᵀΦ)⁻¹ Fᵀ = WᵀW, W = R⁻¹Fᵀ, R Rᵀ = I + ΦᵀΦ: a sum
    of squares, so that no variance can come out negative, however small beside the prior's.

    Args:
        transform: A, image (row, col) -> its out_shape.
        factor: F, (row · col, rank) float64.
        noise_variance: diagonal of N, a number or a tensor of A's out_shape.
        mean: x̂ with the data taken into account, (row, col).

    Raises:
        ValueError: shapes that disagree.
    """

    def __init__(self, transform: LinearMap, factor: Tensor, *, noise_variance: float | Tensor, mean: Tensor) -> None:
        n_pixels = math.prod(transform.in_shape)
        if factor.ndim != 2 or factor.shape[0] != n_pixels:
            raise ValueError(
                f"factor must be ({n_pixels}, rank) for images {transform.in_shape}, got {tuple(factor.shape)}"
            )
        self._mean = mean
        noise = torch.as_tensor(noise_variance, dtype=torch.float64).expand(transform.out_shape).reshape(-1)
        self._typical_noise = float(noise.mean())
        columns = factor.mT.reshape(-1, *transform.in_shape)
        seen = transform(columns).reshape(len(columns), -1) / noise.sqrt()
        precision = seen @ seen.mT
        precision.diagonal().add_(1.0)
        self._root = torch.linalg.solve_triangular(torch.linalg.cholesky(precision), factor.mT, upper=False)

    @property
    def mean(self) -> Tensor:
        """(row, col)."""
        return self._mean

    def sample(self, n: int, *, generator: torch.Generator) -> Samples:
        """Draw n images, exactly."""
        draws = torch.randn(n, len(self._root), generator=generator, dtype=torch.float64)
        images = self._mean.double() + (draws @ self._root).reshape(n, *self._mean.shape)
        return Samples(images, torch.zeros(n, dtype=torch.float64))

    def variance(self, *, generator: torch.Generator | None = None) -> VarianceEstimate:  # noqa: ARG002 (nothing is drawn)
        """The exact variance of every pixel."""
        variance = self._root.square().sum(dim=0).reshape(self._mean.shape)
        return VarianceEstimate(variance, torch.zeros_like(variance), 0, 0.0)

    def covariance(self) -> Tensor:
        """(row · col, row · col) float64, exact."""
        covariance: Tensor = self._root.mT @ self._root
        return covariance

    def observing(self, transform: LinearMap, *, noise_variance: float | Tensor | None = None) -> DensePosterior:
        """The posterior had these rays been measured too.

        Args:
            transform: the new rays.
            noise_variance: theirs; the mean of the present rays' if left out.
        """
        noise = self._typical_noise if noise_variance is None else noise_variance
        return DensePosterior(transform, self._root.mT, noise_variance=noise, mean=self._mean)


class SampledPosterior:
    """The posterior by samples, for images whose pixel covariance is too large to hold (Matheron's rule, 2210.04994).

    x = x̂ + F(u + Fᵀ Aᵀ K⁻¹(ε − A F u)), u ~ N(0, I), ε ~ N(0, N), K = A F Fᵀ Aᵀ + N by one Cholesky factor in float64.
    F and A are applied in float32. Each sample is checked against A F u' = ε − N v, v = K⁻¹(...), which holds exactly
    when K is what the passes make: the relative mismatch is reported.

    Args:
        transform: A, image (row, col) -> its out_shape.
        factor: F, (latent,) -> (row, col).
        noise_variance: diagonal of N, a number or a tensor of A's out_shape.
        data_factor: lower Cholesky factor of K, (rays, rays) float64.
        mean: x̂ with the data taken into account, (row, col).
        n_samples: drawn for a variance.
        batch: samples drawn at a time; it bounds the memory.
    """

    def __init__(
        self,
        transform: LinearMap,
        factor: LinearMap,
        *,
        noise_variance: float | Tensor,
        data_factor: Tensor,
        mean: Tensor,
        n_samples: int = 128,
        batch: int = 16,
    ) -> None:
        n_rays = math.prod(transform.out_shape)
        if data_factor.shape != (n_rays, n_rays):
            raise ValueError(f"data_factor must be ({n_rays}, {n_rays}) for these rays, got {tuple(data_factor.shape)}")
        self._transform, self._prior, self._data_factor, self._mean = transform, factor, data_factor, mean
        self._noise = torch.as_tensor(noise_variance, dtype=torch.float64).expand(transform.out_shape).reshape(-1)
        self.n_samples, self._batch = n_samples, batch

    @property
    def mean(self) -> Tensor:
        """(row, col)."""
        return self._mean

    def sample(self, n: int, *, generator: torch.Generator) -> Samples:
        """Draw n images, in batches."""
        parts = [self._draw(min(self._batch, n - start), generator) for start in range(0, n, self._batch)]
        return Samples(
            torch.cat([part.images for part in parts]), torch.cat([part.relative_residual for part in parts])
        )

    def variance(self, *, generator: torch.Generator) -> VarianceEstimate:
        """The variance of every pixel from `n_samples` draws about the known mean."""
        samples = self.sample(self.n_samples, generator=generator)
        return variance_of(samples, self._mean)

    def covariance(self) -> Tensor:
        """(row · col, row · col) float64, exact: one adjoint of F a pixel, then dense algebra."""
        n_pixels = math.prod(self._transform.in_shape)
        unit = torch.eye(n_pixels, dtype=self._mean.dtype).reshape(n_pixels, *self._transform.in_shape)
        rows = torch.cat([self._prior.adjoint(part) for part in torch.split(unit, self._batch)]).double()
        noise = self._noise.reshape(self._transform.out_shape)
        root = covariance_root(rows @ rows.mT)
        return DensePosterior(self._transform, root, noise_variance=noise, mean=self._mean).covariance()

    def observing(self, transform: LinearMap, *, noise_variance: float | Tensor | None = None) -> SampledPosterior:
        """The posterior had these rays been measured too; costs two passes for every new ray.

        Args:
            transform: the new rays.
            noise_variance: theirs; the mean of the present rays' if left out.
        """
        extra = torch.as_tensor(self._noise.mean() if noise_variance is None else noise_variance, dtype=torch.float64)
        extra = extra.expand(transform.out_shape).reshape(-1)
        both = StackedMap(self._transform, transform)
        columns = self._prior_covariance_columns(transform, both)
        n_old = len(self._noise)
        cross, own = columns[:, :n_old], columns[:, n_old:]
        lower = torch.linalg.solve_triangular(self._data_factor, cross.mT, upper=False).mT
        corner = torch.linalg.cholesky((own + own.mT) / 2 + torch.diag(extra) - lower @ lower.mT)
        factor = torch.cat([torch.nn.functional.pad(self._data_factor, (0, len(extra))), torch.cat([lower, corner], 1)])
        return SampledPosterior(
            both,
            self._prior,
            noise_variance=torch.cat([self._noise, extra]),
            data_factor=factor,
            mean=self._mean,
            n_samples=self.n_samples,
            batch=self._batch,
        )

    def _prior_covariance_columns(self, transform: LinearMap, onto: LinearMap) -> Tensor:
        """(rays of transform, rays of onto): covariance under the prior, two passes a ray."""
        n_rays = math.prod(transform.out_shape)
        unit = torch.eye(n_rays, dtype=self._mean.dtype).reshape(n_rays, *transform.out_shape)
        chunks = torch.split(unit, self._batch)
        parts = [onto(self._prior(self._prior.adjoint(transform.adjoint(chunk)))) for chunk in chunks]
        return torch.cat(parts).reshape(n_rays, -1).double()

    def _draw(self, n: int, generator: torch.Generator) -> Samples:
        dtype = self._mean.dtype
        latent = torch.randn(n, *self._prior.in_shape, generator=generator, dtype=dtype)
        noise = torch.randn(n, len(self._noise), generator=generator, dtype=torch.float64) * self._noise.sqrt()
        seen = self._transform(self._prior(latent)).reshape(n, -1).double()
        solved = torch.cholesky_solve((noise - seen).mT, self._data_factor).mT
        pulled = self._transform.adjoint(solved.to(dtype).reshape(n, *self._transform.out_shape))
        deviation = self._prior(latent + self._prior.adjoint(pulled))
        expected = noise - self._noise * solved
        mismatch = self._transform(deviation).reshape(n, -1).double() - expected
        return Samples(self._mean + deviation, mismatch.norm(dim=1) / noise.norm(dim=1))


class StackedMap:
    """Two maps of the same image, one ray vector: the first's rays, then the second's."""

    def __init__(self, first: LinearMap, second: LinearMap) -> None:
        if first.in_shape != second.in_shape:
            raise ValueError(f"both maps must take the same image, got {first.in_shape} and {second.in_shape}")
        self._parts = (first, second)
        self._sizes = [math.prod(part.out_shape) for part in self._parts]

    @property
    def in_shape(self) -> tuple[int, ...]:
        """(row, col)."""
        return self._parts[0].in_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        """(rays,)."""
        return (sum(self._sizes),)

    def __call__(self, x: Tensor) -> Tensor:
        """(*batch, row, col) -> (*batch, rays)."""
        batch = batch_shape(x, self.in_shape, "image")
        return torch.cat([part(x).reshape(*batch, -1) for part in self._parts], dim=-1)

    def adjoint(self, y: Tensor) -> Tensor:
        """(*batch, rays) -> (*batch, row, col)."""
        batch = batch_shape(y, self.out_shape, "rays")
        first, second = torch.split(y, self._sizes, dim=-1)
        a, b = self._parts
        return a.adjoint(first.reshape(*batch, *a.out_shape)) + b.adjoint(second.reshape(*batch, *b.out_shape))


def covariance_root(covariance: Tensor) -> Tensor:
    """L with L Lᵀ the given covariance, lower triangular float64, after a jitter of 1e-12 of the mean diagonal.

    The jitter stands for rounding in the sums behind the covariance; it is a pixel variance like any other.
    """
    jittered = covariance.clone()
    jittered.diagonal().add_(1e-12 * covariance.diagonal().mean())
    root: Tensor = torch.linalg.cholesky(jittered)
    return root


def variance_of(samples: Samples, mean: Tensor) -> VarianceEstimate:
    """Pixel variances of Gaussian samples about their known mean, which costs no degree of freedom."""
    n = len(samples.images)
    variance = (samples.images - mean).double().square().mean(dim=0)
    return VarianceEstimate(variance, variance * math.sqrt(2 / n), n, float(samples.relative_residual.max()))
