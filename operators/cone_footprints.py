"""One cone-beam view by separable footprints: voxels cast trapezoids along the detector rows, rectangles across them.

Long, Fessler & Balter 2010, "3D forward and back-projection for X-ray CT using separable footprints". The trapezoids
are those of the mid-plane's fan and the same for every slice, so that a view is the product of two small matrices and
of the rays' slopes, a third of what all its entries would take.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from operators.csr_pair import CsrPair
from operators.system_matrix import system_matrix
from operators.volume_geometry import ConeBeam

_NEGLIGIBLE = 1e-12  # of a detector row


class FootprintView:
    """The rows (detector row, detector column) of one view, each the mean over all rays that end on the pixel.

    Args:
        cone: the scan.
        view: which of its views.
    """

    def __init__(self, cone: ConeBeam, view: int) -> None:
        fan = system_matrix(cone.fan.select([view]), kernel="strip")
        self._across = CsrPair(fan)
        seen = np.flatnonzero(fan.getnnz(axis=0))
        self._along = CsrPair(_row_shares(cone, cone.angles_rad[view], seen))
        self._slopes = cone.ray_slopes()
        self._slopes_there: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    @property
    def matrix(self) -> sp.csr_matrix:
        """All entries, (row * detector, slice * pixel) in float64."""
        n_rows, n_detectors = self._slopes.shape
        across = sp.kron(self._across.matrix, sp.eye_array(n_rows), format="csr")
        every = sp.csr_matrix(sp.diags_array(self._slopes.mT.numpy().reshape(-1)) @ across @ self._along.matrix)
        return sp.csr_matrix(every[np.arange(every.shape[0]).reshape(n_detectors, n_rows).T.reshape(-1)])

    @property
    def n_entries(self) -> int:
        """What is held, far less than what the matrix has."""
        return self._across.n_entries + self._along.n_entries

    def columns(self, columns: Tensor, transposed: bool) -> Tensor:
        """(voxels, n) -> (rays, n), or back. Columns last and rows next to last leave nothing to copy in between."""
        n, (n_rows, n_detectors) = columns.shape[1], self._slopes.shape
        key = (columns.dtype, columns.device)
        if key not in self._slopes_there:
            self._slopes_there[key] = self._slopes.to(columns)[:, :, None]
        slopes = self._slopes_there[key]
        if transposed:
            views = (columns.reshape(n_rows, n_detectors, n) * slopes).movedim(0, 1)
            spread = self._across.columns(views.reshape(n_detectors, n_rows * n), True)
            return self._along.columns(spread.reshape(-1, n), True)
        gathered = self._along.columns(columns, False)
        views = self._across.columns(gathered.reshape(-1, n_rows * n), False)
        return (views.reshape(n_detectors, n_rows, n).movedim(0, 1) * slopes).reshape(-1, n)


def _row_shares(cone: ConeBeam, angle: float, pixels: NDArray[np.intp]) -> sp.csr_matrix:
    """(pixel * row, slice * pixel): the share of each detector row that a voxel's height covers, seen at its centre."""
    plane, (slices, _, _) = cone.grid.plane, cone.grid.shape
    x, y = (side.numpy() for side in (plane.x_mm(), plane.y_mm()))
    depth = (cone.source_origin_mm - x * math.sin(angle) + y[:, None] * math.cos(angle)).reshape(-1)[pixels]
    z = cone.grid.z_mm().numpy()
    faces = np.append(z - cone.grid.thickness_mm / 2, z[-1] + cone.grid.thickness_mm / 2)
    edges = faces[:, None] * (cone.source_detector_mm / cone.row_spacing_mm / depth) + cone.level_index + 0.5
    low, high = edges[:-1], edges[1:]
    first = np.floor(low)
    n_pixels = math.prod(plane.shape)
    voxels = np.arange(slices)[:, None] * n_pixels + pixels
    parts: list[tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.intp]]] = []
    for k in range(math.ceil((high - first).max()) if pixels.size else 0):
        row = first + k
        share = np.minimum(high, row + 1) - np.maximum(low, row)
        kept = (share > _NEGLIGIBLE) & (row >= 0) & (row < cone.n_rows)
        at = pixels * cone.n_rows + row.astype(np.intp)
        parts.append((share[kept], at[kept], voxels[kept]))
    shape = (cone.n_rows * n_pixels, slices * n_pixels)
    if not parts:
        return sp.csr_matrix(shape, dtype=np.float64)
    shares, rays, columns = (np.concatenate(part) for part in zip(*parts, strict=True))
    return sp.csr_matrix((shares, (rays, columns)), shape=shape)
