"""The verdict of the rays that judge: exact, or by samples where their covariance is too large to hold."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from ctuq.config import Config
from ctuq.problem import Problem
from dip import (
    Calibration,
    Fit,
    Learned,
    LinearModel,
    RayModel,
    Temperature,
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
        worst_residual: of the samples behind it, and behind the temperature; 0 where there are none.
        draws: how many samples that is; 0 where it is exact.
    """

    calibration: Calibration
    linearisation_error: float | None
    worst_residual: float = 0.0
    draws: int = 0


def tempering(problem: Problem, found: Fit, model: RayModel, learned: Learned, config: Config) -> Temperature:
    """The factor by which the rays that choose scale the variances."""
    if _holds_all(problem, model) or not isinstance(model, LinearModel):
        return Temperature(temperature(model, found, learned, problem.holdout))
    return temperature_by_samples(
        model, found, learned, problem.holdout, settings=config.posterior, generator=problem.seeds("temperature")
    )


def judged(
    problem: Problem, found: Fit, model: RayModel, learned: Learned, tempered: Temperature, config: Config
) -> Judged:
    """Error bars of a fit without the rays that judge, held against those."""
    if _holds_all(problem, model) or not isinstance(model, LinearModel):
        return _exactly(problem, found, model, learned, tempered.factor, config)
    return _by_samples(problem, found, model, learned, tempered, config)


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
    problem: Problem, found: Fit, model: LinearModel, learned: Learned, tempered: Temperature, config: Config
) -> Judged:
    holdout = problem.holdout
    predicted = predict_by_samples(
        model,
        learned.variances,
        held=holdout.judges,
        unseen=holdout.judges | holdout.masked,
        n_steps=_LINEARISATION_DRAWS,
        settings=config.posterior,
        generator=problem.seeds("judging"),
    )
    error = linearisation_error(model.jacobian, predicted.weight_steps * config.posterior.image_temperature**0.5)
    views = _calibration(problem, found, predicted.std, tempered.factor)
    draws = predicted.scatter(_residual(problem, found))
    calibration = replace(
        views,
        chi_square_error=math.hypot(views.chi_square_error, draws.chi_square),
        coverage_error=math.hypot(views.coverage_error, draws.coverage_95),
    )
    worst = torch.tensor([predicted.worst_residual, tempered.worst_residual], dtype=torch.float64).max()  # NaN stays
    return Judged(calibration, error, float(worst), config.posterior.judging_samples)


def _calibration(problem: Problem, found: Fit, predictive: torch.Tensor, factor: float) -> Calibration:
    judges = problem.holdout.judges
    angles = [problem.scan.geometry.angles_rad[view] for view in problem.holdout.judging_views.tolist()]
    return calibrate(
        _residual(problem, found),
        predictive,
        views=torch.nonzero(judges)[:, 0],
        whole_views=problem.holdout.whole_views,
        temperature=factor,
        angles_rad=tuple(angles),
    )


def _residual(problem: Problem, found: Fit) -> torch.Tensor:
    """Of the rays that judge, (rays,)."""
    return (problem.data - problem.transform(found.image)).double()[problem.holdout.judges]
