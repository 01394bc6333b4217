"""Rays predicted by samples, against the same rays by dense algebra."""

from __future__ import annotations

import math

import torch

from dip import Fit, Holdout, Learned, PosteriorSettings, predict_by_samples, predictive_factor, temperature
from dip import temperature_by_samples as by_samples
from tests.dip.dense import generator, randn
from tests.dip.test_linear_model import model, variances

N = 2_000
SETTINGS = PosteriorSettings(method="cg", judging_samples=N, batch=1_000, tolerance=1e-3, preconditioner_rank=10)
HELD = torch.zeros(3, 8, dtype=torch.bool)
HELD[1] = True


def exact_std() -> torch.Tensor:
    linear = model()
    factor = torch.linalg.cholesky(linear.covariance.matrix(variances(linear)))
    return predictive_factor(factor, HELD.reshape(-1)).square().sum(1).sqrt()


def test_deviations_of_rays_that_were_left_out_are_those_of_dense_algebra() -> None:
    linear = model()
    known = predict_by_samples(
        linear, variances(linear), held=HELD, unseen=HELD, settings=SETTINGS, generator=generator(5)
    )
    z = (known.std.square() / exact_std().square() - 1) / math.sqrt(2 / N)
    assert z.abs().max() < 5
    assert known.weight_steps.shape == (N, linear.jacobian.in_shape[0])
    assert known.relative_residual <= SETTINGS.tolerance


def test_what_rays_measured_is_used_unless_they_are_left_out() -> None:
    linear = model()
    every = torch.ones_like(HELD)
    alone = predict_by_samples(
        linear, variances(linear), held=HELD, unseen=every, settings=SETTINGS, generator=generator(5)
    )
    prior = linear.covariance.matrix(variances(linear)).diagonal()[HELD.reshape(-1)].sqrt()
    torch.testing.assert_close(alone.std, prior, rtol=0.1, atol=0)
    assert (alone.std > exact_std()).all()


def test_the_temperature_is_the_mean_square_score() -> None:
    linear = model()
    nothing = torch.zeros_like(HELD)
    holdout = Holdout(HELD[None], nothing, nothing)
    residual = torch.where(HELD, 3 * randn(3, 8, seed=9), 0.0)[None]
    empty = torch.zeros(0)
    found = Fit((), empty, empty, 0.0, 0.0, (), residual, empty, empty, empty)
    learned = Learned(variances(linear), 0.0, 0, converged=True)
    factor = by_samples(linear, found, learned, holdout, settings=SETTINGS, generator=generator(6))
    squares = (residual[0][HELD].double() / exact_std()).square()
    assert abs(factor / float((squares.sum() + 2) / (len(squares) + 2)) - 1) < 0.1
    assert 0.2 < factor / temperature(linear, found, learned, holdout) < 5
