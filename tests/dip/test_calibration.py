from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from dip import calibrate
from dip.calibration import between_views
from tests.dip.dense import generator, positive_definite, randn

N = 1500
FACTOR = torch.linalg.cholesky(positive_definite(N))
ERROR = math.sqrt(2 / N)


@pytest.mark.parametrize("seed", range(3))
def test_chi_square_of_draws_from_the_prediction_is_one(seed: int) -> None:
    assert abs(calibrate(FACTOR @ randn(N, seed=seed), FACTOR).chi_square - 1) < 5 * ERROR


def test_half_the_covariance_doubles_chi_square() -> None:
    chi_square = calibrate(FACTOR @ randn(N), FACTOR / math.sqrt(2)).chi_square
    assert abs(chi_square - 2) < 5 * 2 * ERROR


@pytest.mark.parametrize("overconfidence", [1.0, 2.0])
def test_coverage_counts_the_rays_inside_their_intervals(overconfidence: float) -> None:
    sd = 0.1 + randn(N, seed=3).square()
    found = calibrate(sd * randn(N), torch.diag(sd / overconfidence))
    nominal = found.nominal.numpy()
    expected = torch.from_numpy(2 * norm.cdf(norm.ppf((1 + nominal) / 2) / overconfidence) - 1)
    spread = (expected * (1 - expected) / N).sqrt()
    assert float(((found.observed - expected) / spread).abs().max()) < 5
    assert found.coverage_95 == float(found.observed[-1])
    torch.testing.assert_close(found.nominal, torch.arange(0.05, 0.96, 0.05, dtype=torch.float64))


def test_z_is_each_ray_over_its_own_deviation() -> None:
    residual = FACTOR @ randn(N, seed=1)
    found = calibrate(residual, FACTOR)
    torch.testing.assert_close(found.z, residual / (FACTOR @ FACTOR.mT).diagonal().sqrt())
    assert abs(float(found.z.mean())) < 1


def test_correlations_count_in_chi_square_but_not_in_z() -> None:
    shared = torch.full((2, 2), 0.99, dtype=torch.float64).fill_diagonal_(1.0)
    factor = torch.linalg.cholesky(shared)
    together, apart = (calibrate(torch.tensor(pair, dtype=torch.float64), factor) for pair in ([1.0, 1.0], [1.0, -1.0]))
    torch.testing.assert_close(together.z.abs(), apart.z.abs())
    assert together.chi_square == pytest.approx(1 / 1.99)
    assert apart.chi_square == pytest.approx(1 / 0.01)


def test_what_is_carried_along() -> None:
    residual = torch.randn(4, generator=generator(), dtype=torch.float64)
    found = calibrate(residual, torch.eye(4, dtype=torch.float64), temperature=1.7, angles_rad=(0.1, 0.2))
    assert (found.n_rays, found.n_angles, found.temperature, found.angles_rad) == (4, 2, 1.7, (0.1, 0.2))


def test_standard_errors_are_of_views_as_their_rays_err_together() -> None:
    """Against the scatter over many repetitions, of rays that share most of their error with their view."""
    views = torch.arange(12).repeat_interleave(20)
    chi_squares, errors = [], []
    for seed in range(200):
        shared = randn(12, seed=seed)[views]
        found = calibrate(
            0.9**0.5 * shared + 0.1**0.5 * randn(240, seed=1000 + seed), torch.eye(240).double(), views=views
        )
        chi_squares.append(found.chi_square)
        errors.append(found.chi_square_error)
    scatter = float(torch.tensor(chi_squares).std())
    known = float(torch.tensor(errors).square().mean().sqrt())
    assert 0.8 < known / scatter < 1.25
    assert scatter > 3 * math.sqrt(2 / 240)  # what independent rays would have


@given(
    n_views=st.integers(2, 6),
    n_detectors=st.integers(1, 40),
    outside=st.integers(0, 40),
    scale=st.floats(0.1, 3.0),
    seed=st.integers(0, 1000),
)
def test_views_that_agree_by_chance_know_no_more_than_independent_rays(
    n_views: int, n_detectors: int, outside: int, scale: float, seed: int
) -> None:
    view = torch.where(torch.arange(n_detectors) < outside, 3.0, scale * randn(n_detectors, seed=seed).clamp(-0.6, 0.6))
    views = torch.arange(n_views).repeat_interleave(n_detectors)
    found = calibrate(view.repeat(n_views).double(), torch.ones(len(views)).double(), views=views)
    assert between_views(found.z.square(), views) == pytest.approx(0, abs=1e-6)  # the views are the same
    assert found.chi_square_error == pytest.approx(math.sqrt(2 / len(views)))
    share = found.coverage_95
    assert found.coverage_error > 0
    assert found.coverage_error >= math.sqrt(share * (1 - share) / len(views))


def test_standard_error_of_equal_views_is_the_usual_one() -> None:
    values, views = randn(40), torch.arange(4).repeat_interleave(10)
    means = values.reshape(4, 10).mean(dim=1)
    assert between_views(values, views) == pytest.approx(float(means.std() / 2))


def test_one_view_knows_nothing_of_what_views_differ_in() -> None:
    assert math.isnan(calibrate(randn(5), torch.eye(5).double()).coverage_error)


def test_deviations_alone_are_a_factor_that_is_diagonal() -> None:
    residual, std = randn(30, seed=4).double(), randn(30, seed=5).double().abs() + 0.1
    alone, whole = calibrate(residual, std), calibrate(residual, torch.diag(std))
    assert alone.chi_square == pytest.approx(whole.chi_square)
    torch.testing.assert_close(alone.z, whole.z)
