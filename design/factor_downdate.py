"""What observing some rays does to a factor of a covariance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class FactorDowndate:
    """T = (I + ΦᵀΦ)^(−1/2): a factor F of C = F Fᵀ becomes F T once rays Φ = A F were seen with unit noise.

    F T Tᵀ Fᵀ = C − C Aᵀ(A C Aᵀ + I)⁻¹A C by Woodbury's identity, but as a square: no variance can come out negative,
    however little is left of it. T = I − V diag(1 − (1 + s²)^(−1/2)) Vᵀ with Φ = U diag(s) Vᵀ.

    Args:
        directions: V, (rank, k) orthonormal, of the latent variables that the rays see.
        singular: s, (k,).
    """

    directions: Tensor
    singular: Tensor

    @classmethod
    def by(cls, rays: Tensor) -> Self:
        """The downdate by rays Φ, (rays, rank) float64, in units of their noise."""
        # A decomposition of ΦΦᵀ would square the singular values, and lose the small beside the large.
        basis, triangle = torch.linalg.qr(rays.mT)
        directions, singular, _ = torch.linalg.svd(triangle, full_matrices=False)
        return cls(basis @ directions, singular)

    def __call__(self, rows: Tensor) -> Tensor:
        """(n, rank) rows of a factor before -> after."""
        shrunk = 1 - torch.rsqrt(1 + self.singular.square())
        return torch.addmm(rows, (rows @ self.directions) * shrunk, self.directions.mT, alpha=-1)

    @property
    def seen(self) -> Tensor:
        """s²/(1 + s²), (k,): the share of each direction's variance that the rays take away."""
        squares = self.singular.square()
        return squares / (1 + squares)
