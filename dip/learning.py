"""Learning the variances of the linear model from the scan itself: held-out rays, tempered by the evidence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, SupportsFloat, get_args

import torch
from torch import Tensor

from dip.calibration import calibrate
from dip.evidence import Learned, log_predictive, maximise, predictive_factor
from dip.expectation_maximisation import ExpectationMaximisationSettings
from dip.filter_covariance import LENGTH_BOUNDS
from dip.fit import Fit, OnStep
from dip.holdout import Holdout
from dip.hyperprior import LogNormalPrior
from dip.learning_by_sampling import learn_by_sampling, products_of_all_rays, products_of_task
from dip.learning_task import LearningTask, learning_task
from dip.linear_model import LinearModel
from dip.misfit import total_variation
from dip.posterior_settings import PosteriorSettings
from dip.ray_model import RayModel
from dip.total_variation_prior import TotalVariationPrior

EvidenceMethod = Literal["held-out", "exact", "em", "tv-map"]
Objective = Callable[[Mapping[str, float]], tuple[SupportsFloat, Tensor]]

_LEAST_NOISE = 1e-6  # of the mean square of the held-out residuals


@dataclass(frozen=True, kw_only=True)
class EvidenceSettings:
    """How the variances are learned.

    Args:
        method: "held-out" maximises the density of the rays that choose, "exact" the marginal likelihood of those and
            the fitted rays, "em" the same by samples, see `expectation_maximisation`, "tv-map" the same with a prior of
            the variances, see `TotalVariationPrior`.
        fitted_share: with "held-out", what the evidence of fitted and choosing rays together counts, against the
            held-out density's 1: a little keeps few held-out rays from finding no prior variance at all.
        tv_strength: with "tv-map", λ times the fitted image's total variation: at 1 the prior images of every group of
            weights are expected to vary as much as that image does.
        n_draws: with "em", whose noise falls with their root.
        max_rays: fitted rays that are conditioned on meanwhile, but at least one view; time grows with the cube. Where
            the model holds the covariance of some rays only, "em" needs none of it and takes all but those that judge.
        max_evaluations: of the density, or steps of "em", at most about this many.
        rows_gb: memory in GB for the rays' rows of the Jacobian; where all weights take more, they are taken some
            layers at a time, for one more product a ray each.

    Raises:
        ValueError: numbers out of range.
    """

    method: EvidenceMethod = "held-out"
    fitted_share: float = 0.001
    tv_strength: float = 1.0
    n_draws: int = 16
    max_rays: int = 2000
    max_evaluations: int = 40
    rows_gb: float = 8.0

    def __post_init__(self) -> None:
        if not 0 <= self.fitted_share <= 1:
            raise ValueError(f"fitted_share must be from 0 to 1, got {self.fitted_share}")
        for name in ("tv_strength", "rows_gb"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.method not in get_args(EvidenceMethod):
            raise ValueError(f"method must be one of {get_args(EvidenceMethod)}, got {self.method!r}")
        for name, least in {"n_draws": 2, "max_rays": 1, "max_evaluations": 1}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")


def learn(  # noqa: PLR0913  what is learned from, and how, for each method
    model: RayModel,
    found: Fit,
    data: Tensor,
    holdout: Holdout,
    *,
    floors: dict[str, float],
    settings: EvidenceSettings,
    solving: PosteriorSettings,
    generator: torch.Generator,
    on_step: OnStep | None = None,
) -> Learned:
    """Variances of all terms of the model, before any scaling. The objective is of the rays that the model holds.

    Args:
        model: linearised at the fit's network.
        found: the fit, with residuals of the rays that choose by a network that never saw them.
        data: (angle, detector), dimensionless.
        holdout: of `data`; the rays that judge are not looked at.
        floors: least variances by name.
        settings: what to maximise.
        solving: how "em" solves where the model does not hold the covariance of all rays.
        generator: of the draws of "em"; the other methods draw nothing.
        on_step: called as (evaluations, max_evaluations, {"log_density": value}), with "em" {"gain": nats of the step}.

    Raises:
        ValueError: another method than "held-out" for a model that has no weights for it to explain.
    """
    task = learning_task(model, found, data, holdout, settings.max_rays)
    # Without noise K may be singular, and data that fit to the last digit are no reason to believe it.
    floors = {"noise": _LEAST_NOISE * task.noise, **floors}
    if settings.method == "held-out":
        return _maximise(_density_of_held_out(model, task, settings), task, floors, settings, on_step)
    if isinstance(model, LinearModel):
        if settings.method == "em":
            by_sampling = ExpectationMaximisationSettings(
                n_draws=settings.n_draws, max_iterations=settings.max_evaluations
            )
            if len(model.rays) < data.numel():
                products = products_of_all_rays(model, found, data, holdout, solving, generator)
            else:
                products = products_of_task(model, task)
            return learn_by_sampling(products, task, floors, by_sampling, generator, on_step)
        return _maximise(_density_of_all(model, found, task, settings), task, floors, settings, on_step)
    raise ValueError(f"method must be held-out for a tangent kernel, got {settings.method}: try an isotropic prior")


def _maximise(
    objective: Objective,
    task: LearningTask,
    floors: dict[str, float],
    settings: EvidenceSettings,
    on_step: OnStep | None,
) -> Learned:
    def tell(done: int, total: int, value: float) -> None:
        if on_step is not None:
            on_step(done, total, {"log_density": value})

    shortest, longest = LENGTH_BOUNDS
    learned = maximise(
        objective,
        task.start(),
        floors=dict.fromkeys(task.covariance.lengths, shortest) | floors,
        ceilings=dict.fromkeys(task.covariance.lengths, longest),
        max_evaluations=settings.max_evaluations,
        on_step=tell,
    )
    return dataclasses.replace(learned, lengths=task.covariance.lengths)


def _density_of_held_out(model: RayModel, task: LearningTask, settings: EvidenceSettings) -> Objective:
    if model.hyperprior is not None:
        # It does what the evidence's share does elsewhere.
        return _posterior_of_variances(_predictive(task, share=0.0), model.hyperprior, task.covariance.names)
    return _predictive(task, share=settings.fitted_share * float(task.held.sum()) / len(task.rays))


def _density_of_all(model: LinearModel, found: Fit, task: LearningTask, settings: EvidenceSettings) -> Objective:
    if settings.method == "exact":
        return task.evidence
    rate = settings.tv_strength / (float(total_variation(found.image)) or 1.0)
    prior = TotalVariationPrior(model.jacobian, model.groups, rate=rate)
    return _posterior_of_variances(task.evidence, prior, task.covariance.names)


def _predictive(task: LearningTask, *, share: float) -> Objective:
    def predictive(variances: Mapping[str, float]) -> tuple[SupportsFloat, Tensor]:
        return log_predictive(task.covariance, variances, task.held_residual, task.held, data=task.drive, share=share)

    return predictive


def _posterior_of_variances(
    likelihood: Objective, prior: TotalVariationPrior | LogNormalPrior, names: tuple[str, ...]
) -> Objective:
    def objective(variances: Mapping[str, float]) -> tuple[float, Tensor]:
        value, slope = likelihood(variances)
        density, slopes = prior.log_density(variances)
        return float(value) + density, slope + torch.tensor([slopes.get(name, 0.0) for name in names]).to(slope)

    return objective


def temperature(model: RayModel, found: Fit, learned: Learned, holdout: Holdout) -> float:
    """Chi-square per choosing ray given the rays that its member fitted: the factor that the variances lack.

    Of an ensemble it is a little too large: the residuals are single members', and their mean's are smaller.

    Two rays that came out just as expected are counted in, so that very few rays cannot move it far.

    Args:
        model: linearised at the fit's network.
        found: the fit, with residuals of the rays that choose.
        learned: variances of the model.
        holdout: which rays choose; those that judge are not looked at.
    """
    rays = torch.nonzero(~(holdout.judges | holdout.masked).reshape(-1))[:, 0]
    factor = torch.linalg.cholesky(model.covariance.select(rays).matrix(learned.variances))
    total, n_held = 2.0, 2
    for chooses, residuals in zip(holdout.chooses, found.holdout_residual, strict=True):
        held = chooses.reshape(-1)[rays]
        residual = residuals.reshape(-1).double()[rays][held]
        total += len(residual) * calibrate(residual, predictive_factor(factor, held)).chi_square
        n_held += len(residual)
    return total / n_held
