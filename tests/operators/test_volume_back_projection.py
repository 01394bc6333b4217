from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from operators import ConeBeam, FanBeam, ParallelBeam, SliceStack, VolumeGrid, filtered_back_projection
from tests.cases import CONE, CONE_OFFSET, VOLUME_SCANS
from tests.operators.ball import CENTRE_MM, RADIUS_MM, ball_projections, ball_volume
from tests.operators.test_filtered_back_projection import CIRCLE, fan, parallel

GRID = VolumeGrid(shape=(20, 24, 24), pixel_mm=1.0)
FULL = ConeBeam(
    grid=GRID,
    angles_rad=CIRCLE[::4],
    n_rows=36,
    n_detectors=48,
    pitch_mm=1.5,
    source_origin_mm=70.0,
    origin_detector_mm=50.0,
)
OBLONG = VolumeGrid(shape=(30, 24, 24), pixel_mm=1.0, slice_mm=0.7, centre_z_mm=0.8)
CONES = {
    "circle": FULL,
    "offset-axis-and-row": replace(FULL, cor_index=26.4, mid_row_index=15.6, n_rows=40),
    "half-acquisition": replace(FULL, n_detectors=36, cor_index=9.0),
    "short": replace(FULL, angles_rad=tuple(np.deg2rad(np.arange(0, 226, 3)))),
    "short-reversed": replace(FULL, angles_rad=tuple(np.deg2rad(np.arange(0, 230, 3) + 250)[::-1])),
    "oblong": replace(FULL, grid=OBLONG, row_pitch_mm=1.1, n_rows=50),
}


def ball_inside(grid: VolumeGrid) -> torch.Tensor:
    """The voxels at least two pixels within the ball's surface."""
    z, y, x = CENTRE_MM
    plane = (grid.plane.x_mm() - x) ** 2 + (grid.plane.y_mm()[:, None] - y) ** 2
    return ((grid.z_mm()[:, None, None] - z) ** 2 + plane).sqrt() < RADIUS_MM - 2 * grid.pixel_mm


@pytest.mark.parametrize("name", CONES)
def test_a_balls_attenuation_comes_back(name: str) -> None:
    cone = CONES[name]
    volume, truth = filtered_back_projection(cone, ball_projections(cone)), ball_volume(cone.grid)
    inside = ball_inside(cone.grid)
    assert float(volume[inside].mean()) == pytest.approx(1, abs=0.005)
    assert float(volume[inside].std()) < 0.01
    assert float((volume - truth).square().mean().sqrt()) < 0.05
    assert float(volume[truth == 0].mean()) == pytest.approx(0, abs=0.006)


def test_short_scans_need_their_weights() -> None:
    cone = CONES["short"]
    whole = filtered_back_projection(cone, ball_projections(cone))[ball_inside(GRID)].mean()
    cut = cone.select(range(50))
    part = filtered_back_projection(cut, ball_projections(cut))[ball_inside(GRID)].mean()
    assert abs(float(part) - 1) > 5 * abs(float(whole) - 1)


@pytest.mark.parametrize("cone", [CONE, CONE_OFFSET, replace(CONE, cor_index=6.4)], ids=["full", "wide", "one-sided"])
def test_the_mid_plane_is_the_fans(cone: ConeBeam) -> None:
    level = replace(cone, mid_row_index=2.0, grid=replace(cone.grid, centre_z_mm=0.0))
    projections = torch.randn(level.sinogram_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    middle = level.grid.shape[0] // 2
    for window in ("ram-lak", "hann"):
        volume = filtered_back_projection(level, projections, window=window)
        image = filtered_back_projection(level.fan, projections[:, 2], window=window)
        torch.testing.assert_close(volume[middle], image)


def test_what_is_the_same_at_every_height_is_the_fans_at_every_height() -> None:
    cone = replace(FULL, grid=VolumeGrid(shape=(3, 24, 24)), angles_rad=tuple(CIRCLE[::40]), n_rows=17)
    sinogram = torch.rand(cone.fan.sinogram_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    volume = filtered_back_projection(cone, sinogram[:, None] * cone.ray_slopes())
    image = filtered_back_projection(cone.fan, sinogram)
    torch.testing.assert_close(volume, image.expand(volume.shape))


@pytest.mark.parametrize("scan", [parallel(CIRCLE[:180:30]), fan(CIRCLE[::60])], ids=["parallel", "fan"])
def test_a_stack_is_its_slices(scan: ParallelBeam | FanBeam) -> None:
    stack = SliceStack(scan=scan, n_slices=3)
    projections = torch.randn(2, *stack.sinogram_shape, generator=torch.Generator().manual_seed(0))
    volume = filtered_back_projection(stack, projections)
    assert volume.shape == (2, *stack.grid.shape)
    torch.testing.assert_close(volume[1, 2], filtered_back_projection(scan, projections[1, :, 2]))


def test_batch_dtype_and_gradient() -> None:
    projections = torch.randn(2, 3, *CONE.sinogram_shape, generator=torch.Generator().manual_seed(0))
    batch = filtered_back_projection(CONE, projections)
    assert batch.dtype == torch.float32
    torch.testing.assert_close(batch[1, 2], filtered_back_projection(CONE, projections[1, 2]), rtol=1e-4, atol=1e-5)
    projections.requires_grad_()
    (gradient,) = torch.autograd.grad(filtered_back_projection(CONE, projections).sum(), projections)
    assert math.isfinite(float(gradient.norm()))
    assert float(gradient.norm()) > 0


@pytest.mark.parametrize("name", VOLUME_SCANS)
def test_wrong_shapes_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="sinogram must end in the axes"):
        filtered_back_projection(VOLUME_SCANS[name], torch.zeros(4, 5))
