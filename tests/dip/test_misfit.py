from __future__ import annotations

import math

import numpy as np
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dip import RampMisfit, total_variation
from dip.misfit import noise_level
from tests.dip.dense import generator


def test_total_variation_counts_every_neighbour_once() -> None:
    image = torch.tensor([[0.0, 1.0, 3.0], [0.0, -1.0, 3.0]])
    assert float(total_variation(image)) == (1 + 2) + (1 + 4) + (0 + 2 + 0)


def test_of_a_volume_it_counts_neighbouring_slices_too() -> None:
    flat = torch.tensor([[0.0, 1.0, 3.0], [0.0, -1.0, 3.0]])
    volumes = torch.stack([flat, flat + 2]).expand(5, 2, 2, 3)
    assert total_variation(volumes, axes=3).tolist() == [2 * 10 + 6 * 2] * 5


def test_rows_of_a_volumes_detector_are_filtered_each_by_itself() -> None:
    residual = torch.randn(2, 3, 4, 7, generator=generator(), dtype=torch.float64)
    rows = RampMisfit((3, 7), 0.1)(residual.movedim(2, 1)).sum(1)
    torch.testing.assert_close(RampMisfit((3, 4, 7), 0.1)(residual), rows)


def ramp_matrix(n: int, floor: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """The filter as a Toeplitz matrix: its kernel is a sum of cosines."""
    frequency = np.arange(2 * n)
    omega = np.minimum(frequency, 2 * n - frequency) / n
    gain = np.ones(2 * n) if math.isinf(floor) else (omega + floor) / (1 + floor)
    kernel = np.cos(np.pi * np.outer(np.arange(n), frequency) / n) @ gain / (2 * n)
    return np.asarray(scipy.linalg.toeplitz(kernel))


@settings(max_examples=50, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 30)),
    floor=st.floats(0, 5) | st.just(math.inf),
    seed=st.integers(0, 99),
)
def test_ramp_misfit_is_the_dense_quadratic_form(shape: tuple[int, int], floor: float, seed: int) -> None:
    residual = torch.randn(3, 2, *shape, generator=generator(seed), dtype=torch.float64)
    expected = torch.einsum("bvwi,ij,bvwj->bv", residual, torch.as_tensor(ramp_matrix(shape[1], floor)), residual)
    # The filter is kept in float32.
    bound = 10 * torch.finfo(torch.float32).eps * residual.square().sum(dim=(-2, -1))
    assert ((RampMisfit(shape, floor)(residual) - expected).abs() <= bound).all()


def test_an_infinite_floor_is_least_squares() -> None:
    residual = torch.randn(4, 7, generator=generator(), dtype=torch.float64)
    torch.testing.assert_close(RampMisfit(residual.shape, math.inf)(residual), residual.square().sum())


def test_mean_gain_is_the_misfit_of_white_noise() -> None:
    misfit = RampMisfit((3, 17), 0.1)
    white = torch.randn(4_000, 3, 17, generator=generator(0), dtype=torch.float64)
    energies = misfit(white)
    error = float(energies.std() / math.sqrt(len(energies)))
    assert abs(float(energies.mean()) - 3 * 17 * misfit.mean_gain) < 4 * error


def test_noise_is_told_from_slopes_and_edges() -> None:
    n_views, n_detectors, sd = 40, 200, 0.05
    precision = torch.rand(n_views, n_detectors, generator=generator(1)) + 0.5
    object_ = torch.linspace(0, 3, n_detectors) + 2.0 * (torch.arange(n_detectors) > 120)
    noise = sd * torch.randn(n_views, n_detectors, generator=generator(2)) / precision.sqrt()
    # The median of n absolute values scatters by 1.17/sqrt(n); second differences overlap, hence the 4 and the 3.
    bound = 4 * 1.17 * math.sqrt(3 / (n_views * n_detectors))
    assert abs(noise_level(object_ + noise, precision) / sd - 1) < bound
    assert noise_level((object_ + noise)[:, None], precision[:, None]) == noise_level(object_ + noise, precision)
    wild, blind = (object_ + noise).clone(), precision.clone()
    wild[:, 50:60], blind[:, 50:60] = 1e6, 0.0
    assert abs(noise_level(wild, blind) / sd - 1) < 1.1 * bound
    assert noise_level(wild[:, :2], blind[:, :2]) == 0
