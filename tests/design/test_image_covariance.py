from __future__ import annotations

import math

import pytest
import torch

from design import ImageCovariance, exact_covariance, sampled_covariance
from operators import GaussianNoise
from tests.design.scene import (
    CANDIDATES,
    N_PIXELS,
    SHAPE,
    covariance,
    full,
    given,
    noise,
    own_covariance,
    posterior,
)
from tests.dip.dense import generator, randn, standard_scores


def test_the_exact_covariance_is_the_posteriors() -> None:
    found = exact_covariance(posterior())
    torch.testing.assert_close(full(found), posterior().covariance())
    torch.testing.assert_close(found.variance, posterior().variance().variance)
    assert found.n_samples is None


def test_the_sampled_covariance_is_the_posteriors_within_its_error() -> None:
    found = sampled_covariance(posterior(), 4_000, generator=generator(1))
    exact = posterior().covariance()
    scores = standard_scores(math.sqrt(4_000) * found.factor.mT, exact)
    assert float(scores.abs().max()) < 5
    assert (found.rank, found.n_samples) == (4_000, 4_000)


def test_projected_factors_are_rays_in_units_of_their_noise() -> None:
    image, errors = covariance(), noise(shared=True)
    rays = image.project(CANDIDATES.transform, errors, batch=7)
    for index in (0, 5):
        torch.testing.assert_close(rays[index] @ rays[index].mT, own_covariance(full(image), index, errors))


def test_observing_is_conditioning() -> None:
    errors = noise()
    assert isinstance(errors.variance, torch.Tensor)
    after = covariance().observing(CANDIDATES.transform.select([2, 4]), GaussianNoise(errors.variance[[2, 4]]))
    torch.testing.assert_close(full(after), given(full(covariance()), [2, 4], errors))


def test_a_lower_rank_keeps_every_pixels_variance() -> None:
    image = covariance(residual=0.3)
    for rank in (1, 7, N_PIXELS):
        lower = image.low_rank(rank, generator=generator())
        torch.testing.assert_close(lower.variance, image.variance)
        assert lower.rank == rank
    torch.testing.assert_close(full(image.low_rank(N_PIXELS, generator=generator())), full(image))


def test_a_lower_rank_keeps_the_leading_directions() -> None:
    # Singular values 1, 1/2, 1/4, ...: what is lost is the next one.
    left, right = (torch.linalg.qr(randn(N_PIXELS, N_PIXELS, seed=seed)).Q for seed in (1, 2))
    factor = left * 0.5 ** torch.arange(N_PIXELS) @ right
    image = ImageCovariance(SHAPE, factor, torch.zeros(N_PIXELS, dtype=torch.float64))
    lower = image.low_rank(4, generator=generator(), power_iterations=4)
    lost = torch.linalg.eigvalsh(full(image) - lower.factor @ lower.factor.mT)
    assert float(lost.max()) == pytest.approx(0.5**8, rel=1e-3)
    assert float(lost.min()) > -1e-12


@pytest.mark.parametrize(
    ("factor", "residual", "message"),
    [
        (randn(19, 3), torch.zeros(20), r"factor must be \(20, rank\)"),
        (randn(20, 3), torch.zeros(19), r"residual must be \(20,\)"),
        (randn(20, 3), torch.full((20,), -1.0), "nowhere negative"),
    ],
)
def test_shapes_are_checked(factor: torch.Tensor, residual: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageCovariance(SHAPE, factor, residual)


def test_ranks_and_draws_out_of_range_are_refused() -> None:
    for rank in (0, N_PIXELS + 1):
        with pytest.raises(ValueError, match="rank must lie between 1 and the factor's 20"):
            covariance().low_rank(rank, generator=generator())
    with pytest.raises(ValueError, match="at least 2, got 1"):
        sampled_covariance(posterior(), 1, generator=generator())
