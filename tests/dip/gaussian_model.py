"""A linear-Gaussian model small enough to be written out, and every posterior about it."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from dip import (
    CholeskyUpdate,
    ConjugateGradientUpdate,
    DensePosterior,
    PathwiseUpdate,
    SampledPosterior,
    SampleThenOptimiseUpdate,
    StochasticDualDescentUpdate,
    WhitenedRays,
)
from operators import GaussianNoise, MatrixMap
from tests.dip.dense import conditioned, generator, positive_definite, randn

SHAPE = (2, 3)
N_SAMPLES = 20_000
Method = Literal["cholesky", "cg", "sgd", "sdd"]
METHODS: tuple[Method, ...] = get_args(Method)


class Model(NamedTuple):
    """Six pixels, two views of two rays, eight latent variables."""

    seen: Tensor
    factor: Tensor
    noise: Tensor
    mean: Tensor
    shared: Tensor | None = None

    @property
    def exact(self) -> Tensor:
        return conditioned(self.factor @ self.factor.mT, self.seen, self.noise_covariance)

    @property
    def noise_covariance(self) -> Tensor:
        own = torch.diag(self.noise)
        return own if self.shared is None else own + torch.kron(torch.eye(2, dtype=torch.float64), self.shared)

    def errors(self) -> GaussianNoise:
        return GaussianNoise(self.noise.reshape(2, 2), self.shared)

    @property
    def data_covariance(self) -> Tensor:
        root = self.seen @ self.factor
        return root @ root.mT + self.noise_covariance

    def transform(self) -> MatrixMap:
        return MatrixMap(self.seen, in_shape=SHAPE, out_shape=(2, 2))

    def rays(self) -> WhitenedRays:
        factor = MatrixMap(self.factor, out_shape=SHAPE)
        return WhitenedRays(self.transform(), factor, self.errors(), torch.float64)

    def dense(self) -> DensePosterior:
        return DensePosterior(self.transform(), self.factor, noise=self.errors(), mean=self.mean)

    def sampled(self, method: Method = "cholesky", *, block: int = 5_000) -> SampledPosterior:
        # A thousandth of a deviation is a tenth of what so many samples show.
        update = pathwise(method, self.rays(), self.data_covariance, tolerance=1e-3)
        return SampledPosterior(update, mean=self.mean, n_samples=N_SAMPLES, block=block)


def pathwise(
    method: Method, rays: WhitenedRays, data_covariance: Tensor, *, tolerance: float = 1e-9, iterations: int = 3_000
) -> PathwiseUpdate:
    """Every method about the same rays."""
    white = rays.whiten_covariance(data_covariance)
    if method == "cholesky":
        return CholeskyUpdate(rays, torch.linalg.cholesky(white), tolerance=tolerance)
    if method == "cg":
        return ConjugateGradientUpdate(
            rays, tolerance=tolerance, iterations=iterations, rank=3, generator=generator(41)
        )
    if method == "sgd":
        return SampleThenOptimiseUpdate(
            rays, tolerance=tolerance, iterations=iterations, rank=2, generator=generator(42)
        )
    return StochasticDualDescentUpdate(
        rays, white, tolerance=tolerance, sweeps=iterations, rank=2, generator=generator(43), block=len(white) * 3 // 4
    )


def model(seed: int = 0) -> Model:
    noise = 0.05 + randn(4, seed=seed + 3).square()
    # Every other model has errors that rays of one view share.
    shared = positive_definite(2, seed=seed + 4) if seed % 2 else None
    return Model(randn(4, 6, seed=seed), randn(6, 8, seed=seed + 1), noise, randn(*SHAPE, seed=seed + 2), shared)
