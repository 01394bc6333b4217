"""A cone-beam scan's matrix, view by view: what one view takes bounds the memory of building and of products."""

from __future__ import annotations

import os
import sys
from typing import Protocol

import scipy.sparse as sp
import torch
from torch import Tensor

from operators.cone_footprints import FootprintView
from operators.cone_lines import line_matrix
from operators.csr_pair import CsrPair
from operators.projection_matrix import Views
from operators.system_matrix import Kernel
from operators.volume_geometry import ConeBeam

_ENTRY_BYTES = 28  # in float64 as built, and in float32 with its transpose, with indices


class _View(Protocol):
    @property
    def matrix(self) -> sp.csr_matrix: ...

    @property
    def n_entries(self) -> int: ...

    def columns(self, columns: Tensor, transposed: bool) -> Tensor: ...


class ConeMatrix:
    """The views of a cone-beam scan: rows (angle, row, detector), columns (slice, row, col)."""

    def __init__(self, views: list[_View], shape_of_one: tuple[int, int]) -> None:
        self._views = views
        self._one = shape_of_one

    @property
    def shape(self) -> tuple[int, int]:
        """(rays, voxels)."""
        return len(self._views) * self._one[0], self._one[1]

    def product(self, rows: Tensor, transposed: bool) -> Tensor:
        """(n, voxels) -> (n, rays), or back."""
        columns = rows.mT.contiguous()
        if not transposed:
            return torch.cat([view.columns(columns, False) for view in self._views]).mT
        out = columns.new_zeros(self._one[1], columns.shape[1])
        for view, part in zip(self._views, torch.split(columns, self._one[0]), strict=True):
            out += view.columns(part, True)
        return out.mT

    def select(self, views: Views) -> ConeMatrix:
        """Only these views, shared with this one."""
        return ConeMatrix([self._views[i] for i in views], self._one)

    def matrix(self) -> sp.csr_matrix:
        """All views in one matrix, several times as large as what products take."""
        return sp.csr_matrix(sp.vstack([view.matrix for view in self._views], format="csr"))


def cone_matrix(cone: ConeBeam, *, kernel: Kernel) -> ConeMatrix:
    """Build every view's rows; for the kernels see `system_matrix`.

    Raises:
        MemoryError: by the first view, all of them take more memory than the machine has.
    """
    slices, rows, cols = cone.grid.shape
    build = _line_view if kernel == "line" else FootprintView
    views: list[_View] = [build(cone, 0)]
    needed, there = cone.n_angles * views[0].n_entries * _ENTRY_BYTES, _memory_bytes()
    if needed > there:
        raise MemoryError(
            f"expected matrices that fit into memory, got {needed / 2**30:.0f} GiB for {cone.n_angles} views of "
            f"{slices} x {rows} x {cols} voxels and {there / 2**30:.0f} GiB: try at most "
            f"{cone.n_angles * there // (2 * needed)} views, a coarser grid, or fewer slices"
        )
    views += [build(cone, view) for view in range(1, cone.n_angles)]
    return ConeMatrix(views, (cone.n_rows * cone.n_detectors, slices * rows * cols))


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return sys.maxsize  # this system does not say


def _line_view(cone: ConeBeam, view: int) -> CsrPair:
    return CsrPair(line_matrix(cone, view))
