from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy.special import gamma, kv
from torch import Tensor

from dip import DensePosterior, MaternPrior, SampledPosterior, WhitenedRays, covariance_root
from dip.matern import matern_correlation
from operators import GaussianNoise, GramMap, ImageGrid, ParallelBeam, RayTransform
from tests.dip.dense import conditioned, dense, generator, randn
from tests.dip.gaussian_model import METHODS, Method, pathwise

GRID = ImageGrid(shape=(5, 8), pixel_mm=0.5)
SMOOTHNESSES = pytest.mark.parametrize("smoothness", [0.5, 1.5, 2.5])


def distances() -> Tensor:
    """(pixel, pixel), mm."""
    row, col = torch.meshgrid(torch.arange(5.0), torch.arange(8.0), indexing="ij")
    centres = 0.5 * torch.stack([row.reshape(-1), col.reshape(-1)], dim=1).double()
    return torch.cdist(centres, centres, compute_mode="donot_use_mm_for_euclid_dist")


@SMOOTHNESSES
def test_correlation_is_the_bessel_function(smoothness: float) -> None:
    distance = torch.linspace(0.01, 5, 50, dtype=torch.float64)
    z = math.sqrt(2 * smoothness) * distance.numpy() / 0.7
    expected = 2 ** (1 - smoothness) / gamma(smoothness) * z**smoothness * kv(smoothness, z)
    found = matern_correlation(distance, smoothness=smoothness, length=0.7)
    torch.testing.assert_close(found, torch.from_numpy(expected))


@SMOOTHNESSES
@pytest.mark.parametrize("length_mm", [0.2, 1.3, 4.0])
def test_covariance_is_the_kernel_within_what_wraps_around(smoothness: float, length_mm: float) -> None:
    prior = MaternPrior(GRID, smoothness=smoothness, length_mm=length_mm, variance=2.5)
    expected = 2.5 * matern_correlation(distances(), smoothness=smoothness, length=length_mm)
    torch.testing.assert_close(dense(GramMap(prior)), expected, rtol=0, atol=2.5e-5)


def scan() -> RayTransform:
    return RayTransform(ParallelBeam(grid=GRID, angles_rad=(0.1, 1.0, 2.3), n_detectors=7, pitch_mm=0.5))


def gaussian_process(method: Method) -> tuple[WhitenedRays, Any, Tensor]:
    prior = MaternPrior(GRID, smoothness=1.5, length_mm=0.6, variance=2.0)
    rays = WhitenedRays(scan(), prior, GaussianNoise(0.2), torch.float64)
    pixels = 2.0 * matern_correlation(distances(), smoothness=1.5, length=0.6)
    matrix = dense(scan())
    covariance = matrix @ pixels @ matrix.mT + 0.2 * torch.eye(21, dtype=torch.float64)
    return rays, pathwise(method, rays, covariance, tolerance=1e-4), pixels


@pytest.mark.parametrize("method", METHODS)
def test_its_posterior_is_gaussian_process_regression(method: Method) -> None:
    rays, update, pixels = gaussian_process(method)
    matrix, noise = dense(scan()), 0.2 * torch.eye(21, dtype=torch.float64)
    data = randn(1, 3, 7, seed=5)
    expected = pixels @ matrix.mT @ torch.linalg.solve(matrix @ pixels @ matrix.mT + noise, data.reshape(21))
    mean = update(torch.zeros(1, *rays.in_shape, dtype=torch.float64), data).images[0]
    torch.testing.assert_close(mean.reshape(-1), expected, rtol=0, atol=1e-3)
    exact = conditioned(pixels, matrix, noise)
    posterior = SampledPosterior(update, mean=mean, n_samples=500, block=500)
    estimate = posterior.variance(generator=generator())
    assert estimate.converged
    ratio = estimate.variance.reshape(-1) / exact.diagonal()
    assert float(((ratio - 1) / math.sqrt(2 / 500)).abs().max()) < 5
    torch.testing.assert_close(posterior.covariance(), exact, rtol=0, atol=1e-5)
    dense_posterior = DensePosterior(scan(), covariance_root(pixels), noise=rays.noise, mean=mean)
    torch.testing.assert_close(dense_posterior.covariance(), exact)


def test_wrong_numbers_are_refused() -> None:
    right: dict[str, Any] = {"smoothness": 0.5, "length_mm": 1.0, "variance": 1.0}
    for name, value in (("smoothness", 1.0), ("length_mm", 0.0), ("variance", math.nan), ("length_mm", math.inf)):
        with pytest.raises(ValueError, match=name):
            MaternPrior(GRID, **{**right, name: value})
