"""Variances by expectation maximisation with samples, for rays too many to factorise (arXiv 2210.04994, 2404.19157)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dip.filter_covariance import DISTANCES, LENGTH_BOUNDS, correlations, tap_pairs, tap_root
from dip.weight_prior import length_name
from operators import GramMap, LinearMap, Solution, conjugate_gradients

Solve = Callable[[Mapping[str, float], Tensor, Tensor], Solution]
"""(variances, right-hand sides (n, rays), where to start (n, rays)) -> K⁻¹ of them, (n, rays), and its residuals.

The start solves for other variances. A solver that stops early must begin at what of it is best for these, as
`conjugate_gradients` does: otherwise what is left of it counts as signal, and the variances run off.
"""

_LARGEST_STEP = 2.0  # of a variance, in natural logarithms
_LARGEST_LENGTH_STEP = 0.5
_TINY = 1e-300  # a dead group has nothing to observe and nothing to expect, and stays


@dataclass(frozen=True)
class LatentRays:
    """y = Φ(θ) u + Σ_c ε_c, u ~ N(0, I), ε_c ~ N(0, θ_c diag d_c): K = Φ Φᵀ + Σ_c θ_c diag d_c by its products alone.

    Args:
        factor: hyperparameters by name -> Φ, from latents (n,) to (rays,). Columns of a group grow with the root of its
            variance.
        groups: which latents share a variance: index tensors into (n,) by name, that of every latent once.
        diagonals: d_c by name, each (rays,) float64.
        filters: names of groups whose latents are, nine by nine, 3x3 filters with a length.
        known: names of hyperparameters that are known and stay, such as the noise of whitened data.
    """

    factor: Callable[[Mapping[str, float]], LinearMap]
    groups: Mapping[str, Tensor]
    diagonals: Mapping[str, Tensor]
    filters: tuple[str, ...] = ()
    known: tuple[str, ...] = ()

    @property
    def n_rays(self) -> int:
        """How many rays there are."""
        return len(next(iter(self.diagonals.values())))

    def diagonal(self, variances: Mapping[str, float]) -> Tensor:
        """Σ_c θ_c d_c, (rays,)."""
        return torch.stack([variances[name] * d for name, d in self.diagonals.items()]).sum(0)


@dataclass(frozen=True, kw_only=True)
class ExpectationMaximisationSettings:
    """When to stop, and how sure to be.

    Args:
        n_draws: the noise of the estimate falls with their root.
        max_iterations: each costs one solve and one product with Φ and with Φᵀ for 1 + n_draws columns.
        tolerance: nats of evidence; a step worth less is the last.

    Raises:
        ValueError: numbers out of range.
    """

    n_draws: int = 16
    max_iterations: int = 50
    tolerance: float = 1e-2

    def __post_init__(self) -> None:
        for name, least in {"n_draws": 2, "max_iterations": 1}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not self.tolerance > 0:
            raise ValueError(f"tolerance must be positive, got {self.tolerance}")


class Estimate(NamedTuple):
    """Hyperparameters at the end of the iteration.

    Args:
        variances: and lengths, by name.
        iterations: that were made.
        gain: nats of evidence that the last step was worth, to first order.
        converged: whether it was worth less than the tolerance.
        solved: whether the last solves reached theirs. If not, what is left of the data counts as explained, and the
            variances may be far off.
    """

    variances: dict[str, float]
    iterations: int
    gain: float
    converged: bool
    solved: bool


def expectation_maximisation(
    rays: LatentRays,
    data: Tensor,
    start: Mapping[str, float],
    *,
    solve: Solve,
    generator: torch.Generator,
    settings: ExpectationMaximisationSettings,
    floors: Mapping[str, float],
    on_step: Callable[[int, int, float], None] | None = None,
) -> Estimate:
    """Maximise log N(y; 0, K(θ)) with products and solves alone, by MacKay's fixed point (arXiv 2210.04994).

    EM sets a variance to E[‖v‖² | y]/n, v = √θ u being what it is the variance of: latents of a group, or errors
    ε_c/√d_c of the rays. With the effective dimension γ = θ tr(K⁻¹ ∂K/∂θ) that is θ ← (‖v̄‖² + θ (n − γ))/n. MacKay's
    θ ← ‖v̄‖²/γ has the same fixed point and gets there in tens of steps, where EM needs n/γ. For a single noise it is
    ‖y − M w̄‖²/(rays − γ). γ is the mean of the same ‖v̄‖²/θ over draws y' of the model itself, as E[K⁻¹y' y'ᵀK⁻¹] = K⁻¹;
    the γ of all terms add up to the number of rays, which takes most of the noise out of them. As means of squares they
    need no clamp, and must have none: kept from 1 upwards they would send to zero what explains less than a ray at the
    start, such as all noise. Lengths take half a step of Fisher scoring, with the information from the same draws.

    All steps use the same random numbers, so that the iteration converges, and warm-start the solves.

    Args:
        rays: K.
        data: y, (rays,) float64.
        start: hyperparameters to begin with.
        solve: with K.
        generator: of the draws.
        settings: how many draws, and when to stop.
        floors: smallest value of a variance, by name.
        on_step: called as (iterations, max_iterations, nats of evidence that the step was worth to first order).
    """
    variances, gain, done, solved = dict(start), math.inf, 0, True
    draws = _draw(rays, variances, settings.n_draws, generator)
    dual = data.new_zeros(1 + settings.n_draws, rays.n_rays)
    while gain > settings.tolerance and done < settings.max_iterations:
        done += 1
        factor = rays.factor(variances)
        columns = torch.cat([data[None], _simulated(rays, factor, variances, draws)])
        solution = solve(variances, columns, dual)
        dual, solved = solution.value, solution.converged
        variances, gain = _step(rays, variances, _energies(rays, factor, variances, dual), floors)
        if on_step is not None:
            on_step(done, settings.max_iterations, gain)
    return Estimate(variances, done, gain, gain <= settings.tolerance, solved)


def conjugate_gradient_solve(rays: LatentRays, *, iterations: int, tolerance: float) -> Solve:
    """Solves with K by products alone; without a preconditioner, so for noise that is not far below the signal.

    Args:
        rays: K.
        iterations: at most so many a solve.
        tolerance: relative residual of each column.
    """

    def solve(variances: Mapping[str, float], columns: Tensor, start: Tensor) -> Solution:
        product = GramMap(rays.factor(variances), shift=rays.diagonal(variances))
        return conjugate_gradients(product, columns, iterations=iterations, tolerance=tolerance, start=start)

    return solve


class _Draws(NamedTuple):
    latent: Tensor  # (n, latent)
    errors: dict[str, Tensor]  # (n, rays) by noise term


def _draw(rays: LatentRays, variances: Mapping[str, float], n: int, generator: torch.Generator) -> _Draws:
    device = next(iter(rays.diagonals.values())).device

    def normal(size: int) -> Tensor:
        return torch.randn(n, size, generator=generator, device=generator.device, dtype=torch.float64).to(device)

    (n_latent,) = rays.factor(variances).in_shape
    return _Draws(normal(n_latent), {name: normal(rays.n_rays) for name in rays.diagonals})


def _simulated(rays: LatentRays, factor: LinearMap, variances: Mapping[str, float], draws: _Draws) -> Tensor:
    """Data that the model would give, (n, rays)."""
    data: Tensor = factor(draws.latent).double()
    for name, d in rays.diagonals.items():
        data = data + (variances[name] * d).sqrt() * draws.errors[name]
    return data


def _energies(rays: LatentRays, factor: LinearMap, variances: Mapping[str, float], solved: Tensor) -> dict[str, Tensor]:
    """αᵀ ∂K/∂log h α of every hyperparameter h for every column α = K⁻¹y of `solved`, (n,) each.

    For a variance that is ‖v̄‖²/θ. The evidence's slope is half of what the data's has over the mean of the draws'.
    """
    latent = factor.adjoint(solved).double()
    energies = {name: latent[:, index].square().sum(1) for name, index in rays.groups.items()}
    for name, d in rays.diagonals.items():
        energies[name] = variances[name] * solved.square() @ d
    for name in rays.filters:
        length = variances[length_name(name)]
        filters = latent[:, rays.groups[name]].reshape(len(latent), -1, 9)
        root = tap_root(length).to(filters)
        taps = torch.linalg.solve_triangular(root, filters, upper=False, left=False)  # Φᵀα before Lᵀ
        by_distance = torch.einsum("dij,nij->nd", tap_pairs().to(taps), taps.mT @ taps)
        slopes = [d / length * c for d, c in zip(DISTANCES, correlations(length), strict=True)]
        energies[length_name(name)] = by_distance @ taps.new_tensor(slopes)
    return energies


def _step(
    rays: LatentRays, variances: Mapping[str, float], energies: Mapping[str, Tensor], floors: Mapping[str, float]
) -> tuple[dict[str, float], float]:
    """The next hyperparameters, and the gain to first order in nats."""
    lengths = {length_name(name) for name in rays.filters}
    observed = {name: float(energy[0]) for name, energy in energies.items()}
    expected = {name: float(energy[1:].mean()) for name, energy in energies.items()}
    share = rays.n_rays / sum(value for name, value in expected.items() if name not in lengths)
    moved, gain = dict(variances), 0.0
    for name, value in variances.items():
        if name in rays.known:
            continue
        slope = (observed[name] - share * expected[name]) / 2
        if name in lengths:
            information = max(float((energies[name][1:] / 2).var()), 1e-12)
            move = min(max(slope / information / 2, -_LARGEST_LENGTH_STEP), _LARGEST_LENGTH_STEP)
            new = min(max(value * math.exp(move), LENGTH_BOUNDS[0]), LENGTH_BOUNDS[1])
        else:
            move = math.log(max(observed[name], _TINY) / max(share * expected[name], _TINY))
            new = max(value * math.exp(min(max(move, -_LARGEST_STEP), _LARGEST_STEP)), floors.get(name, 0.0))
        moved[name] = new
        gain += abs(slope * math.log(new / value))
    return moved, gain
