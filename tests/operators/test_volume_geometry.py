from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from operators import ImageGrid, SliceStack, VolumeGrid, VolumeScan
from tests.cases import BOX, CONE, CONE_OFFSET, PARALLEL, VOLUME_SCANS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (8, 8)}, "shape must be"),
        ({"shape": (0, 8, 8)}, "shape must be"),
        ({"pixel_mm": 0.0}, "pixel_mm must be positive"),
        ({"slice_mm": -1.0}, "slice_mm must be positive"),
        ({"centre_z_mm": math.nan}, "centre_z_mm must be finite"),
    ],
)
def test_wrong_volumes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(BOX, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_rows": 0}, "n_rows must be at least 1"),
        ({"row_pitch_mm": 0.0}, "row_pitch_mm must be positive"),
        ({"mid_row_index": math.inf}, "mid_row_index must be a finite"),
        ({"n_detectors": 0}, "n_detectors must be at least 1"),
        ({"angles_rad": [math.nan]}, "finite"),
        ({"source_origin_mm": 3.0}, "source must stay outside"),
        ({"cor_index": math.nan}, "cor_index"),
    ],
)
def test_wrong_cones_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CONE, **changes)


def test_wrong_stacks_are_refused() -> None:
    with pytest.raises(ValueError, match="n_slices must be at least 1"):
        SliceStack(scan=PARALLEL, n_slices=0)
    with pytest.raises(ValueError, match="slice_mm must be positive"):
        SliceStack(scan=PARALLEL, n_slices=1, slice_mm=0.0)


def test_voxels_stand_on_the_axis() -> None:
    assert BOX.extent_mm == pytest.approx((4.5, 6.3, 5.6))
    assert BOX.plane == ImageGrid(shape=(9, 8), pixel_mm=0.7)
    torch.testing.assert_close(BOX.z_mm(), torch.tensor([-1.4, -0.5, 0.4, 1.3, 2.2], dtype=torch.float64))
    assert replace(BOX, slice_mm=None).thickness_mm == 0.7


def test_rows_are_counted_from_the_one_level_with_the_source() -> None:
    assert CONE.row_positions().tolist() == [-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0]
    assert CONE_OFFSET.row_positions()[0] == pytest.approx(-1.9 * 1.3)
    distance, u, v = 35.0, 4 * 2.0, 3 * 2.0
    expected = math.sqrt(distance**2 + u**2 + v**2) / math.sqrt(distance**2 + u**2)
    assert float(CONE.ray_slopes()[-1, -1]) == pytest.approx(expected)
    assert float(CONE.ray_slopes()[3].max()) == 1.0


@pytest.mark.parametrize("scan", VOLUME_SCANS.values(), ids=VOLUME_SCANS)
def test_views_are_selected_and_the_volume_exchanged(scan: VolumeScan) -> None:
    part = scan.select([-1, 0])
    assert part.angles_rad == (scan.angles_rad[-1], scan.angles_rad[0])
    assert part.sinogram_shape == (2, *scan.sinogram_shape[1:])
    assert scan.select(np.arange(scan.n_angles) > 0).angles_rad == scan.angles_rad[1:]
    moved = scan.with_grid(VolumeGrid(shape=(2, 3, 4), pixel_mm=0.5))
    assert moved.grid == VolumeGrid(shape=(2, 3, 4), pixel_mm=0.5)
    assert moved.angles_rad == scan.angles_rad
    assert hash(part) != hash(scan)


def test_cones_take_any_container_of_angles() -> None:
    containers: list[Any] = [[0.0, 1.0], np.array([0, 1]), torch.tensor([0.0, 1.0])]
    assert len({replace(CONE, angles_rad=angles) for angles in containers}) == 1


def test_a_binned_cone_sees_the_means_of_its_pixels() -> None:
    binned = CONE_OFFSET.binned(2)
    n_rows, n_detectors = CONE_OFFSET.n_rows // 2, CONE_OFFSET.n_detectors // 2
    assert binned.sinogram_shape == (CONE_OFFSET.n_angles, n_rows, n_detectors)
    rows, columns = CONE_OFFSET.row_positions(), CONE_OFFSET.fan.detector_positions()
    torch.testing.assert_close(binned.row_positions(), rows[: 2 * n_rows].reshape(-1, 2).mean(1))
    torch.testing.assert_close(binned.fan.detector_positions(), columns[: 2 * n_detectors].reshape(-1, 2).mean(1))
    assert CONE.binned(1) == CONE
    with pytest.raises(ValueError, match="factor must lie between 1 and"):
        CONE.binned(CONE.n_rows + 1)
