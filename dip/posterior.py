"""The posterior of an image under a linear-Gaussian model: y = A x + ε, x = x̂ + F u, u ~ N(0, I), ε ~ N(0, N)."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from operators import LinearMap, Noise, StackedMap, StackedNoise


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


class RegionStd(NamedTuple):
    """Standard deviation of the mean over a region, with its own error."""

    std: float  # in the image's unit
    standard_error: float  # of the deviation: std / √(2n) for n samples, zero where exact


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

    def region_std(self, mask: Tensor, *, generator: torch.Generator) -> RegionStd:
        """How well the mean over the pixels of `mask`, (row, col) bool, is known."""
        ...

    def observing(self, transform: LinearMap) -> Posterior:
        """The posterior had these rays been measured too (its mean stays: no data are given)."""
        ...


class DensePosterior:
    """The posterior by a factor of the pixels' covariance: exact, for images of a few thousand pixels.

    With F = `factor`, N = L Lᵀ and Φ = L⁻¹ A F, the covariance is F (I + ΦᵀΦ)⁻¹ Fᵀ = WᵀW, W = R⁻¹Fᵀ, R Rᵀ = I + ΦᵀΦ: a
    sum of squares, so that no variance can come out negative, however small beside the prior's.

    Args:
        transform: A, image (row, col) -> its out_shape.
        factor: F, (row · col, rank) float64.
        noise: N, of A's out_shape.
        mean: x̂ with the data taken into account, (row, col).

    Raises:
        ValueError: shapes that disagree.
    """

    def __init__(self, transform: LinearMap, factor: Tensor, *, noise: Noise, mean: Tensor) -> None:
        n_pixels = math.prod(transform.in_shape)
        if factor.ndim != 2 or factor.shape[0] != n_pixels:
            raise ValueError(
                f"factor must be ({n_pixels}, rank) for images {transform.in_shape}, got {tuple(factor.shape)}"
            )
        self._mean, self._noise = mean, noise
        columns = factor.mT.reshape(-1, *transform.in_shape)
        seen = noise.whiten(transform(columns)).reshape(len(columns), -1)
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

    def region_std(self, mask: Tensor, *, generator: torch.Generator | None = None) -> RegionStd:  # noqa: ARG002 (nothing is drawn)
        """The exact standard deviation of the mean over the pixels of `mask`, (row, col) bool.

        Raises:
            ValueError: a mask that is empty, not boolean, or not of the image's shape.
        """
        weights = _region_weights(mask, self._mean.shape).to(self._root)
        return RegionStd(float((self._root @ weights.flatten()).norm()), 0.0)

    def observing(self, transform: LinearMap, *, noise: Noise | None = None) -> DensePosterior:
        """The posterior had these rays been measured too.

        Args:
            transform: the new rays.
            noise: theirs; typical of the present rays' if left out.
        """
        noise = noise or self._noise.typical()
        return DensePosterior(transform, self._root.mT, noise=noise, mean=self._mean)


class SampledPosterior:
    """The posterior by samples, for images whose pixel covariance is too large to hold (Matheron's rule, 2210.04994).

    x = x̂ + F(u + Fᵀ Aᵀ K⁻¹(ε − A F u)), u ~ N(0, I), ε ~ N(0, N), K = A F Fᵀ Aᵀ + N by one Cholesky factor in float64.
    F and A are applied in float32. Each sample is checked against A F u' = ε − N v, v = K⁻¹(...), which holds exactly
    when K is what the passes make: the relative mismatch is reported.

    Args:
        transform: A, image (row, col) -> its out_shape.
        factor: F, (latent,) -> (row, col).
        noise: N, of A's out_shape.
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
        noise: Noise,
        data_factor: Tensor,
        mean: Tensor,
        n_samples: int = 128,
        batch: int = 16,
    ) -> None:
        n_rays = math.prod(transform.out_shape)
        if data_factor.shape != (n_rays, n_rays):
            raise ValueError(f"data_factor must be ({n_rays}, {n_rays}) for these rays, got {tuple(data_factor.shape)}")
        self._transform, self._prior, self._data_factor, self._mean = transform, factor, data_factor, mean
        self._noise = noise
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
        root = covariance_root(rows @ rows.mT)
        return DensePosterior(self._transform, root, noise=self._noise, mean=self._mean).covariance()

    def region_std(self, mask: Tensor, *, generator: torch.Generator) -> RegionStd:
        """Standard deviation of the mean over the pixels of `mask`, (row, col) bool, from `n_samples` draws.

        Raises:
            ValueError: a mask that is empty, not boolean, or not of the image's shape.
        """
        weights = _region_weights(mask, self._mean.shape)
        deviations = (self.sample(self.n_samples, generator=generator).images - self._mean).double()
        std = float((deviations * weights.to(deviations)).sum((-2, -1)).square().mean().sqrt())
        return RegionStd(std, std / math.sqrt(2 * self.n_samples))

    def observing(self, transform: LinearMap, *, noise: Noise | None = None) -> SampledPosterior:
        """The posterior had these rays been measured too; costs two passes for every new ray.

        Args:
            transform: the new rays.
            noise: theirs; typical of the present rays' if left out.
        """
        noise = noise or self._noise.typical()
        both = StackedMap(self._transform, transform)
        columns = self._prior_covariance_columns(transform, both)
        n_old, n_new = len(self._data_factor), math.prod(transform.out_shape)
        unit = torch.eye(n_new, dtype=torch.float64).reshape(n_new, *transform.out_shape)
        cross, own = columns[:, :n_old], columns[:, n_old:] + noise.apply(unit).reshape(n_new, n_new)
        lower = torch.linalg.solve_triangular(self._data_factor, cross.mT, upper=False).mT
        corner = torch.linalg.cholesky((own + own.mT) / 2 - lower @ lower.mT)
        factor = torch.cat([torch.nn.functional.pad(self._data_factor, (0, n_new)), torch.cat([lower, corner], 1)])
        return SampledPosterior(
            both,
            self._prior,
            noise=StackedNoise(self._noise, noise, (self._transform.out_shape, transform.out_shape)),
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
        dtype, shape = self._mean.dtype, self._transform.out_shape
        latent = torch.randn(n, *self._prior.in_shape, generator=generator, dtype=dtype)
        noise = self._noise.sample((n, *shape), generator=generator, dtype=torch.float64)
        seen = self._transform(self._prior(latent)).double()
        solved = torch.cholesky_solve((noise - seen).reshape(n, -1).mT, self._data_factor).mT.reshape(n, *shape)
        deviation = self._prior(latent + self._prior.adjoint(self._transform.adjoint(solved.to(dtype))))
        mismatch = self._transform(deviation).double() - (noise - self._noise.apply(solved))
        size = [part.reshape(n, -1).norm(dim=1) for part in (mismatch, noise)]
        return Samples(self._mean + deviation, size[0] / size[1])


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


def _region_weights(mask: Tensor, shape: torch.Size) -> Tensor:
    """What takes an image to its mean over the region, (row, col) float64."""
    if mask.shape != shape or mask.dtype != torch.bool:
        raise ValueError(f"mask must be {tuple(shape)} bool, got {tuple(mask.shape)} {mask.dtype}")
    if not mask.any():
        raise ValueError("mask must have a pixel inside, got an empty region")
    return mask.double() / mask.sum()
