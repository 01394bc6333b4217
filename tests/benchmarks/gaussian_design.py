"""Planning without a network: the same greedy rule under a Gaussian field of pixels, its hyperparameters learned.

Matérn fields of ν = 1/2 with the length, variance, constant and noise of highest evidence, and white pixels, which are
such a field of a length far below a pixel. What was published for comparison (arXiv 2207.05714) took the exponential
of the length twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

import ctuq
from design import ImageBelief, sampled_covariance
from dip import DensePosterior, Learned, RayCovariance, covariance_root, log_evidence, maximise
from dip.matern import matern_correlation
from operators import GaussianNoise, ImageGrid, RayTransform

WHITE: Final = (0.05,)  # lengths in pixels; neighbours have a correlation of 2e-9
LENGTHS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_LARGEST_GRID = 64  # pixels a side, whose covariance is held
_LEARNING_RAYS = 1_000  # that hyperparameters are learned on, at most
_SMOOTHNESS = 0.5


@dataclass(frozen=True, eq=False)
class GaussianDesign:
    """A field that has seen a scan.

    Args:
        belief: of the image, and the noise of views to come.
        grid: of the image that is believed.
        length_mm: of highest evidence.
    """

    belief: ImageBelief
    grid: ImageGrid
    length_mm: float


def gaussian_design(
    scan: ctuq.Scan, lengths: tuple[float, ...], *, n_draws: int, generator: torch.Generator
) -> GaussianDesign:
    """Learn the field on the scan and condition it on all rays.

    Args:
        scan: its grid is made coarser where it has more than 64 pixels a side.
        lengths: to choose from, in pixels.
        n_draws: behind the belief.
        generator: of the draws, and of the rays that hyperparameters are learned on.
    """
    scan = scan.on_grid(_coarse(scan.planar.grid))
    transform, grid = RayTransform(scan.geometry), scan.planar.grid
    distances = _distances(grid)
    some = torch.randperm(scan.sinogram.numel(), generator=generator)[:_LEARNING_RAYS]
    learned = {}
    for length in lengths:
        field = matern_correlation(distances, smoothness=_SMOOTHNESS, length=length * grid.pixel_mm)
        learned[length] = _learn(scan, field, transform, some)
    length = max(learned, key=lambda candidate: learned[candidate].objective)
    variances = learned[length].variances
    field = matern_correlation(distances, smoothness=_SMOOTHNESS, length=length * grid.pixel_mm).mul_(
        variances["field"]
    )
    noise = GaussianNoise(variances["noise"])
    # The constant is known after a view or two, and tells none of the candidates from another.
    zeros = torch.zeros(transform.in_shape, dtype=torch.float64)
    posterior = DensePosterior(transform, covariance_root(field), noise=noise, mean=zeros)
    belief = ImageBelief(sampled_covariance(posterior, n_draws, generator=generator), noise.typical())
    return GaussianDesign(belief, grid, length * grid.pixel_mm)


def _coarse(grid: ImageGrid) -> ImageGrid:
    factor = math.ceil(max(grid.shape) / _LARGEST_GRID)
    rows, cols = grid.shape
    return ImageGrid(shape=(rows // factor, cols // factor), pixel_mm=grid.pixel_mm * factor)


def _distances(grid: ImageGrid) -> Tensor:
    """Between the centres of all pixels, (row · col, row · col) in mm."""
    rows, cols = (torch.arange(n, dtype=torch.float64) * grid.pixel_mm for n in grid.shape)
    centres = torch.cartesian_prod(rows, cols)
    return torch.cdist(centres, centres)


def _learn(scan: ctuq.Scan, field: Tensor, transform: RayTransform, some: Tensor) -> Learned:
    matrix = transform.matrix()[some.numpy()]
    rays = torch.as_tensor(matrix @ (matrix @ field.numpy()).T)
    seen = torch.as_tensor(matrix.sum(axis=1)).flatten()
    data = scan.sinogram.double().flatten()[some]
    covariance = RayCovariance(
        {"field": (rays + rays.mT) / 2, "constant": torch.outer(seen, seen)}, {"noise": torch.ones_like(data)}
    )
    power = float(data.square().mean())
    start = covariance.start(signal=power, noise=1e-3 * power)
    return maximise(lambda variances: log_evidence(covariance, variances, data), start, max_evaluations=60)
