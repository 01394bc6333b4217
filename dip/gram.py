"""Gram matrices of the rays: what the network's Jacobian contributes to the covariance of the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from dip.jacobian import NetworkJacobian
from operators import LinearMap

_BATCHES = 16  # of the Jacobian at a time: they share one forward pass
_TILE = 4096  # weights taken to float64 at a time
_PANELS = 8  # row panels of the lower triangle: leaves out 7/16 of the full product


def ray_jacobian(
    jacobian: NetworkJacobian, transform: LinearMap, *, on_step: Callable[[int, int], None] | None = None
) -> Tensor:
    """M = A J, (rays, P), in the dtype of the weights: one vector-Jacobian product a ray.

    Args:
        jacobian: J.
        transform: A, image (row, col) -> its out_shape; rays are numbered along its flattened output.
        on_step: called as (rays done, rays).
    """
    dtype = jacobian.weights().dtype
    n_rays = torch.Size(transform.out_shape).numel()
    device = jacobian.network_input.device
    matrix = torch.empty(n_rays, jacobian.in_shape[0], dtype=dtype, device=device)
    for rays in torch.split(torch.arange(n_rays), _BATCHES * jacobian.batch):
        unit = torch.zeros(len(rays), n_rays, dtype=dtype, device=device)
        unit[torch.arange(len(rays)), rays] = 1
        matrix[rays] = jacobian.adjoint(transform.adjoint(unit.reshape(-1, *transform.out_shape)))
        if on_step is not None:
            on_step(int(rays[-1]) + 1, n_rays)
    return matrix


def gram_matrices(rows: Tensor, groups: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """M_b M_bᵀ for each group b of weights, (rays, rays) float64.

    Args:
        rows: M, (rays, P).
        groups: index tensors into P.
    """
    return {name: symmetric_product(rows, index) for name, index in groups.items()}


def symmetric_product(rows: Tensor, columns: Tensor | None = None) -> Tensor:
    """R Rᵀ, (n, n) float64, of float32 or float64 rows (n, k), or of some of their columns.

    Summed in float64: the largest eigenvalue may be 1e8 times the noise, and float32 sums over 1e5 weights would put
    the noise, and so the error bars, at the mercy of rounding.
    """
    n = len(rows)
    gram = torch.zeros(n, n, dtype=torch.float64, device=rows.device)
    for part in torch.split(torch.arange(rows.shape[1]) if columns is None else columns, _TILE):
        tile = rows[:, part].double()
        for panel in torch.arange(n).chunk(_PANELS):
            first, last = int(panel[0]), int(panel[-1]) + 1
            gram[first:last, :last] += tile[first:last] @ tile[:last].mT
    return gram.tril() + gram.tril(-1).mT
