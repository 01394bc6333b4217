"""The posterior of an image under a linear-Gaussian model: y = A x + ε, x = x̂ + F u, u ~ N(0, I), ε ~ N(0, N)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from dip.pathwise import PathwiseUpdate, Update, conditioned_draw
from operators import LinearMap, Noise


class Samples(NamedTuple):
    """Draws from a posterior, and how well the solves behind them went.

    Args:
        images: (n, row, col), in the mean's unit.
        relative_residual: of the equations solved for a draw, (n,); 0 where none are.
        tolerance: residual up to which a draw counts as converged.
        passes: products with A F or its adjoint, of the draw with most of them.
    """

    images: Tensor
    relative_residual: Tensor
    tolerance: float
    passes: int

    @property
    def converged(self) -> bool:
        """Whether the equations of every draw were solved to the tolerance."""
        return bool((self.relative_residual <= self.tolerance).all())


OnDraws = Callable[[Samples], None]
"""Takes the draws of a block, of which it may keep what it wants."""


class VarianceEstimate(NamedTuple):
    """Variance of every pixel, with its own error.

    Args:
        variance: (row, col), in the squared unit of the mean.
        standard_error: of the variance, (row, col): variance · √(2/n) for n samples, zero where exact.
        n_samples: 0 where exact.
        worst_residual: of the samples behind it.
        converged: whether all of them were.
    """

    variance: Tensor
    standard_error: Tensor
    n_samples: int
    worst_residual: float
    converged: bool


class RegionStd(NamedTuple):
    """Standard deviation of the mean over a region, with its own error.

    Args:
        std: in the image's unit.
        standard_error: of the deviation: std / √(2n) for n samples, zero where exact.
        converged: whether all samples behind it were.
    """

    std: float
    standard_error: float
    converged: bool


class Posterior(Protocol):
    """What is known of an image, or a volume (slice, row, col) likewise, once its rays were measured."""

    @property
    def mean(self) -> Tensor:
        """Of every pixel, (row, col), in the unit that the posterior was made in."""
        ...

    def sample(self, n: int, *, generator: torch.Generator) -> Samples:
        """Draw n images, (n, row, col)."""
        ...

    def variance(self, *, generator: torch.Generator, on_draws: OnDraws | None = None) -> VarianceEstimate:
        """Variance of every pixel, (row, col), in the mean's unit squared.

        `on_draws` is called with the draws behind it, block by block, where it is not exact.
        """
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
        draws = torch.randn(n, len(self._root), generator=generator, device=generator.device, dtype=torch.float64)
        images = self._mean.double() + (draws.to(self._root) @ self._root).reshape(n, *self._mean.shape)
        return Samples(images, torch.zeros(n, dtype=torch.float64), 0.0, 0)

    def variance(
        self,
        *,
        generator: torch.Generator | None = None,  # noqa: ARG002 (nothing is drawn)
        on_draws: OnDraws | None = None,  # noqa: ARG002
    ) -> VarianceEstimate:
        """The exact variance of every pixel."""
        variance = self._root.square().sum(dim=0).reshape(self._mean.shape)
        return VarianceEstimate(variance, torch.zeros_like(variance), 0, 0.0, converged=True)

    def covariance(self) -> Tensor:
        """(row · col, row · col) float64, exact."""
        covariance: Tensor = self._root.mT @ self._root
        return covariance

    def region_std(self, mask: Tensor, *, generator: torch.Generator | None = None) -> RegionStd:  # noqa: ARG002 (nothing is drawn)
        """The exact standard deviation of the mean over the pixels of `mask`, (row, col) bool.

        Raises:
            ValueError: a mask that is empty, not boolean, or not of the image's shape.
        """
        weights = region_weights(mask, self._mean.shape).to(self._root)
        return RegionStd(float((self._root @ weights.flatten()).norm()), 0.0, converged=True)

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

    x = x̂ + F u', where u' is a draw u ~ N(0, I) from the prior that was conditioned on the rays with a draw ε ~ N(0, N)
    of their noise. How is up to `update`: all methods solve the same equations, and report how well they did.

    Args:
        update: conditions draws; holds A, F and N.
        mean: x̂ with the data taken into account, (row, col).
        n_samples: drawn for a variance.
        block: samples drawn at a time; it bounds the memory.
    """

    def __init__(self, update: PathwiseUpdate, *, mean: Tensor, n_samples: int = 128, block: int = 32) -> None:
        self._update, self._mean = update, mean
        self.n_samples, self._block = n_samples, block

    @property
    def mean(self) -> Tensor:
        """(row, col)."""
        return self._mean

    def sample(self, n: int, *, generator: torch.Generator) -> Samples:
        """Draw n images, in blocks."""
        parts = [self._samples(part) for part in self._blocks(n, generator)]
        return Samples(
            torch.cat([part.images for part in parts]),
            torch.cat([part.relative_residual for part in parts]),
            self._update.tolerance,
            max(part.passes for part in parts),
        )

    def variance(self, *, generator: torch.Generator, on_draws: OnDraws | None = None) -> VarianceEstimate:
        """The variance of every pixel from `n_samples` draws about the known mean."""
        total = torch.zeros_like(self._mean, dtype=torch.float64)
        residuals = []
        for part in self._blocks(self.n_samples, generator):
            # The known mean costs no degree of freedom.
            total += part.images.double().square().sum(0)
            residuals.append(part.relative_residual)
            if on_draws is not None:
                on_draws(self._samples(part))
        variance, worst = total / self.n_samples, float(torch.cat(residuals).max())  # NaN stays
        error = variance * math.sqrt(2 / self.n_samples)
        return VarianceEstimate(variance, error, self.n_samples, worst, worst <= self._update.tolerance)

    def covariance(self) -> Tensor:
        """(row · col, row · col) float64, exact: one adjoint of F a pixel, then dense algebra."""
        rays = self._update.rays
        n_pixels = self._mean.numel()
        unit = torch.eye(n_pixels, dtype=rays.dtype, device=rays.device).reshape(n_pixels, *self._mean.shape)
        rows = torch.cat([rays.factor.adjoint(part).flatten(1) for part in torch.split(unit, self._block)]).double()
        root = covariance_root(rows @ rows.mT)
        return DensePosterior(rays.transform, root, noise=rays.noise, mean=self._mean).covariance()

    def region_std(self, mask: Tensor, *, generator: torch.Generator) -> RegionStd:
        """Standard deviation of the mean over the pixels of `mask`, (row, col) bool, from `n_samples` draws.

        Raises:
            ValueError: a mask that is empty, not boolean, or not of the image's shape.
        """
        weights = region_weights(mask, self._mean.shape)
        total, converged = 0.0, True
        for part in self._blocks(self.n_samples, generator):
            means = (part.images.double() * weights.to(part.images.device)).flatten(1).sum(1)
            total += float(means.square().sum())
            converged = converged and bool((part.relative_residual <= self._update.tolerance).all())
        std = math.sqrt(total / self.n_samples)
        return RegionStd(std, std / math.sqrt(2 * self.n_samples), converged)

    def observing(self, transform: LinearMap, *, noise: Noise | None = None) -> SampledPosterior:
        """The posterior had these rays been measured too; what it costs depends on the method.

        Args:
            transform: the new rays.
            noise: theirs; typical of the present rays' if left out.
        """
        update = self._update.observing(transform, noise=noise or self._update.rays.noise.typical())
        return SampledPosterior(update, mean=self._mean, n_samples=self.n_samples, block=self._block)

    def _samples(self, drawn: Update) -> Samples:
        return Samples(self._mean + drawn.images, drawn.relative_residual, self._update.tolerance, drawn.passes)

    def _blocks(self, n: int, generator: torch.Generator) -> Iterator[Update]:
        """Draws about zero, n of them, one block after the other: of a volume all at once would not fit into memory."""
        for start in range(0, n, self._block):
            size = min(self._block, n - start)
            yield conditioned_draw(self._update, size, generator=generator)


def covariance_root(covariance: Tensor) -> Tensor:
    """L with L Lᵀ the given covariance, lower triangular float64, after a jitter of 1e-12 of the mean diagonal.

    The jitter stands for rounding in the sums behind the covariance; it is a pixel variance like any other.
    """
    jittered = covariance.clone()
    jittered.diagonal().add_(1e-12 * covariance.diagonal().mean())
    root: Tensor = torch.linalg.cholesky(jittered)
    return root


def region_weights(mask: Tensor, shape: torch.Size) -> Tensor:
    """What takes an image to its mean over a region, (row, col) float64.

    Raises:
        ValueError: a mask that is empty, not boolean, or not of the image's shape.
    """
    if mask.shape != shape or mask.dtype != torch.bool:
        raise ValueError(f"mask must be {tuple(shape)} bool, got {tuple(mask.shape)} {mask.dtype}")
    if not mask.any():
        raise ValueError("mask must have a pixel inside, got an empty region")
    return mask.double() / mask.sum()
