"""One cone-beam view by rays to the middles of the detector pixels (Siddon 1985)."""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from operators.volume_geometry import ConeBeam

_Array = NDArray[np.float64]
_MAX_ELEMENTS = 1 << 23  # crossings held at once


def line_matrix(cone: ConeBeam, view: int) -> sp.csr_matrix:
    """(row * detector, slice * row * col) float64: mm of each ray inside each voxel."""
    source, ends = _rays(cone, cone.angles_rad[view])
    n_rays = ends.shape[1]
    per_part = max(1, _MAX_ELEMENTS // (sum(cone.grid.shape) + 3))
    parts = [_lengths(cone, source, ends[:, at : at + per_part]) for at in range(0, n_rays, per_part)]
    return sp.csr_matrix(sp.vstack(parts, format="csr"))


def _rays(cone: ConeBeam, angle: float) -> tuple[_Array, _Array]:
    """Source (3, 1) and detector pixels (3, ray), as (z, y, x) in mm."""
    sin, cos = math.sin(angle), math.cos(angle)
    z, u = np.meshgrid(cone.row_positions().numpy(), cone.fan.detector_positions().numpy(), indexing="ij")
    x, y = u * cos - cone.origin_detector_mm * sin, u * sin + cone.origin_detector_mm * cos
    source = np.array([0.0, -cone.source_origin_mm * cos, cone.source_origin_mm * sin])
    return source[:, None], np.stack([z, y, x]).reshape(3, -1)


def _lengths(cone: ConeBeam, source: _Array, ends: _Array) -> sp.csr_matrix:
    """Sort where each ray crosses the planes between voxels: consecutive crossings bound one voxel."""
    grid = cone.grid
    sizes = np.array([grid.thickness_mm, grid.pixel_mm, grid.pixel_mm])[:, None]
    corner = np.array([grid.centre_z_mm, 0.0, 0.0])[:, None] - np.array(grid.extent_mm)[:, None] / 2
    direction = ends - source
    # In voxels from the corner; a ray along a plane crosses none of that family.
    start, step = (source - corner) / sizes, direction / sizes
    counts = np.array(grid.shape)[:, None]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        crossings = [(np.arange(n + 1)[:, None] - s) / d for n, s, d in zip(grid.shape, start, step, strict=True)]
    enter, leave = _passage(crossings, step == 0, (start >= 0) & (start < counts))
    at = np.sort(np.concatenate([np.nan_to_num(c, nan=0.0).clip(enter, leave) for c in crossings]), axis=0)
    lengths = np.diff(at, axis=0)
    crossing, ray = np.nonzero(lengths > 0)
    middle = (at[crossing, ray] + at[crossing + 1, ray]) / 2
    z, y, x = np.clip(np.floor(start + step[:, ray] * middle), 0, counts - 1).astype(np.intp)
    slices, rows, cols = grid.shape
    voxels = (z * rows + rows - 1 - y) * cols + x
    entries = lengths[crossing, ray] * np.linalg.norm(direction, axis=0)[ray]
    return sp.csr_matrix((entries, (ray, voxels)), shape=(ends.shape[1], slices * rows * cols))


def _passage(crossings: list[_Array], along: NDArray[np.bool_], inside: NDArray[np.bool_]) -> tuple[_Array, _Array]:
    """Where each ray enters and leaves the volume, both 0 where it misses.

    Args:
        crossings: of each family of planes, (plane, ray).
        along: (3, ray), whether the ray runs along the family.
        inside: (3, 1), whether the source stands between its first and its last plane.
    """
    enter = np.where(along, np.where(inside, 0.0, np.inf), [np.minimum(c[0], c[-1]) for c in crossings]).max(axis=0)
    leave = np.where(along, np.inf, [np.maximum(c[0], c[-1]) for c in crossings]).min(axis=0)
    enter = enter.clip(min=0.0)  # nothing lies behind the source, and a detector may be a virtual one within
    hit = enter < leave
    return np.where(hit, enter, 0.0), np.where(hit, leave, 0.0)
