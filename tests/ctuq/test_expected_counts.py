from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ctuq.expected_counts import expected_counts

Array = NDArray[np.float64]
SHAPE = (50, 70)


def drawn(expected: Array, seed: int = 0) -> Array:
    return np.random.default_rng(seed).poisson(expected).astype(float)


def estimate(signal: Array, open_beam: Array) -> Array:
    return expected_counts(signal, open_beam, np.zeros(open_beam.shape[1]))


def test_in_smooth_regions_far_closer_than_the_count_that_came_and_unaware_of_it() -> None:
    expected = 20 * np.exp(-np.linspace(0, 1, SHAPE[1])) * np.ones(SHAPE)
    signal = drawn(expected)
    found = estimate(signal, np.full(SHAPE, 20.0))
    assert np.square(found - expected).mean() < 0.15 * np.square(signal - expected).mean()
    noise = signal - expected
    assert abs((noise * (found - expected)).sum() / np.square(noise).sum()) < 0.1


def test_at_edges_of_many_photons_the_count_itself() -> None:
    expected = np.where(np.arange(SHAPE[1]) % 7 < 3, 1e5, 2e4) * np.ones(SHAPE)
    signal = drawn(expected)
    np.testing.assert_allclose(estimate(signal, np.full(SHAPE, 1e5)), expected, rtol=0.03)


def test_columns_of_a_different_open_beam_are_no_edges() -> None:
    open_beam = np.random.default_rng(1).uniform(50, 150, SHAPE[1]) * np.ones(SHAPE)
    found = estimate(drawn(0.5 * open_beam), open_beam)
    assert np.sqrt(np.square(found / open_beam - 0.5).mean()) < 0.04


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (30, 1), (2, 2)])
def test_scans_of_any_size_have_expectations(shape: tuple[int, int]) -> None:
    found = estimate(drawn(np.full(shape, 50.0)), np.full(shape, 100.0))
    assert found.shape == shape
    assert (found > 10).all()


def test_rays_without_a_count_are_not_looked_at() -> None:
    signal, open_beam = drawn(np.full(SHAPE, 30.0)), np.full(SHAPE, 60.0)
    open_beam[10:20, 5] = 0
    first = estimate(signal, open_beam)
    signal[10:20, 5] = np.nan
    np.testing.assert_array_equal(first, estimate(signal, open_beam))
    assert np.isfinite(first).all()
