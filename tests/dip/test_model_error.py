from __future__ import annotations

import math

import pytest
import torch

from dip import representation_profile, smooth_correlation
from operators import MatrixMap, RayTransform
from tests.cases import PARALLEL, SQUARE
from tests.dip.dense import generator


def test_mean_is_one_and_no_ray_is_negative() -> None:
    image = torch.randn(SQUARE.shape, generator=generator())
    profile = representation_profile(image, RayTransform(PARALLEL))
    assert profile.shape == RayTransform(PARALLEL).out_shape
    assert profile.dtype == torch.float64
    assert (profile >= 0).all()
    assert float(profile.mean()) == pytest.approx(1)


def test_rays_that_miss_every_edge_have_none() -> None:
    image = torch.zeros(SQUARE.shape)
    image[4:7, 5:9] = 2.0
    reached = torch.zeros(SQUARE.shape)
    reached[3:8, 4:10] = 1.0  # the block and its neighbours
    crosses = RayTransform(PARALLEL)(reached) > 0
    profile = representation_profile(image, RayTransform(PARALLEL))
    assert not crosses.all()
    assert torch.equal(profile > 0, crosses)


def test_it_is_the_line_integral_of_the_squared_local_contrast() -> None:
    image = torch.tensor([[0.0, 0.0, 0.0, 3.0], [0.0, 0.0, 0.0, 3.0], [0.0, 0.0, 1.0, 3.0]])
    squared = torch.tensor([[0.0, 0.0, 9.0, 9.0], [0.0, 1.0, 9.0, 9.0], [0.0, 1.0, 9.0, 9.0]]).double()
    pixels = MatrixMap(torch.eye(12), in_shape=(3, 4), out_shape=(3, 4))
    torch.testing.assert_close(representation_profile(image, pixels), squared / squared.mean())


@pytest.mark.parametrize("factor", [-1.0, 5.0])
def test_units_and_sign_do_not_matter(factor: float) -> None:
    image = torch.randn(SQUARE.shape, generator=generator())
    one, other = (representation_profile(f * image, RayTransform(PARALLEL)) for f in (1.0, factor))
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_an_image_without_edges_leaves_all_rays_alike() -> None:
    profile = representation_profile(torch.full(SQUARE.shape, 0.7), RayTransform(PARALLEL))
    assert torch.equal(profile, torch.ones_like(profile))


@pytest.mark.parametrize("n", [2, 41, 140])
def test_smooth_errors_are_a_correlation_that_falls_with_distance(n: int) -> None:
    correlation = smooth_correlation(n)
    torch.testing.assert_close(correlation.diagonal(), torch.ones(n, dtype=torch.float64))
    torch.testing.assert_close(correlation, correlation.mT)
    assert (correlation[0].diff() < 0).all()
    assert float(torch.linalg.eigvalsh(correlation).min()) > -1e-12 * n


def test_pixels_a_seventh_of_the_detector_apart_share_the_root_of_one_in_e() -> None:
    assert float(smooth_correlation(140)[30, 50]) == pytest.approx(math.exp(-0.5))
    assert smooth_correlation(1).tolist() == [[1.0]]
