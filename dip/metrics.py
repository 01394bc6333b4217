"""How good error bars are, where the truth is known: densities, coverage, sharpness and order.

A density needs no threshold and rewards error bars that are right and small; the floor, a variance added to every
pixel, is part of the figure and must be stated with it. Errors are truth minus mean, in any unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.stats
import scoringrules
import torch
from torch import Tensor

LEVELS = tuple(level / 20 for level in range(1, 20))


def joint_log_likelihood(error: Tensor, covariance: Tensor, *, floor: float) -> float:
    """Log N(error; 0, C + floor·I) per pixel, in nats.

    Args:
        error: (row, col).
        covariance: C, (row · col, row · col).
        floor: variance.
    """
    return patch_log_likelihood(error[None], covariance[None], floor=floor)


def patch_log_likelihood(errors: Tensor, covariances: Tensor, *, floor: float) -> float:
    """Mean log N(error; 0, C + floor·I) of patches, per pixel, in nats.

    Args:
        errors: (patches, *patch).
        covariances: (patches, pixels of a patch, the same).
        floor: variance.

    Raises:
        torch.linalg.LinAlgError: a covariance that is not positive definite.
    """
    columns = errors.double().flatten(1)[..., None]
    factors = torch.linalg.cholesky(covariances.double() + floor * torch.eye(columns.shape[1], dtype=torch.float64))
    whitened = torch.linalg.solve_triangular(factors, columns, upper=False)
    logs = factors.diagonal(dim1=-2, dim2=-1).log().mean(dim=-1)
    density = -0.5 * whitened.square().mean(dim=(1, 2)) - logs - 0.5 * math.log(2 * math.pi)
    return float(density.mean())


def patches(error: Tensor, covariance: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Cut an image into disjoint squares; what is left over at the right and at the bottom is left out.

    Args:
        error: (row, col).
        covariance: (row · col, row · col).
        size: pixels a side.

    Returns:
        Errors (patches, size, size) and covariances (patches, size², size²).
    """
    rows, cols = error.shape
    index = torch.arange(rows * cols).reshape(rows, cols)[: rows - rows % size, : cols - cols % size]
    index = index.unfold(0, size, size).unfold(1, size, size).reshape(-1, size * size)
    return error.reshape(-1)[index].reshape(-1, size, size), covariance[index[:, :, None], index[:, None, :]]


@dataclass(frozen=True)
class PixelScores:
    """What single pixels say of mean and deviation; all but the last three have a known best value.

    Args:
        coverage_50: share of pixels inside their 50 % interval.
        coverage_90: the same of 90 %.
        coverage_95: the same of 95 %.
        rms_z: root mean square of error over deviation; 1 is right, less is too wide.
        calibration_error: mean distance of coverage from its nominal value, levels 5 to 95 %.
        rank_correlation: Spearman's, of |error| and deviation; NaN where either does not vary.
        crps: mean continuous ranked probability score, in units of the error; smaller is better.
        log_likelihood: mean log density of single pixels, with the floor, in nats.
    """

    coverage_50: float
    coverage_90: float
    coverage_95: float
    rms_z: float
    calibration_error: float
    rank_correlation: float
    crps: float
    log_likelihood: float


def score_pixels(error: Tensor, std: Tensor, *, floor: float) -> PixelScores:
    """Score every pixel by itself.

    Args:
        error: of any shape, truth minus mean.
        std: of the same shape, positive.
        floor: variance, for the log likelihood alone.

    Raises:
        ValueError: shapes that disagree.
    """
    if error.shape != std.shape:
        raise ValueError(f"error and std must have one shape, got {tuple(error.shape)} and {tuple(std.shape)}")
    e, s = error.double().reshape(-1), std.double().reshape(-1)
    z = (e / s).abs()
    observed = {level: float((z <= scipy.stats.norm.ppf(0.5 + level / 2)).double().mean()) for level in LEVELS}
    variance = s.square() + floor
    density = -0.5 * (e.square() / variance + variance.log() + math.log(2 * math.pi))
    return PixelScores(
        coverage_50=observed[0.5],
        coverage_90=observed[0.9],
        coverage_95=observed[0.95],
        rms_z=float(z.square().mean().sqrt()),
        calibration_error=float(np.mean([abs(share - level) for level, share in observed.items()])),
        rank_correlation=_rank_correlation(e.abs(), s),
        crps=float(np.mean(scoringrules.crps_normal(e.numpy(), 0.0, s.numpy()))),
        log_likelihood=float(density.mean()),
    )


def _rank_correlation(a: Tensor, b: Tensor) -> float:
    if a.min() == a.max() or b.min() == b.max():
        return math.nan
    return float(scipy.stats.spearmanr(a.numpy(), b.numpy()).statistic)
