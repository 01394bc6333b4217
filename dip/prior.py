"""The image prior: what images the linearised network can make, and how far the truth may lie beside them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dip.gram import symmetric_product
from dip.jacobian import NetworkJacobian
from dip.weight_prior import WeightRoot
from operators.linear_map import batch_shape


class NetworkPrior:
    """F in x = x̂ + F u, u ~ N(0, I): a `LinearMap` from (P + row · col,) to images (row, col).

    Volumes (slice, row, col) likewise, with voxels for pixels.

    F = [J Σ^{1/2}, τ I]. The first part moves the network's weights (arXiv 2203.00479). The second is the error
    of the representation: what the true image holds and no small change of weights can make, white in the pixels.

    Args:
        jacobian: J.
        root: Σ^{1/2}, in units of the image.
        pixel_variance: τ², in squared units of the image.
    """

    def __init__(self, jacobian: NetworkJacobian, root: WeightRoot, pixel_variance: float) -> None:
        self.jacobian = jacobian
        self._root = root
        self._pixel_std = math.sqrt(pixel_variance)

    @property
    def in_shape(self) -> tuple[int]:
        """(P + row · col,)."""
        return (self.jacobian.in_shape[0] + math.prod(self.out_shape),)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """(row, col), or (slice, row, col)."""
        return self.jacobian.out_shape

    def __call__(self, x: Tensor) -> Tensor:
        """F u: (*batch, P + row · col) -> (*batch, row, col)."""
        batch = batch_shape(x, self.in_shape, "weights and pixels")
        weights, pixels = torch.tensor_split(x, self.jacobian.in_shape, dim=-1)
        moved: Tensor = self.jacobian(self._root(weights))
        return moved + pixels.reshape(*batch, *self.out_shape) * self._pixel_std

    def adjoint(self, y: Tensor) -> Tensor:
        """Fᵀ x: (*batch, row, col) -> (*batch, P + row · col)."""
        weights = self._root.adjoint(self.jacobian.adjoint(y))
        return torch.cat([weights, self._pixel_std * y.flatten(-len(self.out_shape))], dim=-1)

    def covariance(self) -> Tensor:
        """F Fᵀ, (row · col, row · col) float64, summed in float64: one vector-Jacobian product a pixel."""
        n_pixels = math.prod(self.out_shape)
        weights = self.jacobian.weights()
        unit = torch.eye(n_pixels, device=weights.device, dtype=weights.dtype)
        rows = self._root.adjoint(self.jacobian.adjoint(unit.reshape(n_pixels, *self.out_shape)))
        covariance = symmetric_product(rows)
        covariance.diagonal().add_(self._pixel_std**2)
        return covariance
