"""Gram matrices of the rays: what the network's Jacobian contributes to the covariance of the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from dip.filter_covariance import tap_pairs
from dip.jacobian import NetworkJacobian
from dip.weight_prior import WeightGroup
from operators import LinearMap, RayTransform

_BATCHES = 16  # of the Jacobian at a time: they share one forward pass
_GRAM_RAYS = 64  # rows of A Aᵀ at a time
_TILE = 9 * 455  # weights taken to float64 at a time: whole 3x3 filters
_PANELS = 8  # row panels of the lower triangle: leaves out 7/16 of the full product


def ray_jacobian(
    jacobian: NetworkJacobian,
    transform: LinearMap,
    rays: Tensor | None = None,
    *,
    layers: Sequence[str] | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Rows of M = A J, (rays, P), in the dtype of the weights: one vector-Jacobian product a ray.

    Args:
        jacobian: J.
        transform: A, image (row, col), or volume, -> its out_shape; rays are numbered along its flattened output.
        rays: which, (rays,); all if left out.
        layers: columns of which weights; of all if left out.
        on_step: called as (rays done, rays).
    """
    weights = jacobian.weights()
    rays = torch.arange(torch.Size(transform.out_shape).numel()) if rays is None else rays
    n_columns = sum(part.stop - part.start for name, part in jacobian.layers().items() if not layers or name in layers)
    matrix = weights.new_empty(len(rays), n_columns)
    for part in torch.split(torch.arange(len(rays)), _BATCHES * jacobian.batch):
        images = _back_projections(transform, rays[part], weights)
        own = [torch.cat(list(of_layers.values()), dim=1) for of_layers in jacobian.pull_back(images, layers)]
        matrix[part] = torch.cat(own)
        if on_step is not None:
            on_step(int(part[-1]) + 1, len(rays))
    return matrix


def pixel_gram_matrix(transform: RayTransform, rays: Tensor) -> Tensor:
    """Rows and columns of A Aᵀ, (rays, rays) float64.

    By a product of sparse matrices for images, of which a ray meets few pixels; for volumes, whose A need not be held
    as one matrix, by products with A and its transpose.

    Args:
        transform: A.
        rays: which, (rays,) into its flattened output.
    """
    gram = torch.zeros(len(rays), len(rays), dtype=torch.float64, device=rays.device)
    parts = torch.split(torch.arange(len(rays)), _GRAM_RAYS)
    if len(transform.in_shape) == 2:
        rows = transform.matrix()[rays.cpu().numpy()]
        columns = rows.T.tocsr()
        for part in parts:
            gram[part] = torch.from_numpy((rows[part.numpy()] @ columns).toarray()).to(gram)
    else:
        for part in parts:
            gram[part] = transform(_back_projections(transform, rays[part], gram)).flatten(1)[:, rays]
    return (gram + gram.mT) / 2


def _back_projections(transform: LinearMap, rays: Tensor, like: Tensor) -> Tensor:
    """Aᵀ of unit rays, (rays, *image)."""
    unit = like.new_zeros(len(rays), torch.Size(transform.out_shape).numel())
    unit[torch.arange(len(rays)), rays] = 1
    return transform.adjoint(unit.reshape(-1, *transform.out_shape))


def gram_matrices(
    rows: Tensor, groups: Mapping[str, WeightGroup], *, on_weights: Callable[[int], None] | None = None
) -> dict[str, Tensor]:
    """M_b Σ_b M_bᵀ at unit variance for each group b of uncorrelated weights, (rays, rays) float64.

    Args:
        rows: M, (rays, P).
        groups: those with correlated filters are left out.
        on_weights: told how many weights have been summed over since it was told last.
    """
    grams = {}
    for name, group in groups.items():
        if not group.correlated:
            gram = torch.zeros(len(rows), len(rows), dtype=torch.float64, device=rows.device)
            for part in torch.split(torch.arange(len(group.index)), _TILE):
                tile = rows[:, group.index[part]].double() * group.relative_std[part].to(rows.device).double()
                _add_product(gram, tile, tile)
                if on_weights is not None:
                    on_weights(len(part))
            grams[name] = _mirrored(gram)
    return grams


def filter_gram_matrices(
    rows: Tensor, groups: Mapping[str, WeightGroup], *, on_weights: Callable[[int], None] | None = None
) -> dict[str, Tensor]:
    """G_δ = Σ_filters M_f P_δ M_fᵀ for each group of correlated filters, (6, rays, rays) float64, by tap distance δ.

    P_δ are the pairs of taps that far apart, so that M_b Σ_b M_bᵀ = s² Σ_δ e^{−δ/ℓ} G_δ for every length ℓ.

    Args:
        rows: M, (rays, P).
        groups: those with uncorrelated weights are left out.
        on_weights: told how many weights have been summed over since it was told last.
    """
    pairs = tap_pairs().to(rows.device)
    grams = {}
    for name, group in groups.items():
        if group.correlated:
            stack = torch.zeros(len(pairs), len(rows), len(rows), dtype=torch.float64, device=rows.device)
            for part in torch.split(group.index, _TILE):
                tile = rows[:, part].double()
                for gram, pair in zip(stack, pairs, strict=True):
                    _add_product(gram, tile, (tile.reshape(len(rows), -1, 9) @ pair).flatten(1))
                if on_weights is not None:
                    on_weights(len(part))
            grams[name] = torch.stack([_mirrored(gram) for gram in stack])
    return grams


def symmetric_product(rows: Tensor) -> Tensor:
    """R Rᵀ, (n, n) float64, of float32 or float64 rows (n, k).

    Summed in float64: the largest eigenvalue may be 1e8 times the noise, and float32 sums over 1e5 weights would put
    the noise, and so the error bars, at the mercy of rounding.
    """
    gram = torch.zeros(len(rows), len(rows), dtype=torch.float64, device=rows.device)
    for part in torch.split(rows, _TILE, dim=1):
        tile = part.double()
        _add_product(gram, tile, tile)
    return _mirrored(gram)


def _add_product(gram: Tensor, a: Tensor, b: Tensor) -> None:
    """Add a bᵀ, which must be symmetric, to the lower triangle of `gram`."""
    for panel in torch.arange(len(gram)).chunk(_PANELS):
        first, last = int(panel[0]), int(panel[-1]) + 1
        gram[first:last, :last] += a[first:last] @ b[:last].mT


def _mirrored(gram: Tensor) -> Tensor:
    return gram.tril() + gram.tril(-1).mT
