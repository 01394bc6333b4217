"""From a network at its weights to the linear model of all rays."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dip.gram import filter_gram_matrices, gram_matrices, pixel_gram_matrix
from dip.jacobian import NetworkJacobian
from dip.linear_model import LinearModel
from dip.model_error import representation_profile, smooth_correlation
from dip.ray_covariance import RayCovariance
from dip.ray_rows import RayRows, add
from dip.sensitivity import sensitivity_of
from dip.weight_prior import PriorKind, weight_groups
from operators import RayTransform


def linearise(  # noqa: PLR0913  what is linearised, what its errors are, and how
    jacobian: NetworkJacobian,
    transform: RayTransform,
    image: Tensor,
    *,
    kind: PriorKind,
    relative_noise: Tensor,
    smooth_errors: bool,
    rays: Tensor | None = None,
    rows_bytes: float = math.inf,
    on_step: Callable[[int, int], None] | None = None,
) -> LinearModel:
    """The linear model of all rays, at the price of one vector-Jacobian product a ray of its covariance.

    Args:
        jacobian: J.
        transform: A, image (row, col) -> (angle, detector), or volume (slice, row, col) -> (angle, row, detector).
        image: the network's, (row, col) or (slice, row, col); its edges say where a pixel grid errs.
        kind: of the prior.
        relative_noise: shaped as the rays, float64, variance of every ray's noise up to a factor that is learned.
        smooth_errors: whether rays of one view share errors. Only views that are held out as a whole can tell: where
            neighbours of a ray are fitted, such an error and the image explain each other.
        rays: which rays the covariance is of, (rays,) into all; all if left out.
        rows_bytes: memory for rows of A J. Where all take more, they are taken by parts, at the price of further
            products, see `RayRows`.
        on_step: called as (done, total), of products with the Jacobian and what it takes to sum over them.

    Raises:
        ValueError: a kind of prior that the network has no use for.
    """
    every = torch.arange(math.prod(transform.out_shape), device=image.device)
    rays = every if rays is None else rays
    diagonals = {
        "representation": representation_profile(image, transform).reshape(-1),
        "noise": relative_noise.reshape(-1),
    }
    here = {name: diagonal[rays] for name, diagonal in diagonals.items()}
    told = _Told(on_step, math.prod(jacobian.in_shape))
    every_row = RayRows(jacobian, transform, rays, most_bytes=rows_bytes, on_step=told.products)
    sensitivity = None
    if kind == "g-prior":
        # By map, which lets go of a part before it asks for the next.
        sensitivity = torch.cat(list(map(lambda part: sensitivity_of(part.rows, here["noise"]), every_row)))  # noqa: C417
    groups = weight_groups(jacobian, kind, sensitivity=sensitivity)
    weights = jacobian.weights()
    grams: dict[str, Tensor] = {}
    filters: dict[str, Tensor] = {}
    response = torch.zeros(len(rays), dtype=torch.float64, device=weights.device)
    for part in every_row:
        own = part.groups(groups)
        add(grams, gram_matrices(part.rows, own, on_weights=told.weights))
        add(filters, filter_gram_matrices(part.rows, own, on_weights=told.weights))
        response += (part.rows @ weights[part.weights]).double()
        del part  # before the next takes its memory
    grams["pixels"] = pixel_gram_matrix(transform, rays)
    if smooth_errors:
        grams["smooth"] = _smooth_gram(rays, transform.out_shape[-1])
    covariance = RayCovariance(grams, here, filters)
    return LinearModel(jacobian, transform, groups, rays, covariance, response, diagonals)


class _Told:
    """Progress of products with the Jacobian, and of sums over their weights, which take about half as long again."""

    def __init__(self, on_step: Callable[[int, int], None] | None, n_weights: int) -> None:
        self._on_step, self._n_weights = on_step, n_weights
        self._done, self._total, self._summed = 0, 1, 0

    def products(self, done: int, total: int) -> None:
        """So many were made of all."""
        self._done, self._total = done, total
        self._tell()

    def weights(self, n: int) -> None:
        """So many more were summed over."""
        self._summed += n
        self._tell()

    def _tell(self) -> None:
        if self._on_step is not None:
            sums = self._total // 2
            self._on_step(self._done + sums * self._summed // self._n_weights, self._total + sums)


def _smooth_gram(rays: Tensor, n_detectors: int) -> Tensor:
    """Correlation of the smooth errors of these rays, (rays, rays): none between views or detector rows."""
    line, place = rays // n_detectors, rays % n_detectors
    correlation = smooth_correlation(n_detectors).to(rays.device)[place[:, None], place]
    return torch.where(line[:, None] == line, correlation, 0.0)
