"""ASTRA's 3D CUDA projectors on torch tensors, without copies to the host."""

from __future__ import annotations

import functools
import subprocess
import sys
import weakref
from typing import Any

import astra
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from operators.foreign_projector import ForeignProjector
from operators.geometry import FanBeam
from operators.volume_geometry import ConeBeam, SliceStack, VolumeGrid, VolumeScan

_PROBE_SECONDS = 60
# The output starts as NaN: without a driver ASTRA's projectors may return with it untouched, and no error.
_PROBE = """
import astra, numpy as np
volume = astra.create_vol_geom(16, 16, 16)
rays = astra.create_proj_geom("parallel3d", 1.0, 1.0, 16, 24, np.linspace(0, np.pi, 8, False))
projector = astra.create_projector("cuda3d", rays, volume)
found = np.full((16, 8, 24), np.nan, np.float32)
astra.projector3d.direct_FP(projector, np.ones((16, 16, 16), np.float32), out=found)
assert np.isfinite(found).all(), "the projector left its output untouched"
assert abs(found.sum() / 8 - 4096) < 82, f"the projections of 4096 voxels sum to {found.sum() / 8:g}"
"""


def astra_cuda_fault() -> str | None:
    """Why ASTRA's CUDA projectors cannot be used here; None if one ran and its values were right. Takes seconds.

    Without a driver a 3D call ends the process: so the driver is asked for first, and even then a process that may die
    tries.
    """
    if not astra.use_cuda():
        return "no usable CUDA device"
    try:
        probe = subprocess.run(  # noqa: S603  our own interpreter on our own text
            [sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"a projection did not end within {_PROBE_SECONDS} s; update the GPU's driver"
    if probe.returncode:
        reason = (probe.stderr.strip().splitlines() or [f"the process ended with {probe.returncode}"])[-1]
        return f"a projection failed ({reason}); check driver and astra-toolbox versions"
    return None


_fault_of_this_machine = functools.cache(astra_cuda_fault)


def astra_cuda_projector(geometry: VolumeScan) -> ForeignProjector:
    """ASTRA's projector of a cone beam or of parallel slices: rays interpolate, which no `kernel` of ours does exactly.

    Tensors may live on any CUDA device, or on the host, from where ASTRA copies them. For what its `adjoint` is good
    for see `ForeignProjector`.

    Raises:
        TypeError: stacked fans, which ASTRA does not know in 3D.
        RuntimeError: ASTRA cannot use CUDA here (from `astra_cuda_fault`), or it left its output untouched.
    """
    vectors = astra_vectors(geometry)
    if fault := _fault_of_this_machine():
        raise RuntimeError(f"expected ASTRA to project on the GPU, got: {fault}; try operators.RayTransform")
    kind = "cone_vec" if isinstance(geometry, ConeBeam) else "parallel3d_vec"
    _, n_rows, n_detectors = geometry.sinogram_shape
    rays = astra.create_proj_geom(kind, n_rows, n_detectors, vectors)
    kernels = _Kernels(astra.create_projector("cuda3d", rays, _astra_volume(geometry.grid)), geometry)
    return ForeignProjector(
        kernels.project, kernels.back_project, in_shape=geometry.grid.shape, out_shape=geometry.sinogram_shape
    )


def astra_vectors(geometry: VolumeScan) -> NDArray[np.float64]:
    """(angle, 12): source or ray direction, detector centre, steps to the next column and row, each (x, -y, z).

    In volumes ASTRA's y grows with the row, ours falls: the rays are mirrored and the voxels stay where they are.

    Raises:
        TypeError: stacked fans.
    """
    if isinstance(geometry, SliceStack) and isinstance(geometry.scan, FanBeam):
        raise TypeError("expected a cone beam or parallel slices, got slices of a fan beam: try operators.RayTransform")
    plane = geometry.fan if isinstance(geometry, ConeBeam) else geometry.scan
    sin, cos = np.sin(plane.angles_rad), np.cos(plane.angles_rad)
    nothing = np.zeros_like(sin)
    shift = plane.axis_offset * plane.pitch_mm
    if isinstance(geometry, ConeBeam):
        source = [geometry.source_origin_mm * sin, geometry.source_origin_mm * cos, nothing]
        distance, step = geometry.origin_detector_mm, geometry.row_spacing_mm
        height = ((geometry.n_rows - 1) / 2 - geometry.level_index) * step
    else:
        source, distance, step, height = [-sin, -cos, nothing], 0.0, geometry.grid.thickness_mm, 0.0
    centre = [shift * cos - distance * sin, -(shift * sin + distance * cos), nothing + height]
    column = [plane.pitch_mm * cos, -plane.pitch_mm * sin, nothing]
    return np.stack([*source, *centre, *column, nothing, nothing, nothing + step], axis=-1)


def _astra_volume(grid: VolumeGrid) -> dict[str, Any]:
    depth, height, width = grid.extent_mm
    slices, rows, cols = grid.shape
    z = (grid.centre_z_mm - depth / 2, grid.centre_z_mm + depth / 2)
    volume: dict[str, Any] = astra.create_vol_geom(
        rows, cols, slices, -width / 2, width / 2, -height / 2, height / 2, *z
    )
    return volume


class _Kernels:
    """One projector of ASTRA's, which has projections as (detector row, angle, detector)."""

    def __init__(self, projector_id: int, geometry: VolumeScan) -> None:
        self._id = projector_id
        self._in_shape = geometry.grid.shape
        n_angles, n_rows, n_detectors = geometry.sinogram_shape
        self._out_shape = (n_rows, n_angles, n_detectors)
        self._seen_to_write: set[Any] = set()
        weakref.finalize(self, astra.projector3d.delete, projector_id)

    def project(self, volume: Tensor) -> Tensor:
        """(slice, row, col) -> (angle, detector row, detector)."""
        return self._run(astra.projector3d.direct_FP, volume, self._out_shape).movedim(1, 0)

    def back_project(self, projections: Tensor) -> Tensor:
        """(angle, detector row, detector) -> (slice, row, col)."""
        return self._run(astra.projector3d.direct_BP, projections.movedim(0, 1).contiguous(), self._in_shape)

    def _run(self, direct: Any, data: Tensor, shape: tuple[int, int, int]) -> Tensor:
        out = data.new_empty(shape) if direct in self._seen_to_write else data.new_full(shape, float("nan"))
        if data.is_cuda:
            # ASTRA knows nothing of torch's streams.
            with torch.cuda.device(data.device):
                torch.cuda.current_stream().synchronize()
                direct(self._id, data, out=out)
                torch.cuda.synchronize()
        else:
            direct(self._id, data, out=out)
        if direct not in self._seen_to_write:
            if bool(out.isnan().any()) and not bool(data.isnan().any()):
                raise RuntimeError("expected ASTRA to write its output, got it back untouched: check the GPU's driver")
            self._seen_to_write.add(direct)
        return out
