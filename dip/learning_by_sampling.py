"""Variances by expectation maximisation, from a covariance that is held or from products with the network alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dip.evidence import Learned
from dip.expectation_maximisation import (
    ExpectationMaximisationSettings,
    LatentRays,
    Solve,
    expectation_maximisation,
)
from dip.fit import Fit, OnStep
from dip.holdout import Holdout
from dip.learning_task import LearningTask
from dip.linear_model import LinearModel
from dip.posterior_settings import PosteriorSettings
from dip.preconditioned_solve import PreconditionedSolve
from operators import Solution

_CLOSER = 0.4  # to the solution than draws need be: what is left of the data counts as noise


@dataclass(frozen=True)
class Products:
    """What is learned from: K by its products, data and a way to solve.

    Args:
        rays: K.
        drive: the data, (rays,) float64.
        solve: with K.
    """

    rays: LatentRays
    drive: Tensor
    solve: Solve


def products_of_task(model: LinearModel, task: LearningTask) -> Products:
    """Of the rays of the task, whose covariance is held."""

    def solve(variances: Mapping[str, float], columns: Tensor, _start: Tensor) -> Solution:
        value = torch.cholesky_solve(columns.mT, torch.linalg.cholesky(task.covariance.matrix(variances))).mT
        return Solution.exact(value)

    return Products(model.latent_rays(model.rays[task.rays]), task.drive, solve)


def products_of_all_rays(
    model: LinearModel,
    found: Fit,
    data: Tensor,
    holdout: Holdout,
    solving: PosteriorSettings,
    generator: torch.Generator,
) -> Products:
    """Of all rays but those that judge, whose covariance is too large to hold.

    Args:
        model: linearised at the fit's network.
        found: the fit.
        data: (angle, detector), dimensionless.
        holdout: of `data`; the rays that judge are not looked at.
        solving: how to solve.
        generator: of the preconditioner.
    """
    every = torch.nonzero(~(holdout.judges | holdout.masked).reshape(-1))[:, 0]
    weights = model.jacobian.weights()
    drive = (data - model.transform(found.image)).double() + model.transform(model.jacobian(weights)).double()
    rays = model.latent_rays(every)
    solve = PreconditionedSolve(
        rays,
        tolerance=_CLOSER * solving.tolerance,
        iterations=solving.max_iterations,
        rank=solving.preconditioner_rank,
        generator=generator,
        rounding=torch.finfo(weights.dtype).eps,
        batch=solving.draws_together("cg", len(weights) + math.prod(model.jacobian.out_shape), len(every)),
    )
    return Products(rays, drive.reshape(-1)[every], solve)


def learn_by_sampling(
    products: Products,
    task: LearningTask,
    floors: Mapping[str, float],
    settings: ExpectationMaximisationSettings,
    generator: torch.Generator,
    on_step: OnStep | None,
) -> Learned:
    """Variances of all terms by `expectation_maximisation`.

    Args:
        products: what is learned from.
        task: says where to begin, and of which rays the objective that is reported is.
        floors: least variances by name.
        settings: when to stop, and how sure to be.
        generator: of the draws.
        on_step: called as (iterations, max_iterations, {"gain": nats of the step}).
    """

    def tell(done: int, total: int, gain: float) -> None:
        if on_step is not None:  # the evidence itself would take another factorisation
            on_step(done, total, {"gain": gain})

    estimate = expectation_maximisation(
        products.rays,
        products.drive,
        task.start(),
        solve=products.solve,
        generator=generator,
        settings=settings,
        floors=floors,
        on_step=tell,
    )
    value = float(task.evidence(estimate.variances)[0])
    return Learned(
        estimate.variances,
        value,
        estimate.iterations,
        estimate.converged,
        task.covariance.lengths,
        solved=estimate.solved,
    )
