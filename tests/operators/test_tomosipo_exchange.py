from __future__ import annotations

import builtins
import importlib
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from operators import ConeBeam, RayTransform, SliceStack, VolumeGrid, VolumeScan
from operators.cone_lines import _rays
from operators.testing import adjoint_error
from operators.tomosipo_exchange import as_linear_map, from_tomosipo, to_tomosipo
from tests.cases import CONE, CONE_OFFSET, PARALLEL, VOLUME_SCANS

try:
    import tomosipo
except ModuleNotFoundError:
    tomosipo = None
needs_tomosipo = pytest.mark.skipif(tomosipo is None, reason="tomosipo is not installed")

PLAIN_STACK = SliceStack(scan=PARALLEL, n_slices=3)
SCANS: dict[str, VolumeScan] = {
    "cone": CONE,
    "cone-offset": CONE_OFFSET,
    "stack": PLAIN_STACK,
    "stack-offset": VOLUME_SCANS["parallel-stack"],
}


def same_numbers(a: VolumeScan, b: VolumeScan) -> None:
    """The two scans have the same matrix, which is what their numbers are for."""
    assert a.sinogram_shape == b.sinogram_shape
    assert a.grid.shape == b.grid.shape
    np.testing.assert_allclose(np.cos(np.subtract(a.angles_rad, b.angles_rad)), 1)
    np.testing.assert_allclose(RayTransform(a).matrix().toarray(), RayTransform(b).matrix().toarray(), atol=1e-9)


@needs_tomosipo
@pytest.mark.parametrize("name", SCANS)
def test_there_and_back(name: str) -> None:
    scan = SCANS[name]
    back = from_tomosipo(*to_tomosipo(scan))
    assert type(back) is type(scan)
    same_numbers(back, scan)


@needs_tomosipo
def test_tomosipos_own_cone_and_parallel_beams() -> None:
    angles = (0.1, 1.0, 4.0)
    volume = tomosipo.volume(shape=(7, 8, 8), pos=(0.5, 0, 0), size=(7, 4, 4))
    cone = tomosipo.cone(angles=np.array(angles), shape=(7, 9), size=(14, 18), src_orig_dist=20, src_det_dist=35)
    expected = replace(
        CONE,
        grid=VolumeGrid(shape=(7, 8, 8), pixel_mm=0.5, slice_mm=1.0, centre_z_mm=0.5),
        angles_rad=angles,
    )
    same_numbers(from_tomosipo(volume, cone), expected)
    level = tomosipo.volume(shape=(3, 12, 12), size=(1.5, 6, 6))
    parallel = tomosipo.parallel(angles=np.array(angles), shape=(3, 17), size=(1.5, 8.5))
    same_numbers(from_tomosipo(level, parallel), replace(PLAIN_STACK, scan=replace(PARALLEL, angles_rad=angles)))


@needs_tomosipo
def test_a_point_falls_onto_the_pixel_whose_ray_meets_it() -> None:
    cone = CONE_OFFSET
    projected = to_tomosipo(cone)[1].project_point((1.1, -0.6, 0.9))  # z, y, x
    for view, angle in enumerate(cone.angles_rad):
        source, ends = _rays(cone, angle)
        row, column = projected[view] + np.array([(cone.n_rows - 1) / 2, (cone.n_detectors - 1) / 2])
        pixels = ends.reshape(3, cone.n_rows, cone.n_detectors)
        at = (
            pixels[:, 0, 0]
            + row * (pixels[:, 1, 0] - pixels[:, 0, 0])
            + column * (pixels[:, 0, 1] - pixels[:, 0, 0])
            - source[:, 0]
        )
        to_point = np.array([1.1, -0.6, 0.9]) - source[:, 0]
        np.testing.assert_allclose(np.cross(at, to_point), 0, atol=1e-9)


@needs_tomosipo
@pytest.mark.parametrize(
    ("volume", "changes", "message"),
    [
        ({"shape": 8, "size": (8, 8, 4)}, {}, "square pixels"),
        ({"shape": 8, "pos": (0, 1, 0)}, {}, "volume's offset from the rotation axis"),
        ({"shape": 8}, {"src_pos": (0, -20, 3)}, "off the central ray"),
        ({"shape": 8}, {"src_pos": [(0, -20, 0), (1, -20, 0)]}, "source's height"),
        ({"shape": 8}, {"det_u": (0.5, 0, 1)}, "tilt of the detector's rows"),
        ({"shape": 8}, {"det_v": (1, 0, 0.5)}, "tilt of the detector's columns"),
        ({"shape": 8}, {"src_pos": (0, 20, 0)}, "source_origin_mm must be positive"),
    ],
)
def test_scans_without_a_name_are_refused(volume: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    plain = {"shape": 9, "src_pos": (0, -20, 0), "det_pos": (0, 15, 0), "det_v": (1, 0, 0), "det_u": (0, 0, 1)}
    with pytest.raises(ValueError, match=message):
        from_tomosipo(tomosipo.volume(**volume), tomosipo.cone_vec(**{**plain, **changes}))


@needs_tomosipo
def test_stacks_need_a_row_for_every_slice_and_volumes_must_not_be_turned() -> None:
    parallel = tomosipo.parallel(angles=4, shape=(6, 9))
    with pytest.raises(ValueError, match="a detector row level with each of the 8 slices"):
        from_tomosipo(tomosipo.volume(shape=8), parallel)
    with pytest.raises(TypeError, match="upright"):
        from_tomosipo(tomosipo.volume_vec(shape=8, pos=0), parallel)


@needs_tomosipo
def test_fans_are_unknown_to_tomosipo() -> None:
    with pytest.raises(TypeError, match="slices of a fan beam"):
        to_tomosipo(VOLUME_SCANS["fan-stack"])


def test_without_tomosipo_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str, *_: Any) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ModuleNotFoundError, match=r"pip install git\+https"):
        to_tomosipo(CONE)


class MatrixOperator:
    """What tomosipo's operators look like, over an exact matrix: (z, y growing, x) -> (row, angle, detector)."""

    def __init__(self, cone: ConeBeam) -> None:
        self.transform = RayTransform(cone)
        self.domain_shape = self.transform.in_shape
        angles, rows, detectors = self.transform.out_shape
        self.range_shape = (rows, angles, detectors)

    def __call__(self, volume: Tensor) -> Tensor:
        return self.transform(volume.flip(-2)).movedim(0, 1)

    def T(self, projections: Tensor) -> Tensor:  # noqa: N802 (tomosipo's name)
        return self.transform.adjoint(projections.movedim(1, 0)).flip(-2)


def test_an_operator_becomes_a_map_on_our_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    if tomosipo is None:
        monkeypatch.setattr(importlib, "import_module", lambda name: builtins)
    generator = torch.Generator().manual_seed(0)
    wrapped, exact = as_linear_map(MatrixOperator(CONE_OFFSET)), RayTransform(CONE_OFFSET)
    x = torch.randn(2, *exact.in_shape, generator=generator)
    y = torch.randn(2, *exact.out_shape, generator=generator)
    torch.testing.assert_close(wrapped(x), exact(x))
    torch.testing.assert_close(wrapped.adjoint(y), exact.adjoint(y))
    assert adjoint_error(wrapped, x, y) < 1e-6


@needs_tomosipo
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_tomosipos_operator_projects_as_ours_does() -> None:
    wrapped, exact = as_linear_map(tomosipo.operator(*to_tomosipo(CONE))), RayTransform(CONE, kernel="line")
    x = torch.rand(exact.in_shape, generator=torch.Generator().manual_seed(0)).cuda()
    y = torch.rand(exact.out_shape, generator=torch.Generator().manual_seed(1)).cuda()
    assert float((wrapped(x) - exact(x)).norm() / exact(x).norm()) < 0.1
    assert math.isfinite(adjoint_error(wrapped, x, y))
