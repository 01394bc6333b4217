"""How strongly the rays answer to each weight: mean_k (A J)²_ki, the scale of the g-prior (arXiv 2206.08900)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dip.jacobian import NetworkJacobian
from operators import LinearMap

_RAYS = 64  # taken to float64 at a time


def sensitivity_of(rows: Tensor) -> Tensor:
    """Mean square of each column of M = A J, (rays, P) -> (P,) float64."""
    total = torch.zeros(rows.shape[1], dtype=torch.float64, device=rows.device)
    for part in torch.split(rows, _RAYS):
        total += part.double().square().sum(0)
    return total / len(rows)


class Sensitivity(NamedTuple):
    """Mean square of each column of A J, estimated, and how well."""

    mean_square: Tensor  # (P,) float64
    standard_error: Tensor  # (P,) float64


def estimate_sensitivity(
    jacobian: NetworkJacobian, transform: LinearMap, n: int, *, generator: torch.Generator
) -> Sensitivity:
    """Mean square of each column of M = A J from n vector-Jacobian products, for when M itself has too many rays.

    mean_k M_ki² = E[(Mᵀz)_i²]/rays for random signs z over the rays (arXiv 2210.04994).

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
        squares = jacobian.adjoint(transform.adjoint(signs.to(weights))).double().square() / n_rays
        total += squares.sum(0)
        total_square += squares.square().sum(0)
    mean = total / n
    variance = (total_square / n - mean.square()).clamp(min=0) * n / (n - 1)
    return Sensitivity(mean, (variance / n).sqrt())
