"""The exact sparse matrix of a scan: one row a ray (view by view), one column a pixel (row by row), entries in mm."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import astra
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from operators.geometry import FanBeam, Geometry, ImageGrid

Kernel: TypeAlias = Literal["line", "strip"]
_Array: TypeAlias = NDArray[np.float64]


def system_matrix(geometry: Geometry, *, kernel: Kernel = "strip") -> sp.csr_matrix:
    """What one pixel of attenuation 1/mm adds to each line integral.

    Args:
        geometry: the scan.
        kernel: "line" takes the ray to the middle of each detector pixel (Siddon 1985); "strip" takes the mean over
            all rays that end on the detector pixel, which is what a detector measures (to first order).

    Returns:
        (n_angles * n_detectors, rows * cols) CSR in float64.

    Raises:
        ValueError: an unknown kernel.
    """
    if checked_kernel(kernel) == "line":
        return _astra_line_matrix(geometry)
    # Not ASTRA's strips. `strip_fanflat` cannot shift the axis and drifts off from the mean of many rays a detector
    # pixel in wide fans. Its parallel `strip` agrees with these, but stores many lengths that are rounding alone.
    return sp.csr_matrix(sp.vstack([_footprints(geometry, view) for view in range(geometry.n_angles)], format="csr"))


def checked_kernel(kernel: Kernel) -> Kernel:
    """The kernel itself. Raises ValueError if it is none."""
    if kernel not in ("line", "strip"):
        raise ValueError(f"kernel must be 'line' or 'strip', got {kernel!r}")
    return kernel


def _astra_line_matrix(geometry: Geometry) -> sp.csr_matrix:
    height, width = geometry.grid.extent_mm
    volume = astra.create_vol_geom(*geometry.grid.shape, -width / 2, width / 2, -height / 2, height / 2)
    # The vector forms, as they alone can shift the axis.
    kind, projector = ("fanflat_vec", "line_fanflat") if isinstance(geometry, FanBeam) else ("parallel_vec", "line")
    scan = astra.create_proj_geom(kind, geometry.n_detectors, _astra_vectors(geometry))
    projector_id = astra.create_projector(projector, scan, volume)
    matrix_id = astra.projector.matrix(projector_id)
    try:
        return sp.csr_matrix(astra.matrix.get(matrix_id), dtype=np.float64)
    finally:
        astra.matrix.delete(matrix_id)
        astra.projector.delete(projector_id)


def _astra_vectors(geometry: Geometry) -> _Array:
    """(angle, 6): source (fan) or ray direction (parallel), detector centre, step from detector pixel to pixel."""
    sin, cos = np.sin(geometry.angles_rad), np.cos(geometry.angles_rad)
    shift = geometry.axis_offset * geometry.pitch_mm
    ray, detector = (-sin, cos), 0.0
    if isinstance(geometry, FanBeam):
        ray = (geometry.source_origin_mm * sin, -geometry.source_origin_mm * cos)
        detector = geometry.origin_detector_mm
    centre = (shift * cos - detector * sin, shift * sin + detector * cos)
    return np.stack([*ray, *centre, geometry.pitch_mm * cos, geometry.pitch_mm * sin], axis=-1)


def _footprints(geometry: Geometry, view: int) -> sp.csr_matrix:
    """One view's rows, (detector, rows * cols): every pixel casts a trapezoid, integrated over the detector pixels.

    Exact for parallel rays; in a fan exact up to the square of pixel size over distance from the source
    (Long, Fessler & Balter 2010, "3D forward and back-projection for X-ray CT using separable footprints").
    """
    edges, plateau = _trapezoids(geometry, geometry.angles_rad[view])
    n_detectors, first = geometry.n_detectors, np.floor(edges[0])
    on_detector = np.isfinite(edges).all(axis=0) & (edges[3] > 0) & (edges[0] < n_detectors)
    pixels = np.flatnonzero(on_detector)
    edges, plateau, first = edges[:, pixels], plateau[pixels], first[pixels]
    n_bins = math.ceil((edges[3] - first).max()) if pixels.size else 0
    below = _area_below(edges, first)
    parts: list[tuple[_Array, NDArray[np.intp], NDArray[np.intp]]] = []
    for k in range(n_bins):
        upto = _area_below(edges, first + k + 1)
        detector, weight = first.astype(np.intp) + k, (upto - below) * plateau
        kept = (detector >= 0) & (detector < n_detectors) & (weight > 1e-12 * geometry.grid.pixel_mm)
        parts.append((weight[kept], detector[kept], pixels[kept]))
        below = upto
    shape = (n_detectors, math.prod(geometry.grid.shape))
    if not parts:
        return sp.csr_matrix(shape, dtype=np.float64)
    weights, detectors, columns = (np.concatenate(part) for part in zip(*parts, strict=True))
    return sp.csr_matrix((weights, (detectors.astype(np.int32), columns.astype(np.int32))), shape=shape)


def _trapezoids(geometry: Geometry, angle: float) -> tuple[_Array, _Array]:
    """The pixels' shadows: (4, pixel) sorted detector coordinates of the corners, and (pixel,) mm inside the plateau.

    Detector pixel i covers the coordinates i to i + 1. Where a corner lies behind the source an edge is NaN.
    """
    sin, cos = math.sin(angle), math.cos(angle)
    x, y = _corners(geometry.grid)
    across = (x * cos + y * sin) / geometry.pitch_mm
    ray_x, ray_y = np.full_like(x, -sin), np.full_like(y, cos)
    if isinstance(geometry, FanBeam):
        depth = geometry.source_origin_mm - x * sin + y * cos
        with np.errstate(divide="ignore"):
            nearness = np.where(depth > 0, geometry.source_origin_mm / depth, np.nan)
        across = across * nearness * geometry.magnification
        ray_x, ray_y = x - geometry.source_origin_mm * sin, y + geometry.source_origin_mm * cos
    corner = across + geometry.axis_index + 0.5
    edges = np.sort(np.stack([corner[:-1, :-1], corner[:-1, 1:], corner[1:, :-1], corner[1:, 1:]]), axis=0)
    # Rays of the plateau enter and leave by opposite sides of the pixel.
    ray_x, ray_y = np.abs(_middle(ray_x)), np.abs(_middle(ray_y))
    plateau = geometry.grid.pixel_mm * np.hypot(ray_x, ray_y) / np.maximum(ray_x, ray_y)
    return edges.reshape(4, -1), plateau.reshape(-1)


def _corners(grid: ImageGrid) -> tuple[_Array, _Array]:
    """Corners between pixels: x and y in mm, each (rows + 1, cols + 1)."""
    rows, cols = grid.shape
    x = (np.arange(cols + 1, dtype=np.float64) - cols / 2) * grid.pixel_mm
    y = (rows / 2 - np.arange(rows + 1, dtype=np.float64)) * grid.pixel_mm
    x, y = np.meshgrid(x, y)
    return x, y


def _middle(corner: _Array) -> _Array:
    return np.asarray((corner[:-1, :-1] + corner[1:, 1:]) / 2)


def _area_below(edges: _Array, at: _Array) -> _Array:
    """Area left of `at` under a trapezoid of height 1 that rises over edges 0 to 1 and falls over edges 2 to 3."""
    return _ramp_integral(at, edges[0], edges[1]) - _ramp_integral(at, edges[2], edges[3])


def _ramp_integral(at: _Array, start: _Array, stop: _Array) -> _Array:
    """Integral up to `at` of a ramp that is 0 until `start`, 1 from `stop` on and linear in between."""
    climb = stop - start
    rising = np.clip(at - start, 0.0, climb)
    return np.maximum(at - stop, 0.0) + rising**2 / np.maximum(2 * climb, 1e-300)
