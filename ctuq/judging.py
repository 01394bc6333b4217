"""The verdict of the rays that judge: exact, or by samples where their covariance is too large to hold."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ctuq.config import Config
from ctuq.problem import Problem
from dip import (
    Calibration,
    Fit,
    Learned,
    LinearModel,
    RayModel,
    calibrate,
    linearisation_error,
    predict_by_samples,
    predictive_factor,
    temperature,
    temperature_by_samples,
)

_LINEARISATION_DRAWS = 8  # their median scatters by a percent or so, a block's variance let loose by a tenth


@dataclass(frozen=True)
class Judged:
    """What came of it.

    Args:
        calibration: by the rays that judge.
        linearisation_error: at weights drawn from the posterior without those rays, or with them where it is exact;
            None for a model without weights.
        worst_residual: of the samples behind it; 0 where there are none.
        draws: how many samples that is; 0 where it is exact.
    """

    calibration: Calibration
    linearisation_error: float | None
    worst_residual: float = 0.0
    draws: int = 0


def tempering(problem: Problem, found: Fit, model: RayModel, learned: Learned, config: Config) -> float:
    """The factor by which the rays that choose scale the variances."""
    if _holds_all(problem, model) or not isinstance(model, LinearModel):
        return temperature(model, found, learned, problem.holdout)
    return temperature_by_samples(
        model, found, learned, problem.holdout, settings=config.posterior, generator=problem.seeds("temperature")
    )


def judged(problem: Problem, found: Fit, model: RayModel, learned: Learned, factor: float, config: Config) -> Judged:
    """Error bars of a fit without the rays that judge, held against those."""
    if _holds_all(problem, model) or not isinstance(model, LinearModel):
        return _exactly(problem, found, model, learned, factor, config)
    return _by_samples(problem, found, model, learned, factor, config)


def _holds_all(problem: Problem, model: RayModel) -> bool:
    return len(model.rays) == problem.data.numel()


def _exactly(problem: Problem, found: Fit, model: RayModel, learned: Learned, factor: float, config: Config) -> Judged:
    all_rays = torch.linalg.cholesky(model.covariance.matrix(learned.variances))
    calibration = _calibration(problem, found, predictive_factor(all_rays, problem.holdout.judges.reshape(-1)), factor)
    cold = config.posterior.image_temperature
    error = model.linearisation_error(
        learned.scaled(cold, {}).variances,
        all_rays.mul_(cold**0.5),
        _LINEARISATION_DRAWS,
        generator=problem.seeds("linearisation"),
    )
    return Judged(calibration, error)


def _by_samples(
    problem: Problem, found: Fit, model: LinearModel, learned: Learned, factor: float, config: Config
) -> Judged:
    holdout = problem.holdout
    predicted = predict_by_samples(
        model,
        learned.variances,
        held=holdout.judges,
        unseen=holdout.judges | holdout.masked,
        settings=config.posterior,
        generator=problem.seeds("judging"),
    )
    steps = predicted.weight_steps[:_LINEARISATION_DRAWS] * config.posterior.image_temperature**0.5
    error = linearisation_error(model.jacobian, steps)
    calibration = _calibration(problem, found, predicted.std, factor)
    return Judged(calibration, error, predicted.relative_residual, config.posterior.judging_samples)


def _calibration(problem: Problem, found: Fit, predictive: torch.Tensor, factor: float) -> Calibration:
    judges = problem.holdout.judges
    angles = [problem.scan.geometry.angles_rad[view] for view in problem.holdout.judging_views.tolist()]
    return calibrate(
        (problem.data - problem.transform(found.image)).double()[judges],
        predictive,
        views=torch.nonzero(judges)[:, 0],
        whole_views=problem.holdout.whole_views,
        temperature=factor,
        angles_rad=tuple(angles),
    )
