"""What samples predict of rays that were left out, where the rays' covariance is too large to hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dip.evidence import Learned
from dip.fit import Fit
from dip.holdout import Holdout
from dip.linear_model import LinearModel
from dip.pathwise import conditioned_draw
from dip.posterior_settings import PosteriorSettings
from dip.weight_prior import WeightRoot

_NEUTRAL = 2  # rays that came out just as expected, counted in


@dataclass(frozen=True)
class Prediction:
    """What is expected of rays that were left out.

    Args:
        std: of each of them, image and noise together, (rays,) float64.
        weight_steps: the draws' w - w*, (n, P).
        relative_residual: worst of the equations behind the draws.
    """

    std: Tensor
    weight_steps: Tensor
    relative_residual: float


def predict_by_samples(
    model: LinearModel,
    variances: Mapping[str, float],
    *,
    held: Tensor,
    unseen: Tensor,
    settings: PosteriorSettings,
    generator: torch.Generator,
) -> Prediction:
    """The deviation of held-out rays given the others, ray by ray: of draws of the image, and of the rays' errors.

    Correlations between rays are left out: of as few draws as one can afford they would be mostly noise. The variance
    of n draws itself scatters by √(2/n).

    Args:
        model: of the rays.
        variances: by name.
        held: shaped as the rays, bool: those to predict.
        unseen: likewise: those not to learn from, `held` among them.
        settings: how many draws, `judging_samples`, and how.
        generator: of the draws.
    """
    update = model.unseeing_update(variances, unseen, settings, generator)
    n, weights = settings.judging_samples, model.jacobian.weights()
    root = WeightRoot(model.groups, variances, weights)
    squares, steps, worst = torch.zeros(int(held.sum()), dtype=torch.float64, device=weights.device), [], 0.0
    for start in range(0, n, settings.batch):
        size = min(settings.batch, n - start)
        draw = conditioned_draw(update, size, generator=generator, device=weights.device)
        squares += model.transform(draw.images)[:, held].double().square().sum(0)
        steps.append(root(draw.latent[:, : len(weights)].to(weights)))
        worst = max(worst, float(draw.relative_residual.max()))
    errors = model.noise(variances).standard_deviation(squares).expand(held.shape)[held]
    return Prediction((squares / n + errors.square()).sqrt(), torch.cat(steps), worst)


def temperature_by_samples(
    model: LinearModel,
    found: Fit,
    learned: Learned,
    holdout: Holdout,
    *,
    settings: PosteriorSettings,
    generator: torch.Generator,
) -> float:
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
        model, learned.variances, held=chooses, unseen=unseen, settings=settings, generator=generator
    )
    squares = (found.holdout_residual[0][chooses].double() / known.std).square()
    return float((squares.sum() + _NEUTRAL) / (len(squares) + _NEUTRAL))
