"""The exponential covariance of a 3x3 filter's taps: C(ℓ) = exp(−distance/ℓ) (arXiv 2203.00479)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

DISTANCES = (0.0, 1.0, math.sqrt(2), 2.0, math.sqrt(5), 2 * math.sqrt(2))
"""All distances between two taps of a 3x3 filter, in taps."""

LENGTH_BOUNDS = (0.1, 30.0)
"""Lengths ℓ told apart by data, in taps: correlations of neighbours from 5e-5, as good as none, to 0.97."""


def tap_pairs() -> Tensor:
    """P_δ: which taps lie at which distance, (6, 9, 9) float64 of zeros and ones; C = Σ_δ e^{−δ/ℓ} P_δ."""
    place = torch.arange(9)
    rows, cols = place // 3, place % 3
    squared = (rows[:, None] - rows).square() + (cols[:, None] - cols).square()
    return torch.stack([(squared == round(distance**2)).double() for distance in DISTANCES])


def correlations(length: float) -> list[float]:
    """e^{−δ/ℓ} by distance."""
    return [math.exp(-distance / length) for distance in DISTANCES]


def tap_root(length: float) -> Tensor:
    """Lower Cholesky factor of C(ℓ), (9, 9) float64."""
    covariance = torch.einsum("d,dij->ij", torch.tensor(correlations(length), dtype=torch.float64), tap_pairs())
    root: Tensor = torch.linalg.cholesky(covariance)
    return root
