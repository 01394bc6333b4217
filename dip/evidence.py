"""The covariance of the rays, and learning its variances from the scan itself (arXiv 2404.19157, chapters 4 and 5)."""

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

_LOG_RANGE = 30.0  # how far, in natural logarithms, a variance may move from where it starts


@dataclass(frozen=True)
class RayCovariance:
    """K(θ) = Σ_b θ_b G_b + diag(Σ_c θ_c d_c): what the rays' covariance is made of.

    The first terms are what rays share: a prior of the image carried to the rays, or errors along a view. The diagonal
    ones are errors of single rays.

    Args:
        grams: G_b by name, each (rays, rays) float64.
        diagonals: d_c by name, each (rays,) float64, e.g. the relative noise variance of every ray.
    """

    grams: Mapping[str, Tensor]
    diagonals: Mapping[str, Tensor]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the variances θ, grams first."""
        return (*self.grams, *self.diagonals)

    def matrix(self, variances: Mapping[str, float]) -> Tensor:
        """K, (rays, rays) float64."""
        n_rays = len(next(iter(self.diagonals.values())))
        total = next(iter(self.diagonals.values())).new_zeros(n_rays, n_rays)
        for name, gram in self.grams.items():
            total.add_(gram, alpha=variances[name])
        total.diagonal().add_(self.diagonal(variances))
        return total

    def diagonal(self, variances: Mapping[str, float]) -> Tensor:
        """The part of K that is error of single rays, (rays,)."""
        return torch.stack([variances[name] * d for name, d in self.diagonals.items()]).sum(0)

    def select(self, rays: Tensor) -> RayCovariance:
        """The covariance of these rays only."""
        return RayCovariance(
            {name: gram[rays[:, None], rays] for name, gram in self.grams.items()},
            {name: d[rays] for name, d in self.diagonals.items()},
        )

    def start(self, signal: float, noise: float) -> dict[str, float]:
        """Variances with which the grams together explain `signal` and the diagonals together `noise`, per ray."""
        sizes = {name: float(gram.diagonal().mean()) or 1.0 for name, gram in self.grams.items()}  # 0: a dead layer
        shares = {name: signal / len(self.grams) / size for name, size in sizes.items()}
        return shares | {name: noise / len(self.diagonals) / float(d.mean()) for name, d in self.diagonals.items()}


def log_evidence(covariance: RayCovariance, variances: Mapping[str, float], data: Tensor) -> tuple[Tensor, Tensor]:
    """Log N(data; 0, K(θ)) and its gradient with respect to log θ.

    Args:
        covariance: K.
        variances: θ by name.
        data: (*batch, rays) float64; a batch shares one factorisation.

    Returns:
        The log densities, (*batch,), and (*batch, len(names)) float64.
    """
    columns = data.reshape(-1, data.shape[-1]).mT
    factor = torch.linalg.cholesky(covariance.matrix(variances))
    solved = torch.cholesky_solve(columns, factor)
    constant = float(factor.diagonal().log().sum()) + 0.5 * len(columns) * math.log(2 * math.pi)
    value = -0.5 * (columns * solved).sum(0) - constant
    # ∂/∂θ_i = ½ (αᵀ K_i α − tr K⁻¹ K_i), α = K⁻¹ y
    inverse = torch.cholesky_inverse(factor)
    slopes = [
        variances[name] * ((solved * (gram @ solved)).sum(0) - (inverse * gram).sum())
        for name, gram in covariance.grams.items()
    ]
    slopes += [
        variances[name] * (solved.square().mT @ d - inverse.diagonal() @ d) for name, d in covariance.diagonals.items()
    ]
    batch = data.shape[:-1]
    return value.reshape(batch), 0.5 * torch.stack(slopes, dim=-1).reshape(*batch, len(slopes))


def log_predictive(
    covariance: RayCovariance,
    variances: Mapping[str, float],
    residual: Tensor,
    held_out: Tensor,
    *,
    data: Tensor,
    share: float,
) -> tuple[float, Tensor]:
    """Log density of held-out residuals given the other rays, plus a share of the evidence; its gradient by log θ.

    p(r_h | r_f = 0) = p(0, r_h)/p(0): two evidences, so that one gradient serves both. The density is centred on the
    network's own prediction.

    Args:
        covariance: K of all rays.
        variances: θ by name.
        residual: (rays,) float64, data minus prediction; only the held-out part is used.
        held_out: (rays,) bool.
        data: (rays,) float64, whose evidence is added.
        share: of that evidence, 0 or more.
    """
    both = torch.stack([torch.where(held_out, residual, 0.0), data])
    value, slope = log_evidence(covariance, variances, both)
    fitted = torch.nonzero(~held_out)[:, 0]
    alone, alone_slope = log_evidence(covariance.select(fitted), variances, torch.zeros_like(residual[fitted]))
    return float(value[0] - alone + share * value[1]), slope[0] - alone_slope + share * slope[1]


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
        variances: by name.
        objective: its value there, a log density in nats.
        evaluations: how often it was computed.
        converged: whether the optimiser was satisfied.
    """

    variances: dict[str, float]
    objective: float
    evaluations: int
    converged: bool

    def scaled(self, factor: float, floors: Mapping[str, float]) -> Learned:
        """All variances times a factor, but none below its floor; the objective stays that of the unscaled ones."""
        variances = {name: max(factor * value, floors.get(name, 0.0)) for name, value in self.variances.items()}
        return dataclasses.replace(self, variances=variances)


def maximise(
    objective: Callable[[dict[str, float]], tuple[SupportsFloat, Tensor]],
    start: Mapping[str, float],
    *,
    floors: Mapping[str, float] | None = None,
    max_evaluations: int = 30,
    on_step: Callable[[int, int, float], None] | None = None,
) -> Learned:
    """Maximise a log density over the logarithms of positive variances by L-BFGS.

    Args:
        objective: variances -> (value, gradient by log variance, in the order of `start`).
        start: where to begin.
        floors: smallest value of a variance, by name.
        max_evaluations: of the objective, at most about this many.
        on_step: called as (evaluations, max_evaluations, value).
    """
    names = list(start)
    origin = np.log([start[name] for name in names])
    lowest = [
        math.log(floors[name]) if floors and name in floors else x - _LOG_RANGE
        for name, x in zip(names, origin, strict=True)
    ]
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
        np.maximum(origin, lowest),
        jac=True,
        method="L-BFGS-B",
        bounds=[(low, max(low, x) + _LOG_RANGE) for low, x in zip(lowest, origin, strict=True)],
        options={"maxfun": max_evaluations, "ftol": 1e-5},
    )
    variances = dict(zip(names, np.exp(found.x).tolist(), strict=True))
    return Learned(variances, -float(found.fun), evaluations, bool(found.success))
