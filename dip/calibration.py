"""Are the error bars right? Test rays against what the posterior predicts of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_LEVELS = 19  # of the coverage curve: 5, 10, ..., 95 %


@dataclass(frozen=True)
class Calibration:
    """What test rays say of the error bars. With error bars that are right, each figure has a known value.

    Args:
        chi_square: rᵀ S⁻¹ r per ray, S the predictive covariance, or its diagonal where samples stand behind it (the
            mean square of z); 1 expected.
        coverage_95: share of single rays inside their 95 % interval; 0.95 expected.
        z: (rays,) residuals over their predictive standard deviations; N(0, 1) expected.
        nominal: (levels,) intervals' nominal coverage.
        observed: (levels,) share of rays inside them.
        n_rays: how many test rays there are.
        n_angles: from how many views.
        temperature: factor by which the choosing rays, which are others, scaled the learned covariance.
        angles_rad: of the views.
        chi_square_error: standard error of `chi_square` by what views differ in: rays of one view err together, so that
            views count, not rays. At least that of as many independent rays, as few views may agree by chance. NaN
            where fewer than two judge.
        coverage_error: the same of `coverage_95`.
        whole_views: whether whole views test; single rays show no error that a view's rays share.
    """

    chi_square: float
    coverage_95: float
    z: Tensor
    nominal: Tensor
    observed: Tensor
    n_rays: int
    n_angles: int
    temperature: float
    angles_rad: tuple[float, ...]
    chi_square_error: float = math.nan
    coverage_error: float = math.nan
    whole_views: bool = True


def calibrate(
    residual: Tensor,
    predictive_factor: Tensor,
    *,
    views: Tensor | None = None,
    whole_views: bool = True,
    temperature: float = 1.0,
    angles_rad: tuple[float, ...] = (),
) -> Calibration:
    """Compare residuals of test rays with their predictive covariance S = L Lᵀ. What comes out is on the CPU.

    Args:
        residual: (rays,) float64, data minus prediction.
        predictive_factor: L, (rays, rays) float64 lower triangular; or (rays,), its diagonal, where nothing else of it
            is known: chi-square is then the mean square of z.
        views: (rays,) number of each ray's view; all of one view if left out.
        whole_views: carried along.
        temperature: carried along.
        angles_rad: carried along; one for each view with test rays.
    """
    if predictive_factor.ndim == 1:  # as a matrix it might not fit into memory
        whitened = z = residual / predictive_factor
    else:
        whitened = torch.linalg.solve_triangular(predictive_factor, residual[:, None], upper=False)[:, 0]
        z = residual / predictive_factor.square().sum(dim=1).sqrt()
    whitened, z = whitened.cpu(), z.cpu()
    nominal = torch.linspace(0.05, 0.95, _LEVELS, dtype=torch.float64)
    limits = math.sqrt(2) * torch.erfinv(nominal)
    inside = (z.abs()[:, None] <= limits).double()
    observed = inside.mean(dim=0)
    views = torch.zeros(len(z), dtype=torch.long) if views is None else views.cpu()
    chi_square_floor, coverage_floor = _of_independent_rays(inside[:, -1])
    return Calibration(
        chi_square=float(whitened.square().mean()),
        coverage_95=float(observed[-1]),
        z=z,
        nominal=nominal,
        observed=observed,
        n_rays=len(z),
        n_angles=len(angles_rad),
        temperature=temperature,
        angles_rad=angles_rad,
        chi_square_error=_at_least(chi_square_floor, between_views(whitened.square(), views)),
        coverage_error=_at_least(coverage_floor, between_views(inside[:, -1], views)),
        whole_views=whole_views,
    )


def between_views(values: Tensor, views: Tensor) -> float:
    """Standard error of the mean of `values`, (rays,), by leaving out one view at a time; NaN with fewer than two.

    Delete-one-group jackknife (Efron & Tibshirani 1993, chapter 11); `views`, (rays,), are the groups' numbers.
    """
    _, group = torch.unique(views, return_inverse=True)
    counts = torch.bincount(group).double()
    n_views = len(counts)
    if n_views < 2:
        return math.nan
    sums = torch.zeros_like(counts).index_add(0, group, values.double())
    left = (sums.sum() - sums) / (counts.sum() - counts)
    return float(((left - left.mean()).square().sum() * (n_views - 1) / n_views).sqrt())


def _of_independent_rays(inside: Tensor) -> tuple[float, float]:
    """Standard errors of chi-square and coverage, were all rays independent and their deviations right.

    The share is that of two more rays inside and two more outside (after Agresti & Coull 1998), or full coverage would
    seem to be known exactly. `inside`: (rays,), 1 or 0.
    """
    n_rays = len(inside)
    if not n_rays:
        return math.nan, math.nan
    share = (float(inside.sum()) + 2) / (n_rays + 4)
    return math.sqrt(2 / n_rays), math.sqrt(share * (1 - share) / n_rays)


def _at_least(floor: float, error: float) -> float:
    """The larger one; an error that is not known stays so."""
    return error if math.isnan(error) else max(floor, error)
