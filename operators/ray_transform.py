"""Line integrals through an image, as an exact sparse matrix that torch can differentiate."""

from __future__ import annotations

import copy
import functools
import warnings
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from operators.geometry import Geometry, IndexInput, view_indices
from operators.linear_map import batch_shape
from operators.system_matrix import Kernel, system_matrix


class RayTransform:
    """The ray transform of a scan: image (*batch, row, col) in 1/mm -> line integrals (*batch, angle, detector).

    A `LinearMap` whose adjoint is the exact transpose (what ASTRA calls back-projection). It works inside torch
    autograd (to any order) and `torch.func`, batch axes cost one sparse product. dtype (float32 or float64) and device
    follow the input. Matrices are built once per geometry and shared between equal transforms.

    Args:
        geometry: the scan.
        kernel: "strip" averages over the detector pixel, "line" takes the ray to its middle; see `system_matrix`.

    Raises:
        ValueError: an unknown kernel, or an input that does not end in the shape expected.
        TypeError: an input that is neither float32 nor float64.
    """

    def __init__(self, geometry: Geometry, *, kernel: Kernel = "strip") -> None:
        self._geometry = geometry
        self._kernel: Kernel = kernel
        self._matrices = _shared_matrices(geometry, kernel)

    @property
    def geometry(self) -> Geometry:
        """The scan whose rays these are."""
        return self._geometry

    @property
    def kernel(self) -> Kernel:
        """How a ray is weighted: "line" or "strip"."""
        return self._kernel

    @property
    def in_shape(self) -> tuple[int, int]:
        """(row, col)."""
        return self._geometry.grid.shape

    @property
    def out_shape(self) -> tuple[int, int]:
        """(angle, detector)."""
        return self._geometry.sinogram_shape

    def __call__(self, x: Tensor) -> Tensor:
        """Line integrals: (*batch, row, col) in 1/mm -> (*batch, angle, detector), dimensionless."""
        batch = batch_shape(x, self.in_shape, "image")
        return _apply(x.reshape(*batch, -1), self._matrices, False).reshape(*batch, *self.out_shape)

    def adjoint(self, y: Tensor) -> Tensor:
        """Transpose: (*batch, angle, detector) -> (*batch, row, col)."""
        batch = batch_shape(y, self.out_shape, "sinogram")
        return _apply(y.reshape(*batch, -1), self._matrices, True).reshape(*batch, *self.in_shape)

    def select(self, indices: IndexInput) -> Self:
        """The transform of only these views, in this order, cut from the rows of this one's matrix.

        Raises as `view_indices` does.
        """
        views = np.asarray(view_indices(indices, self._geometry.n_angles))
        rays = (views[:, None] * self._geometry.n_detectors + np.arange(self._geometry.n_detectors)).reshape(-1)
        part = copy.copy(self)
        part._geometry = self._geometry.select(indices)  # noqa: SLF001 (its own kind)
        part._matrices = _MatrixPair(self._matrices.matrix[rays])  # noqa: SLF001
        return part

    def matrix(self) -> sp.csr_matrix:
        """The sparse matrix, (angle * detector, row * col) float64, entries in mm. Shared: do not write to it."""
        return self._matrices.matrix


class _MatrixPair:
    """A and its transpose, both as CSR because products with a transposed CSR view are several times slower."""

    def __init__(self, matrix: sp.csr_matrix) -> None:
        self.matrix = matrix
        self._csr: dict[tuple[torch.dtype, torch.device, bool], Tensor] = {}

    def product(self, rows: Tensor, transposed: bool) -> Tensor:
        """(n, n_in) -> (n, n_out), or back with the transpose."""
        matrix = self._csr_tensor(rows.dtype, rows.device, transposed)
        with torch.autocast(rows.device.type, enabled=False):  # autocast would take the matrix to bfloat16
            if rows.shape[0] == 1:
                return (matrix @ rows[0]).unsqueeze(0)
            return (matrix @ rows.mT).mT

    def _csr_tensor(self, dtype: torch.dtype, device: torch.device, transposed: bool) -> Tensor:
        key = (dtype, device, transposed)
        if key not in self._csr:
            if dtype not in (torch.float32, torch.float64):
                raise TypeError(f"input must be float32 or float64, got {dtype}: convert it with .float()")
            matrix = self.matrix.T.tocsr() if transposed else self.matrix
            # MKL and cuSPARSE take 32-bit indices as they are; 64-bit ones are converted at every product.
            index = torch.int32 if matrix.nnz < 2**31 else torch.int64
            with warnings.catch_warnings():
                # torch says once that sparse CSR is in beta; products with two-dimensional ones are all that is used.
                warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
                self._csr[key] = torch.sparse_csr_tensor(
                    torch.as_tensor(matrix.indptr).to(index),
                    torch.as_tensor(matrix.indices).to(index),
                    torch.as_tensor(matrix.data).to(dtype),
                    size=matrix.shape,
                    device=device,
                    check_invariants=False,
                )
        return self._csr[key]


@functools.lru_cache(maxsize=8)
def _shared_matrices(geometry: Geometry, kernel: Kernel) -> _MatrixPair:
    return _MatrixPair(system_matrix(geometry, kernel=kernel))


class _SparseProduct(torch.autograd.Function):
    """x -> A x or Aᵀ x on the last axis, whose derivatives are the product with the transpose and with itself."""

    @staticmethod
    def forward(x: Tensor, matrices: _MatrixPair, transposed: bool) -> Tensor:
        n_out = matrices.matrix.shape[1 if transposed else 0]
        out = matrices.product(x.reshape(-1, x.shape[-1]), transposed)
        return out.reshape(*x.shape[:-1], n_out)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, _MatrixPair, bool], output: Tensor) -> None:  # noqa: ARG004 (torch calls it so)
        _, ctx.matrices, ctx.transposed = inputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return _apply(grads[0], ctx.matrices, not ctx.transposed), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return _apply(tangent, ctx.matrices, ctx.transposed)

    @staticmethod
    def vmap(
        info: Any,  # noqa: ARG004 (torch calls it so)
        in_dims: tuple[int | None, ...],
        x: Tensor,
        matrices: _MatrixPair,
        transposed: bool,
    ) -> tuple[Tensor, int]:
        return _apply(x.movedim(in_dims[0] or 0, 0), matrices, transposed), 0


def _apply(x: Tensor, matrices: _MatrixPair, transposed: bool) -> Tensor:
    out: Tensor = _SparseProduct.apply(x, matrices, transposed)  # type: ignore[no-untyped-call]
    return out
