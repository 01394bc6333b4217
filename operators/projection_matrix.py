"""The matrix of a scan in the form that its geometry allows: one for all views, one for all slices, or view by view."""

from __future__ import annotations

from typing import Any, Protocol, Self

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from operators.csr_pair import CsrPair

Views = NDArray[np.intp]


class Product(Protocol):
    """What can be multiplied from either side."""

    @property
    def shape(self) -> tuple[int, int]:
        """(rays, voxels)."""
        ...

    def product(self, rows: Tensor, transposed: bool) -> Tensor:
        """(n, voxels) -> (n, rays), or back with the transpose."""
        ...


class ProjectionMatrix(Product, Protocol):
    """A sparse matrix, rows being rays (view by view) and columns pixels or voxels, that knows its views.

    Its two products are exact transposes.
    """

    def select(self, views: Views) -> Self:
        """Only these views, in this order."""
        ...

    def matrix(self) -> sp.csr_matrix:
        """All of it, in float64."""
        ...


class PlanarMatrix:
    """One matrix for all views of an image: rows (angle, detector), columns (row, col)."""

    def __init__(self, matrix: sp.csr_matrix, n_angles: int) -> None:
        self._pair = CsrPair(matrix)
        self._n_angles = n_angles

    @property
    def shape(self) -> tuple[int, int]:
        """(rays, pixels)."""
        n_rays, n_pixels = self._pair.matrix.shape
        return n_rays, n_pixels

    def product(self, rows: Tensor, transposed: bool) -> Tensor:
        """(n, pixels) -> (n, rays), or back."""
        return self._pair.product(rows, transposed)

    def select(self, views: Views) -> PlanarMatrix:
        """Only these views, cut from the rows of this matrix."""
        n_detectors = self.shape[0] // self._n_angles
        rays = (views[:, None] * n_detectors + np.arange(n_detectors)).reshape(-1)
        return PlanarMatrix(self._pair.matrix[rays], views.size)

    def matrix(self) -> sp.csr_matrix:
        """The matrix itself, shared."""
        return self._pair.matrix


class StackedMatrix:
    """One planar matrix for all slices of a volume: rows (angle, slice, detector), columns (slice, row, col)."""

    def __init__(self, planar: PlanarMatrix, n_slices: int, n_angles: int) -> None:
        self._planar, self._n_slices, self._n_angles = planar, n_slices, n_angles

    @property
    def shape(self) -> tuple[int, int]:
        """(rays, voxels)."""
        n_rays, n_pixels = self._planar.shape
        return n_rays * self._n_slices, n_pixels * self._n_slices

    def product(self, rows: Tensor, transposed: bool) -> Tensor:
        """(n, voxels) -> (n, rays), or back: every slice is a column of one product."""
        n, slices, angles = rows.shape[0], self._n_slices, self._n_angles
        if transposed:
            rows = rows.reshape(n, angles, slices, -1).movedim(2, 1)
        out = self._planar.product(rows.reshape(n * slices, -1), transposed)
        if not transposed:
            out = out.reshape(n, slices, angles, -1).movedim(1, 2)
        return out.reshape(n, -1)

    def select(self, views: Views) -> StackedMatrix:
        """Only these views."""
        return StackedMatrix(self._planar.select(views), self._n_slices, views.size)

    def matrix(self) -> sp.csr_matrix:
        """All slices in one matrix."""
        whole = sp.kron(sp.eye_array(self._n_slices), self._planar.matrix(), format="csr")
        order = np.arange(whole.shape[0]).reshape(self._n_slices, self._n_angles, -1).swapaxes(0, 1)
        return sp.csr_matrix(whole[order.reshape(-1)])


class _DifferentiableProduct(torch.autograd.Function):
    """x -> A x or Aᵀ x on the last axis, whose derivatives are the product with the transpose and with itself."""

    @staticmethod
    def forward(x: Tensor, matrix: Product, transposed: bool) -> Tensor:
        n_out = matrix.shape[1 if transposed else 0]
        out = matrix.product(x.reshape(-1, x.shape[-1]), transposed)
        return out.reshape(*x.shape[:-1], n_out)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Product, bool], output: Tensor) -> None:  # noqa: ARG004 (torch calls it so)
        _, ctx.matrix, ctx.transposed = inputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return differentiable_product(grads[0], ctx.matrix, not ctx.transposed), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return differentiable_product(tangent, ctx.matrix, ctx.transposed)

    @staticmethod
    def vmap(
        info: Any,  # noqa: ARG004 (torch calls it so)
        in_dims: tuple[int | None, ...],
        x: Tensor,
        matrix: Product,
        transposed: bool,
    ) -> tuple[Tensor, int]:
        return differentiable_product(x.movedim(in_dims[0] or 0, 0), matrix, transposed), 0


def differentiable_product(x: Tensor, matrix: Product, transposed: bool) -> Tensor:
    """(*batch, voxels) -> (*batch, rays), or back; inside autograd to any order, and inside `torch.func`."""
    out: Tensor = _DifferentiableProduct.apply(x, matrix, transposed)  # type: ignore[no-untyped-call]
    return out
