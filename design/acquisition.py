"""Acquisition functions: what the posterior says of candidate views -> one score each, the higher the better.

In what follows S (detector, detector) is the covariance that the posterior gives to the rays of a view, in units of
their noise: S = R⁻¹ A C Aᵀ R⁻ᵀ with noise of covariance R Rᵀ (arXiv 2207.05714, for white noise). All are
free of data: only hyperparameters and views enter.

Where C was estimated by K draws, so is S, and its log-determinant comes out too small on average: by p(p + 1)/(2K) nats
for p rays far above their noise. The first two functions add what a second-order expansion of the Wishart distribution
says is missing, which is that number far above the noise and less below it. What remains is of order p³/K², and a
standard error that `information_gain_standard_error` gives.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class ViewBelief:
    """What the posterior says of some candidate views.

    Args:
        covariance: S, (view, detector, detector) float64, in units of the noise.
        region_covariance: between the rays and the region, (view, detector, q) float64 in units of noise times the
            image's; the region may be turned in any orthogonal way. None where nobody asked for it.
        n_samples: draws behind them; infinite where they are exact.
    """

    covariance: Tensor
    region_covariance: Tensor | None = None
    n_samples: float = math.inf


Acquisition: TypeAlias = Callable[[ViewBelief], Tensor]
"""What the posterior says of some candidate views -> one score each, (view,), the higher the better."""


def information_gain(belief: ViewBelief) -> Tensor:
    """Expected information gain ½ log|I + S| in nats, of all rays of a view jointly: (view,).

    Greedy selection by it comes within 1 − 1/e of the best set of views, as information is submodular (Krause, Singh &
    Guestrin 2008). From K draws ((tr H)² + tr H²)/(4K) is added, H = (I + S)⁻¹S.
    """
    root = _root(belief.covariance)
    gain = root.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)
    if math.isinf(belief.n_samples):
        return gain
    seen = _seen(root)
    traces = seen.diagonal(dim1=-2, dim2=-1).sum(dim=-1).square() + seen.square().sum(dim=(-2, -1))
    return gain + traces / (4 * belief.n_samples)


def information_gain_standard_error(belief: ViewBelief) -> Tensor:
    """Of `information_gain` in nats, √(tr H²/(2K)) from K draws to first order: (view,), zeros where it is exact."""
    squares = _seen(_root(belief.covariance)).square().sum(dim=(-2, -1))
    return (squares / (2 * belief.n_samples)).sqrt()


def diagonal_information_gain(belief: ViewBelief) -> Tensor:
    """½ Σ log(1 + S_ii) in nats: (view,), each ray for itself, as if neighbours said nothing of each other.

    Never below `information_gain` (Hadamard's inequality). From K draws Σ h²/(2K) is added, h = S_ii/(1 + S_ii).
    """
    variances = belief.covariance.diagonal(dim1=-2, dim2=-1)
    seen = variances / (1 + variances)
    return (0.5 * variances.log1p() + seen.square() / (2 * belief.n_samples)).sum(dim=-1)


def expected_squared_error(belief: ViewBelief) -> Tensor:
    """Trace of S: (view,), the squared error expected of the rays' prediction, in units of the noise variance."""
    return belief.covariance.diagonal(dim1=-2, dim2=-1).sum(dim=-1)


def region_gain(belief: ViewBelief) -> Tensor:
    """tr(R C Aᵀ(S + I)⁻¹A C R): (view,), how much the summed variance of the region's pixels would fall.

    In the image's unit squared: A-optimal design in a region of interest. It is not submodular.

    Raises:
        ValueError: a belief that knows no region.
    """
    if belief.region_covariance is None:
        raise ValueError("region_gain needs the covariance with a region, got a belief without one: ask for it")
    white: Tensor = torch.linalg.solve_triangular(_root(belief.covariance), belief.region_covariance, upper=False)
    return white.square().sum(dim=(-2, -1))


@dataclass(frozen=True)
class Criterion:
    """An acquisition function, and what greedy selection may make of it.

    Args:
        acquisition: the function.
        decreasing: whether no score rises when another view is measured, so that an old score is an upper bound.
        uses_region: whether it asks for the covariance with the region.
    """

    acquisition: Acquisition
    decreasing: bool
    uses_region: bool


INFORMATION_GAIN = Criterion(information_gain, decreasing=True, uses_region=False)
"""`information_gain`, of all rays of a view jointly."""

DIAGONAL_INFORMATION_GAIN = Criterion(diagonal_information_gain, decreasing=True, uses_region=False)
"""`diagonal_information_gain`, of each ray for itself."""

EXPECTED_SQUARED_ERROR = Criterion(expected_squared_error, decreasing=True, uses_region=False)
"""`expected_squared_error` of the rays."""

REGION_GAIN = Criterion(region_gain, decreasing=False, uses_region=True)
"""`region_gain`, of the variance of a region's pixels."""


def _root(covariance: Tensor) -> Tensor:
    """Lower Cholesky factor of I + S, none of whose eigenvalues is below 1."""
    shifted = covariance.clone()
    shifted.diagonal(dim1=-2, dim2=-1).add_(1.0)
    root: Tensor = torch.linalg.cholesky(shifted)
    return root


def _seen(root: Tensor) -> Tensor:
    """H = I − (I + S)⁻¹: how much of every direction of a view is above its noise."""
    inverse = torch.cholesky_inverse(root)
    return torch.eye(inverse.shape[-1], dtype=inverse.dtype) - inverse
