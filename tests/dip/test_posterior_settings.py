"""How the posterior's work is divided."""

from __future__ import annotations

import pytest

from dip import PosteriorSettings


@pytest.mark.parametrize(
    ("method", "n_latent", "n_rays", "expected"),
    [
        ("cg", 150_000, 15_360, 115),  # 256 x 256 pixels and the network's weights: a GB
        ("cg", 10_000, 10_000, 128),
        ("cg", 4_000_000, 10**6, 32),
        ("cholesky", 10_000, 1_000, 32),
        ("sgd", 10_000, 1_000, 32),
    ],
)
def test_draws_that_help_each_other_are_many_where_memory_allows(
    method: str, n_latent: int, n_rays: int, expected: int
) -> None:
    assert PosteriorSettings().draws_together(method, n_latent, n_rays) == expected  # type: ignore[arg-type]
    assert PosteriorSettings(block=5).draws_together(method, n_latent, n_rays) == 5  # type: ignore[arg-type]
