"""Dense twins: linear maps and Gaussians written out as float64 matrices."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from operators import LinearMap


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def dense(linear_map: LinearMap) -> Tensor:
    """(n_out, n_in) float64."""
    n_in = math.prod(linear_map.in_shape)
    unit = torch.eye(n_in, dtype=torch.float64).reshape(n_in, *linear_map.in_shape)
    return linear_map(unit).reshape(n_in, -1).mT


def positive_definite(n: int, *, seed: int = 0) -> Tensor:
    """A random covariance of n variables, none of them certain."""
    root = randn(n, n, seed=seed)
    return root @ root.mT / n + 0.1 * torch.eye(n, dtype=torch.float64)


def conditioned(prior: Tensor, seen: Tensor, noise: Tensor) -> Tensor:
    """K − K Aᵀ(A K Aᵀ + N)⁻¹A K."""
    gain: Tensor = torch.linalg.solve(seen @ prior @ seen.mT + noise, seen @ prior)
    return prior - prior @ seen.mT @ gain


def standard_scores(samples: Tensor, covariance: Tensor) -> Tensor:
    """How many standard errors each entry of the samples' covariance lies from the truth; samples (n, d), mean 0."""
    n = len(samples)
    variances = covariance.diagonal()
    spread = ((variances[:, None] * variances + covariance.square()) / n).sqrt()
    return (samples.mT @ samples / n - covariance) / spread
