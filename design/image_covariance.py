"""What the posterior holds for uncertain in the image, in a form that planning can afford."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from design.factor_downdate import FactorDowndate
from dip import Posterior, covariance_root
from operators import LinearMap, Noise


@dataclass(frozen=True, eq=False)
class ImageCovariance:
    """C = F Fᵀ + diag(d), a factor and what it leaves out of each pixel; on the CPU, wherever the posterior is.

    Memory, with d pixels, m rays of all candidates and rank r: 8 d r bytes here, and 8 m r in `CandidateViews`, twice
    that once views are conditioned. Exact at 64 × 64 with 180 candidates of 64 rays: 0.13 and 0.38 GB. Exact at
    128 × 128 with 180 of 128: 2.1 and 3.0 GB; with rank 2,000 there 0.26 and 0.37 GB.

    Args:
        shape: (row, col).
        factor: F, (row · col, rank) float64.
        residual: d, (row · col,) float64, variance of a pixel that F leaves out: a white error of the image.
        n_samples: draws that F was made of, which then is an estimate; None where it is exact.

    Raises:
        ValueError: shapes that disagree, or a residual that is negative.
    """

    shape: tuple[int, int]
    factor: Tensor
    residual: Tensor
    n_samples: int | None = None

    def __post_init__(self) -> None:
        n_pixels = math.prod(self.shape)
        if self.factor.ndim != 2 or len(self.factor) != n_pixels:
            raise ValueError(f"factor must be ({n_pixels}, rank) for images {self.shape}, got {self.factor.shape}")
        if self.residual.shape != (n_pixels,) or not (self.residual >= 0).all():
            raise ValueError(f"residual must be ({n_pixels},) and nowhere negative, got {tuple(self.residual.shape)}")

    @property
    def rank(self) -> int:
        """Columns of F."""
        return self.factor.shape[1]

    @functools.cached_property
    def variance(self) -> Tensor:
        """Of every pixel, (row, col)."""
        return (self.factor.square().sum(dim=1) + self.residual).reshape(self.shape)

    def project(self, transform: LinearMap, noise: Noise, *, batch: int = 512) -> Tensor:
        """Φ = R⁻¹ A F with noise of covariance R Rᵀ: (angle, detector, rank) float64.

        Args:
            transform: A, image -> (angle, detector).
            noise: of these rays.
            batch: columns of F projected at a time; it bounds the memory.
        """
        n_angles, n_detectors = transform.out_shape
        rays = torch.empty(n_angles, n_detectors, self.rank, dtype=torch.float64)
        for start in range(0, self.rank, batch):
            images = self.factor[:, start : start + batch].mT.reshape(-1, *self.shape)
            rays[:, :, start : start + batch] = noise.whiten(transform(images)).permute(1, 2, 0)
        return rays

    def observing(self, transform: LinearMap, noise: Noise) -> ImageCovariance:
        """The covariance had these rays been measured too; of what F leaves out, nothing is learned.

        Args:
            transform: of the rays, image -> (angle, detector).
            noise: theirs.
        """
        downdate = FactorDowndate.by(self.project(transform, noise).flatten(0, 1))
        return ImageCovariance(self.shape, downdate(self.factor), self.residual, self.n_samples)

    def low_rank(self, rank: int, *, generator: torch.Generator, power_iterations: int = 2) -> ImageCovariance:
        """The same with a factor of a lower rank, and every pixel's variance as before.

        F P with an orthonormal P (rank before, rank after) that spans the leading right singular vectors of F, found by
        randomised subspace iteration (Halko, Martinsson & Tropp 2011, doi:10.1137/090771806, algorithm 4.4). What F P
        leaves out, F (I − P Pᵀ) Fᵀ, is kept as its diagonal. Neighbours are correlated in it, so that the scores of
        views are only as good as it is small.

        Args:
            rank: of the result, at most that of F.
            generator: draws the subspace to start from.
            power_iterations: of the subspace.

        Raises:
            ValueError: a rank out of range.
        """
        if not 1 <= rank <= self.rank:
            raise ValueError(f"rank must lie between 1 and the factor's {self.rank}, got {rank}")
        start = torch.randn(len(self.factor), rank, generator=generator, dtype=torch.float64)
        basis = torch.linalg.qr(self.factor.mT @ start).Q
        for _ in range(power_iterations):
            basis = torch.linalg.qr(self.factor.mT @ (self.factor @ basis)).Q
        kept = self.factor @ basis
        left_out = (self.factor - kept @ basis.mT).square().sum(dim=1)
        return ImageCovariance(self.shape, kept, self.residual + left_out, self.n_samples)


def exact_covariance(posterior: Posterior) -> ImageCovariance:
    """Of the posterior, by a root of its covariance: rank row · col."""
    covariance = posterior.covariance().double().cpu()
    rows, cols = posterior.mean.shape
    return ImageCovariance((rows, cols), covariance_root(covariance), torch.zeros(rows * cols, dtype=torch.float64))


def sampled_covariance(posterior: Posterior, n_samples: int, *, generator: torch.Generator) -> ImageCovariance:
    """Estimated by draws about the posterior's mean: rank n_samples.

    It is unbiased; what is computed of it need not be. `CandidateViews` and the acquisition functions correct for the
    number of draws, which works where it is several times the number of rays of all views that are chosen.

    Args:
        posterior: of the image.
        n_samples: draws.
        generator: of the draws.

    Raises:
        ValueError: fewer than two draws.
    """
    if n_samples < 2:
        raise ValueError(f"n_samples must be at least 2, got {n_samples}")
    return drawn_covariance(posterior.sample(n_samples, generator=generator).images, posterior.mean)


def drawn_covariance(images: Tensor, mean: Tensor) -> ImageCovariance:
    """`sampled_covariance` of draws that are there already, such as those kept in a file.

    Args:
        images: (n, row, col).
        mean: of the posterior that they were drawn from, (row, col).

    Raises:
        ValueError: fewer than two draws.
    """
    n_samples = len(images)
    if n_samples < 2:
        raise ValueError(f"expected at least 2 draws, got {n_samples}")
    deviations = (images - mean).double().flatten(1).cpu()
    rows, cols = mean.shape
    residual = torch.zeros(rows * cols, dtype=torch.float64)
    return ImageCovariance((rows, cols), deviations.mT / math.sqrt(n_samples), residual, n_samples)
