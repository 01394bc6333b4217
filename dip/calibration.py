"""Are the error bars right? Held-out rays against what the posterior predicts of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_LEVELS = 19  # of the coverage curve: 5, 10, ..., 95 %


@dataclass(frozen=True)
class Calibration:
    """What held-out rays say of the error bars. With error bars that are right, each figure has a known value.

    Args:
        chi_square: rᵀ S⁻¹ r per ray, S the predictive covariance; 1 expected.
        coverage_95: share of single rays inside their 95 % interval; 0.95 expected.
        z: (rays,) residuals over their predictive standard deviations; N(0, 1) expected.
        nominal: (levels,) intervals' nominal coverage.
        observed: (levels,) share of rays inside them.
        n_rays: how many rays were held out.
        n_angles: from how many views.
        temperature: factor by which held-out rays (others than these) scaled the learned covariance.
        angles_rad: of the views.
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


def calibrate(
    residual: Tensor, predictive_factor: Tensor, *, temperature: float = 1.0, angles_rad: tuple[float, ...] = ()
) -> Calibration:
    """Compare residuals of held-out rays with their predictive covariance S = L Lᵀ.

    Args:
        residual: (rays,) float64, data minus prediction.
        predictive_factor: L, (rays, rays) float64 lower triangular.
        temperature: carried along.
        angles_rad: carried along; one for each view with rays held out.
    """
    whitened = torch.linalg.solve_triangular(predictive_factor, residual[:, None], upper=False)[:, 0]
    z = residual / predictive_factor.square().sum(dim=1).sqrt()
    nominal = torch.linspace(0.05, 0.95, _LEVELS, dtype=torch.float64)
    limits = math.sqrt(2) * torch.erfinv(nominal)
    observed = (z.abs()[:, None] <= limits).double().mean(dim=0)
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
    )
