from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ctuq.network_input import network_input
from operators import ImageGrid, ParallelBeam, filtered_back_projection

GEOMETRY = ParallelBeam(
    grid=ImageGrid(shape=(12, 12)), angles_rad=[math.pi * k / 9 for k in range(9)], n_detectors=15, pitch_mm=1.0
)
SINOGRAM = torch.rand(9, 15, generator=torch.Generator().manual_seed(0))


def mask(*, views: tuple[int, ...] = (), detectors: tuple[int, ...] = ()) -> Tensor:
    seen = torch.ones(9, 15, dtype=torch.bool)
    seen[list(views)] = False
    seen[:, list(detectors)] = False
    return seen


def test_all_rays_seen_is_the_smooth_back_projection() -> None:
    expected = filtered_back_projection(GEOMETRY, SINOGRAM, window="hann")
    torch.testing.assert_close(network_input(GEOMETRY, SINOGRAM, mask()), expected)


@pytest.mark.parametrize("seen", [mask(views=(2, 5)), mask(detectors=(0, 3, 4, 14)), mask(views=(1,), detectors=(7,))])
def test_unseen_rays_leave_no_trace(seen: Tensor) -> None:
    before = SINOGRAM.clone()
    image = network_input(GEOMETRY, SINOGRAM, seen)
    assert torch.equal(image, network_input(GEOMETRY, torch.where(seen, SINOGRAM, math.nan), seen))
    assert torch.equal(SINOGRAM, before)


def test_views_without_a_seen_ray_are_left_out() -> None:
    kept = [view for view in range(9) if view not in (2, 5)]
    expected = filtered_back_projection(GEOMETRY.select(kept), SINOGRAM[kept], window="hann")
    torch.testing.assert_close(network_input(GEOMETRY, SINOGRAM, mask(views=(2, 5))), expected)


def test_missing_rays_of_a_view_are_interpolated() -> None:
    straight = torch.linspace(1, 3, 15).expand(9, -1)
    whole = network_input(GEOMETRY, straight, mask())
    torch.testing.assert_close(network_input(GEOMETRY, straight, mask(detectors=(4, 5, 9))), whole)
