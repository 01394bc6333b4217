"""Learning the variances of the rays' covariance from the scan itself (arXiv 2404.19157, chapters 4 and 5)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import SupportsFloat

import numpy as np
import scipy.optimize
import torch
from torch import Tensor

from dip.ray_covariance import RayCovariance

_LOG_RANGE = 30.0  # how far, in natural logarithms, a variance may move from where it starts


def log_evidence(covariance: RayCovariance, variances: Mapping[str, float], data: Tensor) -> tuple[Tensor, Tensor]:
    """Log N(data; 0, K(θ)) and its gradient with respect to the logarithms of the hyperparameters.

    Args:
        covariance: K.
        variances: θ, and lengths ℓ, by name.
        data: (rays,) float64.

    Returns:
        The log density, a scalar, and (len(names),) float64.
    """
    factor = torch.linalg.cholesky(covariance.matrix(variances))
    solved = torch.cholesky_solve(data[:, None], factor)[:, 0]
    constant = float(factor.diagonal().log().sum()) + 0.5 * len(data) * math.log(2 * math.pi)
    # ∂/∂θ_i = ½ (αᵀ K_i α − tr K⁻¹ K_i), α = K⁻¹ y
    weight = 0.5 * (torch.cholesky_inverse(factor) - torch.outer(solved, solved))
    return -0.5 * (data @ solved) - constant, _slopes(covariance, variances, weight)


def log_predictive(
    covariance: RayCovariance,
    variances: Mapping[str, float],
    residuals: Tensor,
    held_out: Tensor,
    *,
    data: Tensor,
    share: float,
) -> tuple[Tensor, Tensor]:
    """Log density of held-out residuals given the other rays, plus a share of the evidence; its gradient by log θ.

    The block P_hh of P = K⁻¹ is the inverse of the held-out rays' covariance given the others, so that one inverse
    serves every set: log p(r_h | r_f = 0) = ½ log|P_hh| − ½ rᵀ P_hh r − ½ n log 2π. The density is centred on the
    network's own prediction.

    Args:
        covariance: K of all rays.
        variances: θ, and lengths ℓ, by name.
        residuals: (sets, rays) float64, data minus prediction; only the held-out part is used.
        held_out: (sets, rays) bool: each set is predicted from all rays but itself.
        data: (rays,) float64, whose evidence is added.
        share: of that evidence, 0 or more.
    """
    factor = torch.linalg.cholesky(covariance.matrix(variances))
    precision = torch.cholesky_inverse(factor)
    # d value = −<W, dK>, with a weight W for each way in which K enters.
    solved = precision @ data
    constant = float(factor.diagonal().log().sum()) + 0.5 * len(data) * math.log(2 * math.pi)
    value = share * (-0.5 * (data @ solved) - constant)
    weight = 0.5 * share * (precision - torch.outer(solved, solved))
    for residual, held in zip(residuals, held_out, strict=True):
        rays = torch.nonzero(held)[:, 0]
        rows, r = precision[rays], residual[rays]
        own = torch.linalg.cholesky(rows[:, rays])
        score = own.mT @ r
        value = value + own.diagonal().log().sum() - 0.5 * (score @ score) - 0.5 * len(r) * math.log(2 * math.pi)
        weight += 0.5 * rows.mT @ ((torch.cholesky_inverse(own) - torch.outer(r, r)) @ rows)
    return value, _slopes(covariance, variances, weight)


def _slopes(covariance: RayCovariance, variances: Mapping[str, float], weight: Tensor) -> Tensor:
    """−<W, ∂K/∂ log θ> for every hyperparameter, in the order of their names."""
    slopes = dict.fromkeys(covariance.names, 0.0)
    for term in covariance.terms(variances):
        share = term.coefficient * float((weight * term.matrix).sum())
        for name, power in term.slopes.items():
            slopes[name] -= power * share
    for name, d in covariance.diagonals.items():
        slopes[name] -= variances[name] * float(weight.diagonal() @ d)
    return torch.tensor(list(slopes.values()), dtype=torch.float64)


def predictive_factor(data_factor: Tensor, held_out: Tensor) -> Tensor:
    """Lower Cholesky factor of the held-out rays' covariance given all other rays.

    The block of K⁻¹ that belongs to the held-out rays is the inverse of what they have left to say (Schur complement).

    Args:
        data_factor: Cholesky factor of K, (rays, rays) float64.
        held_out: (rays,) bool.
    """
    rays = torch.nonzero(held_out)[:, 0]
    unit = torch.zeros(len(held_out), len(rays), dtype=data_factor.dtype, device=data_factor.device)
    unit[rays, torch.arange(len(rays))] = 1.0
    precision = torch.cholesky_solve(unit, data_factor)[rays]
    factor: Tensor = torch.linalg.cholesky(torch.linalg.inv((precision + precision.mT) / 2))
    return factor


@dataclass(frozen=True)
class Learned:
    """Variances that maximise an objective.

    Args:
        variances: by name, and with them the lengths of correlated filters.
        objective: its value there, a log density in nats.
        evaluations: how often it was computed.
        converged: whether the optimiser was satisfied.
        lengths: names of those that are lengths, not variances.
        solved: whether the equations behind them were, to the tolerance asked for.
    """

    variances: dict[str, float]
    objective: float
    evaluations: int
    converged: bool
    lengths: tuple[str, ...] = ()
    solved: bool = True

    def scaled(self, factor: float, floors: Mapping[str, float]) -> Learned:
        """All variances times a factor, but none below its floor; the objective stays that of the unscaled ones.

        Lengths have no unit of the image, and stay.
        """
        variances = {
            name: value if name in self.lengths else max(factor * value, floors.get(name, 0.0))
            for name, value in self.variances.items()
        }
        return dataclasses.replace(self, variances=variances)


def maximise(
    objective: Callable[[Mapping[str, float]], tuple[SupportsFloat, Tensor]],
    start: Mapping[str, float],
    *,
    floors: Mapping[str, float] | None = None,
    ceilings: Mapping[str, float] | None = None,
    max_evaluations: int = 30,
    on_step: Callable[[int, int, float], None] | None = None,
) -> Learned:
    """Maximise a log density over the logarithms of positive variances by L-BFGS.

    Args:
        objective: variances -> (value, gradient by log variance, in the order of `start`).
        start: where to begin.
        floors: smallest value of a variance, by name.
        ceilings: largest, by name.
        max_evaluations: of the objective, at most about this many.
        on_step: called as (evaluations, max_evaluations, value).
    """
    names = list(start)
    origin = np.log([start[name] for name in names])
    bounds = [_log_bounds(name, x, floors or {}, ceilings or {}) for name, x in zip(names, origin, strict=True)]
    evaluations = 0
    forbidding: float | None = None

    def negative(
        x: np.ndarray[tuple[int], np.dtype[np.float64]],
    ) -> tuple[float, np.ndarray[tuple[int], np.dtype[np.float64]]]:
        nonlocal evaluations, forbidding
        evaluations += 1
        try:
            density, slope = objective(dict(zip(names, np.exp(x).tolist(), strict=True)))
            value = float(density)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            # A line search may try variances so far apart that K is singular in float64: let it turn back.
            if forbidding is None:
                raise
            return forbidding, np.zeros_like(x)
        if forbidding is None:
            forbidding = -value + 1e3 * (1 + abs(value))
        if on_step is not None:
            on_step(min(evaluations, max_evaluations), max_evaluations, value)
        return -value, -slope.numpy()

    found = scipy.optimize.minimize(
        negative,
        np.maximum(origin, [low for low, _ in bounds]),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxfun": max_evaluations, "ftol": 1e-5},
    )
    variances = dict(zip(names, np.exp(found.x).tolist(), strict=True))
    return Learned(variances, -float(found.fun), evaluations, bool(found.success))


def _log_bounds(
    name: str, origin: float, floors: Mapping[str, float], ceilings: Mapping[str, float]
) -> tuple[float, float]:
    """Of the logarithm of a variance that starts at `origin`: its own, or as far away as a search may go."""
    low = math.log(floors[name]) if name in floors else origin - _LOG_RANGE
    high = math.log(ceilings[name]) if name in ceilings else max(low, origin) + _LOG_RANGE
    return low, high
