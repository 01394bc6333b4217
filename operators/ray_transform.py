"""Line integrals through an image or a volume, as exact sparse matrices that torch can differentiate."""

from __future__ import annotations

import copy
import functools
from typing import Self

import numpy as np
import scipy.sparse as sp
from torch import Tensor

from operators.cone_matrix import ConeMatrix, cone_matrix
from operators.geometry import Geometry, IndexInput, view_indices
from operators.linear_map import batch_shape
from operators.projection_matrix import PlanarMatrix, ProjectionMatrix, StackedMatrix, differentiable_product
from operators.system_matrix import Kernel, checked_kernel, system_matrix
from operators.volume_geometry import ConeBeam, SliceStack, VolumeScan


class RayTransform:
    """The ray transform of a scan: image (*batch, row, col) in 1/mm -> line integrals (*batch, angle, detector).

    Of a volume scan: (*batch, slice, row, col) -> (*batch, angle, detector row, detector).

    A `LinearMap` whose adjoint is the exact transpose (what ASTRA calls back-projection). It works inside torch
    autograd (to any order) and `torch.func`, batch axes cost one sparse product. dtype (float32 or float64) and device
    follow the input. Matrices are built once per geometry and shared between equal transforms.

    Args:
        geometry: the scan.
        kernel: "strip" averages over the detector pixel, "line" takes the ray to its middle; see `system_matrix`.

    Raises:
        ValueError: an unknown kernel, or an input that does not end in the shape expected.
        TypeError: an input that is neither float32 nor float64.
        MemoryError: a cone-beam scan whose matrices are larger than the machine's memory.
    """

    def __init__(self, geometry: Geometry | VolumeScan, *, kernel: Kernel = "strip") -> None:
        self._geometry = geometry
        self._kernel: Kernel = checked_kernel(kernel)
        self._matrix = _projection_matrix(geometry, kernel)

    @property
    def geometry(self) -> Geometry | VolumeScan:
        """The scan whose rays these are."""
        return self._geometry

    @property
    def kernel(self) -> Kernel:
        """How a ray is weighted: "line" or "strip"."""
        return self._kernel

    @property
    def in_shape(self) -> tuple[int, ...]:
        """(row, col), or (slice, row, col)."""
        return self._geometry.grid.shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        """(angle, detector), or (angle, detector row, detector)."""
        return self._geometry.sinogram_shape

    def __call__(self, x: Tensor) -> Tensor:
        """Line integrals: (*batch, *in_shape) in 1/mm -> (*batch, *out_shape), dimensionless."""
        batch = batch_shape(x, self.in_shape, "image")
        return differentiable_product(x.reshape(*batch, -1), self._matrix, False).reshape(*batch, *self.out_shape)

    def adjoint(self, y: Tensor) -> Tensor:
        """Transpose: (*batch, *out_shape) -> (*batch, *in_shape)."""
        batch = batch_shape(y, self.out_shape, "sinogram")
        return differentiable_product(y.reshape(*batch, -1), self._matrix, True).reshape(*batch, *self.in_shape)

    def select(self, indices: IndexInput) -> Self:
        """The transform of only these views, in this order, cut from the rows of this one's matrix.

        Raises as `view_indices` does.
        """
        part = copy.copy(self)
        part._geometry = self._geometry.select(indices)  # noqa: SLF001 (its own kind)
        part._matrix = self._matrix.select(np.asarray(view_indices(indices, self._geometry.n_angles)))  # noqa: SLF001
        return part

    def matrix(self) -> sp.csr_matrix:
        """The sparse matrix, (angle * detector, row * col) float64, entries in mm. Shared: do not write to it.

        Of a volume it is put together at every call, (angle * row * detector, slice * row * col): for small ones.
        """
        return self._matrix.matrix()


def _projection_matrix(geometry: Geometry | VolumeScan, kernel: Kernel) -> ProjectionMatrix:
    if isinstance(geometry, ConeBeam):
        return _shared_cone_matrix(geometry, kernel)
    if isinstance(geometry, SliceStack):
        return StackedMatrix(_shared_planar_matrix(geometry.scan, kernel), geometry.n_slices, geometry.n_angles)
    return _shared_planar_matrix(geometry, kernel)


@functools.lru_cache(maxsize=8)
def _shared_planar_matrix(geometry: Geometry, kernel: Kernel) -> PlanarMatrix:
    return PlanarMatrix(system_matrix(geometry, kernel=kernel), geometry.n_angles)


# Gigabytes each where volumes are large.
@functools.lru_cache(maxsize=1)
def _shared_cone_matrix(geometry: ConeBeam, kernel: Kernel) -> ConeMatrix:
    return cone_matrix(geometry, kernel=kernel)
