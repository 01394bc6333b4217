from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from ctuq.mirrored_views import half_turn_pairs, paired_axis
from ctuq.rotation_axis import find_rotation_axis
from ctuq.transmission import line_integrals
from operators import FanBeam, Geometry, ImageGrid, ParallelBeam, RayTransform

TOOTH = Path(__file__).parents[2].parent / "shared" / "data" / "tooth" / "tooth.h5"
GRID = ImageGrid(shape=(48, 48))


def blobs() -> torch.Tensor:
    """Three discs, none in the middle."""
    x, y = GRID.x_mm()[None], GRID.y_mm()[:, None]
    places = ((-8, 3, 5, 0.05), (6, 8, 6, 0.03), (4, -9, 4, 0.08))
    return torch.stack([value * ((x - a).hypot(y - b) < r).double() for a, b, r, value in places]).sum(0)


def parallel(degrees: np.ndarray, cor_index: float) -> ParallelBeam:
    return ParallelBeam(grid=GRID, angles_rad=np.radians(degrees), n_detectors=64, cor_index=cor_index)


def rays(geometry: Geometry, noise: float = 0.01) -> torch.Tensor:
    exact = RayTransform(geometry)(blobs())
    return exact + noise * torch.randn(exact.shape, generator=torch.Generator().manual_seed(1))


FULL, OPEN = np.linspace(0, 180, 61), np.linspace(0, 180, 60, endpoint=False)


@pytest.mark.parametrize(
    ("degrees", "by"),
    [
        (FULL, "mirrored views and sharpest image"),
        (OPEN, "mirrored views and sharpest image"),
        (np.linspace(0, 360, 120, endpoint=False), "mirrored views and sharpest image"),
        (np.random.default_rng(0).permutation(OPEN * 2) % 179.3, "image"),
        (np.linspace(0, 130, 60), "by centres of mass"),
    ],
    ids=["with 180", "up to 180", "full turn", "unordered", "part of a turn"],
)
@pytest.mark.parametrize("cor_index", [31.5, 27.3])
def test_parallel_views_give_the_axis_and_how_surely(degrees: np.ndarray, by: str, cor_index: float) -> None:
    geometry = parallel(degrees, cor_index)
    found = find_rotation_axis(replace(geometry, cor_index=None), rays(geometry))
    assert by in str(found.step)
    assert found.cor_index == pytest.approx(cor_index, abs=0.5)
    assert abs(found.cor_index - cor_index) < 4 * found.standard_error + 0.05
    assert found.step.numbers["cor_index"] == found.cor_index


def test_a_fan_is_sharp_about_its_axis_only() -> None:
    geometry = FanBeam(
        grid=GRID,
        angles_rad=np.radians(np.arange(0, 360, 4)),
        n_detectors=90,
        pitch_mm=1.0,
        source_origin_mm=150,
        origin_detector_mm=50,
        cor_index=47.4,
    )
    found = find_rotation_axis(replace(geometry, cor_index=None), rays(geometry))
    assert "by sharpest image" in str(found.step)
    assert found.cor_index == pytest.approx(47.4, abs=0.5)


def test_noise_has_no_axis_and_the_given_one_is_kept() -> None:
    geometry = parallel(np.linspace(0, 130, 40), 20.0)
    found = find_rotation_axis(geometry, torch.randn(40, 64, generator=torch.Generator().manual_seed(0)))
    assert found.cor_index == 20.0
    assert math.isnan(found.standard_error)
    assert "did not find it" in str(found.step)
    assert "preprocessing.centre" in str(found.step)


def test_three_views_keep_the_given_axis() -> None:
    geometry = FanBeam(
        grid=GRID,
        angles_rad=np.radians([0.0, 120.0, 240.0]),
        n_detectors=96,
        pitch_mm=1.0,
        source_origin_mm=200,
        origin_detector_mm=100,
        cor_index=40.0,
    )
    found = find_rotation_axis(geometry, rays(geometry))
    assert (found.cor_index, math.isnan(found.standard_error)) == (40.0, True)


def test_pairs_are_half_a_turn_apart_and_the_best_there_are() -> None:
    assert [pair[:2] for pair in half_turn_pairs(np.radians(FULL).tolist())] == [(0, 60)]
    assert [pair[:2] for pair in half_turn_pairs(np.radians(OPEN).tolist())] == [(0, 59)]
    full_turn = half_turn_pairs(np.radians(np.arange(0, 360, 10)).tolist())
    assert [pair[:2] for pair in full_turn] == [(k, k + 18) for k in range(18)]
    assert half_turn_pairs(np.radians([0, 50, 100]).tolist()) == []
    assert half_turn_pairs([0.0, 0.0]) == []


def test_pairs_that_miss_half_a_turn_are_less_sure() -> None:
    errors = []
    for degrees in (FULL, OPEN):
        geometry = parallel(degrees, 27.3)
        pairs = half_turn_pairs(geometry.angles_rad)
        errors.append(paired_axis(rays(geometry).numpy(), pairs).standard_error)
    assert errors[0] < 0.5 * errors[1] < 1


def test_steps_of_the_search_are_told() -> None:
    told: list[tuple[int, int]] = []
    find_rotation_axis(parallel(FULL, 30.0), rays(parallel(FULL, 30.0)), on_step=lambda *step: told.append(step))
    assert told[0][0] == 0
    assert told[-1][0] == told[-1][1]


@pytest.mark.slow
@pytest.mark.parametrize("row", [0, 1])
@pytest.mark.parametrize("angles", ["true", "as the file says"])
def test_the_tooths_axis_is_found(row: int, angles: str) -> None:
    if not TOOTH.exists():
        pytest.skip("the shared data are not there")
    with h5py.File(TOOTH) as file:
        counts, flats, darks = (file[f"exchange/{name}"][:, row] for name in ("data", "data_white", "data_dark"))
        degrees = np.arange(181.0) if angles == "true" else file["exchange/theta"][()]
    values = torch.from_numpy(line_integrals(counts, flats, darks).line_integrals)
    geometry = ParallelBeam(grid=GRID, angles_rad=np.radians(degrees), n_detectors=640)
    found = find_rotation_axis(geometry, values)
    assert found.cor_index == pytest.approx(295.6, abs=0.05 if angles == "true" else 0.5)
