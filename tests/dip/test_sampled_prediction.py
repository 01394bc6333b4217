"""Rays predicted by samples, against the same rays by dense algebra."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import chi2
from torch import Tensor

from dip import Fit, Holdout, Learned, PosteriorSettings, Prediction, calibrate, predict_by_samples
from dip import temperature_by_samples as by_samples
from dip.sampled_prediction import unbiased_precision
from tests.dip.dense import generator, randn
from tests.dip.test_linear_model import model

N = 2_000
SETTINGS = PosteriorSettings(method="cg", judging_samples=N, block=1_000, tolerance=1e-3, preconditioner_rank=10)
# Rays say much more of themselves than others say of them, so that one learned from by mistake would show.
VARIANCES = {"all": 1.0, "pixels": 0.3, "smooth": 1e-3, "representation": 1e-3, "noise": 1e-3}
HELD, JUDGES, MASKED = torch.zeros(3, 3, 8, dtype=torch.bool)
HELD[1], JUDGES[0], MASKED[2, :5] = True, True, True
NOTHING = torch.zeros_like(HELD)
ERROR = 5 * math.sqrt(2 / N)  # of a variance


def exact_std(unseen: Tensor) -> Tensor:
    """Of the held rays, given all that are not unseen."""
    covariance = model().covariance.matrix(VARIANCES)
    held, known = HELD.reshape(-1), ~unseen.reshape(-1)
    gain = torch.linalg.solve(covariance[known][:, known], covariance[known][:, held])
    own: Tensor = covariance[held][:, held] - covariance[held][:, known] @ gain
    return own.diagonal().sqrt()


def predicted(unseen: Tensor, *, n_steps: int = 0) -> Prediction:
    return predict_by_samples(
        model(), VARIANCES, held=HELD, unseen=unseen, n_steps=n_steps, settings=SETTINGS, generator=generator(5)
    )


@pytest.mark.parametrize("unseen", [HELD, HELD | JUDGES, HELD | MASKED, HELD | JUDGES | MASKED])
def test_deviations_of_rays_that_were_left_out_are_those_of_dense_algebra(unseen: Tensor) -> None:
    known, exact = predicted(unseen), exact_std(unseen).square()
    assert float((known.std.square() / exact - 1).abs().max()) < ERROR
    assert known.worst_residual <= SETTINGS.tolerance
    # Had it learned from the held rays, the test would have shown it.
    everything = model().covariance.matrix(VARIANCES)
    noise = torch.linalg.inv(torch.linalg.inv(everything - 1e-3 * torch.eye(24)) + 1e3 * torch.eye(24)).diagonal()
    assert float((exact / (noise + 1e-3)[HELD.reshape(-1)]).min()) > 1 + 4 * ERROR


def test_only_the_weights_that_were_asked_for_are_kept() -> None:
    (n_weights,) = model().jacobian.in_shape
    few, more = predicted(HELD, n_steps=3), predicted(HELD, n_steps=1_200)
    assert few.weight_steps.shape == (3, n_weights)
    assert more.weight_steps.shape == (1_200, n_weights)
    assert torch.equal(more.weight_steps[:3], few.weight_steps)
    assert predicted(HELD).weight_steps.shape == (0, n_weights)


def test_the_temperature_is_the_mean_square_score_given_the_fitted_rays_alone() -> None:
    holdout = Holdout(HELD[None], JUDGES, MASKED)
    residual = torch.zeros(1, 3, 8, dtype=torch.float64)
    residual[0, 1, 2:6] = 3.0  # where others say most
    empty = torch.zeros(0)
    found = Fit((), empty, empty, 0.0, 0.0, (), residual, empty, empty, empty)
    learned = Learned(VARIANCES, 0.0, 0, converged=True)

    def expected(unseen: Tensor) -> float:
        squares = (residual[0][HELD].double() / exact_std(unseen)).square()
        return float((squares.sum() + 2) / (len(squares) + 2))

    tempered = by_samples(model(), found, learned, holdout, settings=SETTINGS, generator=generator(6))
    right = expected(HELD | JUDGES | MASKED)
    assert abs(tempered.factor / right - 1) < ERROR
    assert 0 < tempered.worst_residual <= SETTINGS.tolerance
    for leaking in (HELD | JUDGES, HELD | MASKED):
        assert abs(expected(leaking) / right - 1) > 1.5 * ERROR


@pytest.mark.parametrize("n", [2, 3, 8, 33])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_the_estimate_of_the_precision_has_no_bias(n: int, share: float) -> None:
    def weighted(squares: float) -> float:
        estimate = unbiased_precision(torch.tensor([share * squares]).double(), torch.tensor([1 - share]).double(), n)
        return float(estimate) * float(chi2.pdf(squares, n))

    assert quad(weighted, 0, 400, points=[1e-3, 0.1, n], limit=200)[0] == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("n", [6, 31, 64])
@pytest.mark.parametrize("signal", [1e2, 1e5, 1e9, 1e13])
def test_hardly_any_noise_leaves_the_estimate_without_noise(n: int, signal: float) -> None:
    squares = torch.tensor([2 * n * signal, 1.0]).double()
    found = unbiased_precision(squares, torch.ones(2).double(), n)
    assert float(found[0] * squares[0]) == pytest.approx(n - 2, rel=10 / signal)
    # Both formulas where they meet.
    near, far = (unbiased_precision(torch.tensor([x * n * 100]), torch.ones(1).double(), n) for x in (0.9999, 1.0001))
    assert float(near / far) == pytest.approx(1.0002, rel=1e-5)


def of_draws(n: int, residual: Tensor, *, seed: int, share: float) -> Prediction:
    """Rays of variance 1, of which `share` is the image's, of three directions that all rays share."""
    factor = randn(len(residual), 3, seed=77)
    factor *= (share / factor.square().sum(1, keepdim=True)).sqrt()
    draws = randn(n, 3, seed=seed) @ factor.mT
    return Prediction(draws, torch.full_like(residual, 1 - share), torch.zeros(0, 0), 0.0)


@pytest.mark.parametrize(("n", "share"), [(8, 0.9), (32, 0.9), (8, 0.5)])
def test_chi_square_of_few_draws_is_one_and_its_error_is_known(n: int, share: float) -> None:
    views = torch.arange(20).repeat_interleave(30)
    plain, found, errors, scatters = [], [], [], []
    for seed in range(400):
        residual = randn(600, seed=seed)  # apart from the draws, they err independently
        known = of_draws(n, residual, seed=10_000 + seed, share=share)
        said = calibrate(residual, known.std, views=views)
        scatter = known.scatter(residual)
        plain.append(float((residual.square() / (known.draws.square().mean(0) + known.noise)).mean()))
        found.append((said.chi_square, said.coverage_95))
        errors.append((said.chi_square_error, said.coverage_error))
        scatters.append(scatter)
    spread = torch.tensor(found).std(dim=0)
    means = torch.tensor(found).mean(dim=0)
    assert abs(float(means[0]) - 1) < 4 * float(spread[0]) / 20
    assert abs(float(means[1]) - 0.95) < 0.01
    assert sum(plain) / 400 > 1 + 0.8 * 2 / n * share**2
    by_views, by_draws = (torch.tensor(part).square().mean(dim=0) for part in (errors, scatters))
    both = (by_views + by_draws).sqrt()
    assert 0.9 < float(both[0] / spread[0]) < 1.2
    assert 0.9 < float(both[1] / spread[1]) < 1.4
    assert float(by_views[0].sqrt() / spread[0]) < 0.5  # views alone know little of it
