"""How strongly the rays answer to each weight: mean_k (R⁻¹A J)²_ki, the scale of the g-prior (arXiv 2206.08900)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dip.jacobian import NetworkJacobian
from operators import LinearMap

_RAYS = 64  # taken to float64 at a time


def sensitivity_of(rows: Tensor, relative_noise: Tensor) -> Tensor:
    """Mean square of each column of R⁻¹A J, (P,) float64: rays that are masked by a large variance do not count.

    Args:
        rows: A J, (rays, P).
        relative_noise: variance of every ray, (rays,), up to a factor.
    """
    total = torch.zeros(rows.shape[1], dtype=torch.float64, device=rows.device)
    for part, noise in zip(torch.split(rows, _RAYS), torch.split(relative_noise, _RAYS), strict=True):
        total += noise.double().reciprocal() @ part.double().square()
    return total / len(rows)


class Sensitivity(NamedTuple):
    """Mean square of each column of A J, estimated, and how well.

    Args:
        mean_square: (P,) float64.
        standard_error: of it, (P,) float64.
    """

    mean_square: Tensor
    standard_error: Tensor


def estimate_sensitivity(
    jacobian: NetworkJacobian,
    transform: LinearMap,
    relative_noise: Tensor,
    n: int,
    *,
    generator: torch.Generator,
) -> Sensitivity:
    """Mean square of each column of M = R⁻¹A J from n vector-Jacobian products, for when M itself has too many rays.

    mean_k M_ki² = E[(Mᵀz)_i²]/rays for random signs z over the rays (arXiv 2210.04994).

    Args:
        jacobian: J.
        transform: A.
        relative_noise: variance of every ray, of the transform's out_shape, up to a factor.
        n: products.
        generator: of the signs.

    Raises:
        ValueError: fewer than two draws, of which no error can be told.
    """
    if n < 2:
        raise ValueError(f"n must be at least 2, got {n}")
    weights = jacobian.weights()
    total, total_square = torch.zeros(2, len(weights), dtype=torch.float64, device=weights.device)
    n_rays = torch.Size(transform.out_shape).numel()
    for chunk in torch.split(torch.arange(n), jacobian.batch):
        shape = (len(chunk), *transform.out_shape)
        signs = 2 * torch.randint(0, 2, shape, generator=generator, device=generator.device) - 1
        white = (signs / relative_noise.sqrt()).to(weights)
        squares = jacobian.adjoint(transform.adjoint(white)).double().square() / n_rays
        total += squares.sum(0)
        total_square += squares.square().sum(0)
    mean = total / n
    variance = (total_square / n - mean.square()).clamp(min=0) * n / (n - 1)
    return Sensitivity(mean, (variance / n).sqrt())
