from __future__ import annotations

import pytest
import torch

from dip import estimate_sensitivity, ray_jacobian, sensitivity_of
from operators import RayTransform
from tests.cases import OBLONG, PARALLEL_OFFSET, network_jacobian
from tests.dip.dense import generator, randn

JACOBIAN, TRANSFORM = network_jacobian(shape=OBLONG.shape), RayTransform(PARALLEL_OFFSET)
NOISE = 0.5 + torch.rand(TRANSFORM.out_shape, generator=generator(3), dtype=torch.float64)
EXACT = sensitivity_of(ray_jacobian(JACOBIAN, TRANSFORM), NOISE.reshape(-1))


def test_it_is_the_mean_square_over_the_rays() -> None:
    rows, noise = randn(131, 7), 0.1 + randn(131, seed=1).square()
    white = rows / noise[:, None].sqrt()
    torch.testing.assert_close(sensitivity_of(rows, noise), (white.mT @ white).diagonal() / 131)
    torch.testing.assert_close(sensitivity_of(rows.float(), noise), sensitivity_of(rows, noise), rtol=1e-6, atol=0)


@pytest.mark.parametrize("seed", range(2))
def test_random_signs_estimate_it_within_their_error(seed: int) -> None:
    estimate = estimate_sensitivity(JACOBIAN, TRANSFORM, NOISE, 1000, generator=generator(seed))
    z = (estimate.mean_square - EXACT) / estimate.standard_error
    assert float(z.abs().max()) < 5
    # All weights share the draws, so that their errors are correlated: only their size is known.
    assert 0.1 < float(z.square().mean()) < 4


def test_more_draws_have_a_smaller_error() -> None:
    def error(n: int, seed: int) -> float:
        estimate = estimate_sensitivity(JACOBIAN, TRANSFORM, NOISE, n, generator=generator(seed))
        return float(estimate.standard_error.sum())

    few = [error(100, seed) for seed in range(8)]  # the error of an error: one alone is off by a quarter
    assert sum(few) / len(few) / error(1600, 9) == pytest.approx(4, rel=0.25)


def test_one_draw_has_no_error_to_tell() -> None:
    with pytest.raises(ValueError, match="n must be at least 2, got 1"):
        estimate_sensitivity(JACOBIAN, TRANSFORM, NOISE, 1, generator=generator())
