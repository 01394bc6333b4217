"""What samples predict of rays that were left out, where the rays' covariance is too large to hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy.special import hyp1f1
from torch import Tensor

from dip.evidence import Learned
from dip.fit import Fit
from dip.holdout import Holdout
from dip.linear_model import LinearModel
from dip.pathwise import conditioned_draw
from dip.posterior_settings import PosteriorMethod, PosteriorSettings
from dip.weight_prior import WeightRoot

_NEUTRAL = 2  # rays that came out just as expected, counted in
_FAR, _TERMS = 100.0, 10  # each term of the series is less than a hundredth of the one before
_Z_95 = 1.959964


class Scatter(NamedTuple):
    """Standard errors by the scatter of the draws alone, which all rays share: more rays do not make it smaller."""

    chi_square: float
    coverage_95: float


class Temperature(NamedTuple):
    """The factor that the variances lack.

    Args:
        factor: the mean square z-score of the rays that choose.
        worst_residual: of the draws behind it; 0 where there are none.
    """

    factor: float
    worst_residual: float = 0.0


@dataclass(frozen=True)
class Prediction:
    """What is expected of rays that were left out.

    Args:
        draws: what draws of the image differ by from its mean on each of them, (n, rays) float64.
        noise: variance of their own errors, which is known, (rays,) float64.
        weight_steps: w - w* of the first draws, (as many as were asked for, P).
        worst_residual: of the equations behind the draws.
    """

    draws: Tensor
    noise: Tensor
    weight_steps: Tensor
    worst_residual: float

    @property
    def std(self) -> Tensor:
        """What to divide residuals by, (rays,): of what it makes of them the mean square is 1, however few the draws.

        It is 1/√E[1/S | draws] by `unbiased_precision`, larger than √S.
        """
        return unbiased_precision(self.draws.square().sum(0), self.noise, len(self.draws)).rsqrt()

    def scatter(self, residual: Tensor) -> Scatter:
        """How far other draws would have moved what `residual`, (rays,), says: a jackknife over draws.

        Coverage is a count, of which a jackknife makes too much; so it is smoothed: that of residuals which are
        Gaussian, of the variance that these have.
        """
        n, squares = len(self.draws), self.draws.square()
        total = squares.sum(0)
        every = unbiased_precision(total, self.noise, n)
        chi_square = float((residual.square() * every).mean())
        limit = _Z_95 / math.sqrt(2 * chi_square) if chi_square > 0 else math.inf
        left = []
        for one in squares:
            without = unbiased_precision((total - one).clamp(min=0), self.noise, n - 1)
            left.append(
                torch.stack([(residual.square() * without).mean(), torch.erf(limit * (every / without).sqrt()).mean()])
            )
        spread = torch.stack(left).var(dim=0, correction=0).mul(n - 1).sqrt()
        return Scatter(float(spread[0]), float(spread[1]))


def unbiased_precision(squares: Tensor, noise: Tensor, n: int) -> Tensor:
    """Estimate 1/(s² + v) without bias from n Gaussian draws of variance s²: M(1, n/2, −Σx²/2v)/v, (rays,).

    M is Kummer's function, Σ_k zᵏ Γ(n/2)/Γ(n/2 + k) at z = −Σx²/2v; as E[(Σx²)ᵏ] = (2s²)ᵏ Γ(n/2 + k)/Γ(n/2), its terms
    are the (−s²/v)ᵏ of v/(s² + v). With little noise it is the well-known (n − 2)/Σx², with much of it 1/v.

    Args:
        squares: Σx², (rays,) float64.
        noise: v, likewise, more than 0.
        n: draws; of up to four the estimate's own error is not finite, of one it may be negative.
    """
    b, z = n / 2, squares / (2 * noise)
    near = torch.from_numpy(hyp1f1(1.0, b, -z.clamp(max=_FAR * b).cpu().numpy())).to(noise)
    # Kummer's function far out, where scipy's takes long and then is not a number (DLMF 13.7.2).
    term = (b - 1) / z.clamp(min=_FAR * b)
    far = term
    for k in range(_TERMS):
        term = term * (2 - b + k) / z.clamp(min=_FAR * b)
        far = far + term
    return torch.where(z > _FAR * b, far, near) / noise


def predict_by_samples(
    model: LinearModel,
    variances: Mapping[str, float],
    *,
    held: Tensor,
    unseen: Tensor,
    n_steps: int,
    settings: PosteriorSettings,
    generator: torch.Generator,
) -> Prediction:
    """What is expected of held-out rays given the others, ray by ray: by draws of the image, and of the rays' errors.

    Correlations between rays are left out: of as few draws as one can afford they would be mostly noise.

    Args:
        model: of the rays.
        variances: by name.
        held: shaped as the rays, bool: those to predict.
        unseen: likewise: those not to learn from, `held` among them.
        n_steps: of how many draws the weights are kept, at most.
        settings: how many draws, `judging_samples`, and how.
        generator: of the draws.
    """
    update = model.unseeing_update(variances, unseen, settings, generator)
    n, weights = settings.judging_samples, model.jacobian.weights()
    method: PosteriorMethod = "sgd" if settings.method == "sgd" else "cg"
    block = settings.draws_together(method, math.prod(update.rays.in_shape), held.numel())
    root = WeightRoot(model.groups, variances, weights)
    seen, residuals, steps = [], [], [weights.new_zeros(0, len(weights))]
    for start in range(0, n, block):
        size = min(block, n - start)
        draw = conditioned_draw(update, size, generator=generator)
        seen.append(model.transform(draw.images)[:, held].double())
        if start < n_steps:
            steps.append(root(draw.latent[: n_steps - start, : len(weights)].to(weights)))
        residuals.append(draw.relative_residual)
    draws = torch.cat(seen)
    errors = model.noise(variances).standard_deviation(draws).expand(held.shape)[held]
    return Prediction(draws, errors.square(), torch.cat(steps), float(torch.cat(residuals).max()))  # NaN stays


def temperature_by_samples(
    model: LinearModel,
    found: Fit,
    learned: Learned,
    holdout: Holdout,
    *,
    settings: PosteriorSettings,
    generator: torch.Generator,
) -> Temperature:
    """Mean square z-score of the choosing rays given the rays that were fitted: the factor that the variances lack.

    As `temperature`, with the deviations of single rays in place of their covariance.

    Args:
        model: linearised at the fit's network.
        found: the fit of one network, with residuals of the rays that choose.
        learned: variances of the model.
        holdout: which rays choose; those that judge are not looked at.
        settings: how many draws, and how.
        generator: of the draws.
    """
    (chooses,) = holdout.chooses
    unseen = chooses | holdout.judges | holdout.masked
    known = predict_by_samples(
        model, learned.variances, held=chooses, unseen=unseen, n_steps=0, settings=settings, generator=generator
    )
    squares = (found.holdout_residual[0][chooses].double() / known.std).square()
    return Temperature(float((squares.sum() + _NEUTRAL) / (len(squares) + _NEUTRAL)), known.worst_residual)
