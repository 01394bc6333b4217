"""Scans to and from tomosipo (cicwi/tomosipo 0.7, not on the package index), and its operators as maps.

The scans are the same in space, y up and z along the axis. The arrays differ: tomosipo's volumes are (z, y, x) with y
growing, so that its rows run the other way, and its projections are (detector row, angle, detector).
"""

from __future__ import annotations

import importlib
import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from operators.foreign_projector import ForeignProjector
from operators.geometry import FanBeam, ParallelBeam
from operators.volume_geometry import ConeBeam, SliceStack, VolumeGrid, VolumeScan

_Array = NDArray[np.float64]
_SAME = 1e-6  # of the lengths involved


def to_tomosipo(scan: VolumeScan) -> tuple[Any, Any]:
    """The volume and the projection geometry, as vectors, of a cone beam or of parallel slices.

    Raises:
        TypeError: slices of a fan beam.
        ModuleNotFoundError: tomosipo is not installed.
    """
    tomosipo = _tomosipo()
    grid = scan.grid
    volume = tomosipo.volume(shape=grid.shape, pos=(grid.centre_z_mm, 0.0, 0.0), size=grid.extent_mm)
    beam = scan.fan if isinstance(scan, ConeBeam) else scan.scan
    distance, row_mm, height = 0.0, grid.thickness_mm, 0.0
    if isinstance(scan, ConeBeam):
        distance, row_mm = scan.origin_detector_mm, scan.row_spacing_mm
        height = ((scan.n_rows - 1) / 2 - scan.level_index) * row_mm
    elif isinstance(beam, FanBeam):
        raise TypeError("expected a cone beam or parallel slices, got slices of a fan beam, unknown to tomosipo")
    across, along = _directions(np.asarray(beam.angles_rad))
    up = np.array([1.0, 0.0, 0.0])
    vectors = {
        "shape": scan.sinogram_shape[1:],
        "det_pos": height * up + beam.axis_offset * beam.pitch_mm * across + distance * along,
        "det_v": np.broadcast_to(row_mm * up, across.shape),
        "det_u": beam.pitch_mm * across,
    }
    if isinstance(scan, ConeBeam):
        return volume, tomosipo.cone_vec(src_pos=-scan.source_origin_mm * along, **vectors)
    return volume, tomosipo.parallel_vec(ray_dir=along, **vectors)


def from_tomosipo(volume: Any, projections: Any) -> VolumeScan:
    """The scan of tomosipo's geometries: its source and detector turn about the z axis, and the detector is upright.

    Raises:
        ValueError: a scan that ctuq has no name for; the message says why.
        TypeError: a volume that is turned.
        ModuleNotFoundError: tomosipo is not installed.
    """
    tomosipo = _tomosipo()
    grid = _grid(volume, tomosipo)
    rays = projections.to_vec()
    is_cone = isinstance(rays, tomosipo.geometry.ConeVectorGeometry)
    return _cone_beam(rays, grid) if is_cone else _slice_stack(rays, grid)


def as_linear_map(operator: Any) -> ForeignProjector:
    """A tomosipo operator on ctuq's arrays: (slice, row, col) -> (angle, detector row, detector).

    Its adjoint is what tomosipo gives for one: see `ForeignProjector`. For an exact one take the `RayTransform` of
    `from_tomosipo(operator.domain, operator.range)`.
    """
    importlib.import_module("tomosipo.torch_support")
    n_rows, n_angles, n_detectors = operator.range_shape
    slices, rows, cols = operator.domain_shape
    return ForeignProjector(
        lambda volume: operator(volume.flip(1)).movedim(1, 0),
        lambda projections: operator.T(projections.movedim(0, 1).contiguous()).flip(1),
        in_shape=(slices, rows, cols),
        out_shape=(n_angles, n_rows, n_detectors),
    )


def _tomosipo() -> Any:
    try:
        return importlib.import_module("tomosipo")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "expected tomosipo, which is not installed: try pip install git+https://github.com/cicwi/tomosipo@v0.7.0"
        ) from error


class _Pose(NamedTuple):
    """How a detector stands and turns; directions (angle, 3) as (z, y, x)."""

    angles_rad: _Array
    across: _Array
    along: _Array
    pitch_mm: float
    row_mm: float
    shift_mm: float
    height_mm: float

    def cor_index(self, n_detectors: int) -> float:
        """Detector index of the rotation axis."""
        return (n_detectors - 1) / 2 - self.shift_mm / self.pitch_mm


def _pose(rays: Any) -> _Pose:
    angles = np.arctan2(rays.det_u[:, 1], rays.det_u[:, 2])
    across, along = _directions(angles)
    pitch = _constant(np.linalg.norm(rays.det_u, axis=1), "the pitch of the detector's columns")
    row = _constant(np.linalg.norm(rays.det_v, axis=1), "the pitch of the detector's rows")
    _require_zero(rays.det_u[:, 0], "the tilt of the detector's rows against the plane of rotation", pitch)
    _require_zero(rays.det_v[:, 0] - row, "the tilt of the detector's columns against the z axis", row)
    return _Pose(
        angles,
        across,
        along,
        pitch,
        row,
        _constant((rays.det_pos * across).sum(1), "the detector's offset"),
        _constant(rays.det_pos[:, 0], "the detector's height"),
    )


def _cone_beam(rays: Any, grid: VolumeGrid) -> ConeBeam:
    pose = _pose(rays)
    n_rows, n_detectors = rays.det_shape
    source_z = _constant(rays.src_pos[:, 0], "the source's height")
    source = _constant(-(rays.src_pos * pose.along).sum(1), "the distance of source and axis")
    _require_zero((rays.src_pos * pose.across).sum(1), "the source's way off the central ray", abs(source))
    return ConeBeam(
        grid=replace(grid, centre_z_mm=grid.centre_z_mm - source_z),
        angles_rad=pose.angles_rad,
        n_rows=n_rows,
        n_detectors=n_detectors,
        pitch_mm=pose.pitch_mm,
        source_origin_mm=source,
        origin_detector_mm=_constant((rays.det_pos * pose.along).sum(1), "the distance of axis and detector"),
        cor_index=pose.cor_index(n_detectors),
        row_pitch_mm=pose.row_mm,
        mid_row_index=(n_rows - 1) / 2 - (pose.height_mm - source_z) / pose.row_mm,
    )


def _slice_stack(rays: Any, grid: VolumeGrid) -> SliceStack:
    pose = _pose(rays)
    n_rows, n_detectors = rays.det_shape
    direction = rays.ray_dir / np.linalg.norm(rays.ray_dir, axis=1, keepdims=True)
    _require_zero(np.abs((direction * pose.along).sum(1)) - 1, "the rays' slope against the detector's normal", 1.0)
    slices, thickness = grid.shape[0], grid.thickness_mm
    fits = n_rows == slices and math.isclose(pose.row_mm, thickness, rel_tol=_SAME)
    if not fits or abs(pose.height_mm - grid.centre_z_mm) > _SAME * slices * thickness:
        raise ValueError(
            f"expected a detector row level with each of the {slices} slices of {thickness:g} mm, got {n_rows} rows of "
            f"{pose.row_mm:g} mm with their middle {pose.height_mm - grid.centre_z_mm:g} mm off: try a volume like that"
        )
    beam = ParallelBeam(
        grid=grid.plane,
        angles_rad=pose.angles_rad,
        n_detectors=n_detectors,
        pitch_mm=pose.pitch_mm,
        cor_index=pose.cor_index(n_detectors),
    )
    return SliceStack(scan=beam, n_slices=slices, slice_mm=grid.slice_mm)


def _directions(angles: _Array) -> tuple[_Array, _Array]:
    """(angle, 3) each: along the detector's columns, and of the central ray, as (z, y, x)."""
    nothing = np.zeros_like(angles)
    across = np.stack([nothing, np.sin(angles), np.cos(angles)], axis=1)
    return across, np.stack([nothing, np.cos(angles), -np.sin(angles)], axis=1)


def _grid(volume: Any, tomosipo: Any) -> VolumeGrid:
    if not isinstance(volume, tomosipo.geometry.VolumeGeometry):
        raise TypeError(f"expected an upright tomosipo.volume, got {type(volume).__name__}: try one without rotations")
    (z, y, x), (slice_mm, row_mm, pixel_mm) = volume.pos[0], volume.voxel_size
    if not math.isclose(row_mm, pixel_mm, rel_tol=_SAME):
        raise ValueError(f"expected square pixels in a slice, got {row_mm:g} by {pixel_mm:g} mm: try another size")
    _require_zero(np.array([y, x]), "the volume's offset from the rotation axis", pixel_mm)
    return VolumeGrid(shape=volume.shape, pixel_mm=float(pixel_mm), slice_mm=float(slice_mm), centre_z_mm=float(z))


def _constant(values: _Array, what: str) -> float:
    _require_zero(values - values[0], f"the change between views of {what}", max(1.0, abs(float(values[0]))))
    return round(float(values[0]), 12)  # a length of 0 comes as -1e-16


def _require_zero(values: _Array, what: str, scale: float) -> None:
    worst = float(np.abs(values).max())
    if not worst <= _SAME * scale:
        raise ValueError(
            f"expected a scan that turns about the z axis, got {worst:g} for {what}: such scans are not known"
        )
