from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from design import FactorDowndate
from tests.dip.dense import conditioned, randn


@settings(max_examples=40, deadline=None)
@given(
    n_pixels=st.integers(1, 6), rank=st.integers(1, 7), n_rays=st.integers(1, 5), seed=st.integers(0, 99),
    size=st.sampled_from([1e-3, 1.0, 1e3]),
)  # fmt: skip
def test_downdating_a_factor_is_conditioning_its_covariance(
    n_pixels: int, rank: int, n_rays: int, seed: int, size: float
) -> None:
    factor, seen = randn(n_pixels, rank, seed=seed), size * randn(n_rays, n_pixels, seed=seed + 100)
    after = FactorDowndate.by(seen @ factor)(factor)
    exact = conditioned(factor @ factor.mT, seen, torch.eye(n_rays, dtype=torch.float64))
    torch.testing.assert_close(after @ after.mT, exact, rtol=1e-7, atol=1e-8)


def test_variances_stay_right_where_a_difference_would_lose_them() -> None:
    # A pixel of deviation 1e8 seen by a ray of noise 1: the difference 1e16 - 1e16 / (1 + 1e-16) is 0 or 2.
    factor = torch.tensor([[1e8, 0.0], [0.0, 1e-8]], dtype=torch.float64)
    after = FactorDowndate.by(factor)(factor)
    variances = after.square().sum(dim=1)
    torch.testing.assert_close(variances, torch.tensor([1.0, 1e-16], dtype=torch.float64), rtol=1e-6, atol=0)


def test_what_is_seen_is_the_share_of_variance_taken_away() -> None:
    downdate = FactorDowndate.by(torch.tensor([[3.0, 0.0], [0.0, 0.5]], dtype=torch.float64))
    torch.testing.assert_close(downdate.seen, torch.tensor([0.9, 0.2], dtype=torch.float64))
