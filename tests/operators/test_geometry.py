from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import FanBeam, ImageGrid, ParallelBeam
from tests.cases import FAN, FAN_OFFSET, GEOMETRIES, PARALLEL


@pytest.mark.parametrize("angles", [[0.0, 1.0], (0, 1), np.array([0, 1]), torch.tensor([0.0, 1.0])])
def test_angles_come_in_any_container(angles: Any) -> None:
    geometry = replace(PARALLEL, angles_rad=angles)
    assert geometry.angles_rad == (0.0, 1.0)
    assert hash(geometry) == hash(replace(PARALLEL, angles_rad=(0.0, 1.0)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_detectors": 0}, "n_detectors must be at least 1"),
        ({"pitch_mm": 0.0}, "pitch_mm must be positive"),
        ({"pitch_mm": -1.0}, "pitch_mm must be positive"),
        ({"angles_rad": []}, "at least one angle"),
        ({"angles_rad": [[0.0]]}, "one-dimensional"),
        ({"angles_rad": [0.0, math.nan]}, "finite"),
        ({"cor_index": math.inf}, "cor_index"),
        ({"source_origin_mm": 0.0}, "source_origin_mm must be positive"),
        ({"source_origin_mm": 2.9}, "source must stay outside"),
        ({"origin_detector_mm": -1.0}, "origin_detector_mm"),
    ],
)
def test_wrong_scans_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(FAN, **changes)


@pytest.mark.parametrize(("shape", "pixel"), [((0, 3), 1.0), ((3, 3), 0.0), ((3, 3), -1.0), ((3, 3), math.nan)])
def test_wrong_grids_are_refused(shape: tuple[int, int], pixel: float) -> None:
    with pytest.raises(ValueError, match=r"shape|pixel_mm"):
        ImageGrid(shape=shape, pixel_mm=pixel)


def test_source_may_stand_before_a_side_but_within_the_circle_around_the_grid() -> None:
    replace(FAN, source_origin_mm=3.1, angles_rad=(0.0, math.pi / 2))
    with pytest.raises(ValueError, match="source must stay outside"):
        replace(FAN, source_origin_mm=3.1, angles_rad=(0.0, math.pi / 4))


def test_axis_offset_is_astras_shift() -> None:
    assert FAN_OFFSET.axis_offset == pytest.approx((20 - 1) / 2 - 11.8)
    assert FAN.axis_offset == 0.0
    positions = FAN_OFFSET.detector_positions()
    assert positions[12] == pytest.approx(0.2 * 0.8)


def test_field_of_view_is_measured_at_the_axis() -> None:
    assert PARALLEL.field_of_view_mm == pytest.approx(8.5)
    assert FAN.field_of_view_mm == pytest.approx(20 * 0.8 * 20 / 35)


@settings(deadline=None)
@given(
    n_detectors=st.integers(1, 60),
    factor=st.integers(1, 60),
    cor_index=st.none() | st.floats(-5, 60),
)
def test_binned_pixels_stay_where_they_were(n_detectors: int, factor: int, cor_index: float | None) -> None:
    geometry = ParallelBeam(
        grid=ImageGrid(shape=(2, 2)), angles_rad=[0], n_detectors=n_detectors, pitch_mm=0.3, cor_index=cor_index
    )
    if factor > n_detectors:
        with pytest.raises(ValueError, match="factor"):
            geometry.binned(factor)
        return
    binned = geometry.binned(factor)
    kept = geometry.detector_positions()[: binned.n_detectors * factor]
    torch.testing.assert_close(binned.detector_positions(), kept.reshape(-1, factor).mean(1), rtol=0, atol=1e-9)


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_select_takes_indices_and_masks(geometry: ParallelBeam | FanBeam) -> None:
    angles = geometry.angles_rad
    assert geometry.select([3, -1]).angles_rad == (angles[3], angles[-1])
    assert geometry.select(np.arange(6) % 2 == 0).angles_rad == angles[::2]
    assert geometry.select(torch.tensor([1])).angles_rad == (angles[1],)
    with pytest.raises(IndexError, match="views run from 0 to 5"):
        geometry.select([6])
    with pytest.raises(ValueError, match="at least one view"):
        geometry.select([])
    with pytest.raises(ValueError, match="mask of views"):
        geometry.select(np.array([True]))


def test_with_grid_keeps_the_rays() -> None:
    grid = ImageGrid(shape=(5, 5), pixel_mm=0.2)
    moved = FAN_OFFSET.with_grid(grid)
    assert isinstance(moved, FanBeam)
    assert moved.grid == grid
    assert moved.with_grid(FAN_OFFSET.grid) == FAN_OFFSET
