from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import norm

from dip import calibrate
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
