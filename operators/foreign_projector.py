"""Another library's projector as a map: float32, one volume at a time, inside torch autograd."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from operators.linear_map import batch_shape
from operators.projection_matrix import differentiable_product


class ForeignProjector:
    """A projector and the back-projector that its library pairs with it, in the shape of a `LinearMap`.

    **`adjoint` is the library's own back-projection and need not be the transpose** (ASTRA's CUDA kernels: off by 6e-5
    to 7e-4). That is good enough for the gradient of a fit. Whatever solves equations or claims an error bar takes a
    `RayTransform`. `operators.testing.adjoint_error` measures by how much a pair is off.

    Args:
        project: (slice, row, col) -> (angle, detector row, detector), both float32; contiguous and detached going in.
        back_project: the way back.
        in_shape: (slice, row, col).
        out_shape: (angle, detector row, detector).
    """

    def __init__(
        self,
        project: Callable[[Tensor], Tensor],
        back_project: Callable[[Tensor], Tensor],
        *,
        in_shape: tuple[int, ...],
        out_shape: tuple[int, ...],
    ) -> None:
        self._in_shape, self._out_shape = in_shape, out_shape
        self._product = _OneByOne(project, back_project, in_shape, out_shape)

    @property
    def in_shape(self) -> tuple[int, ...]:
        """(slice, row, col)."""
        return self._in_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        """(angle, detector row, detector)."""
        return self._out_shape

    def __call__(self, x: Tensor) -> Tensor:
        """Line integrals: (*batch, *in_shape) in 1/mm -> (*batch, *out_shape). Raises TypeError unless float32."""
        batch = batch_shape(x, self._in_shape, "volume")
        return differentiable_product(x.reshape(*batch, -1), self._product, False).reshape(*batch, *self._out_shape)

    def adjoint(self, y: Tensor) -> Tensor:
        """The library's back-projection: (*batch, *out_shape) -> (*batch, *in_shape). Raises as a call does."""
        batch = batch_shape(y, self._out_shape, "projections")
        return differentiable_product(y.reshape(*batch, -1), self._product, True).reshape(*batch, *self._in_shape)


class _OneByOne:
    def __init__(
        self,
        project: Callable[[Tensor], Tensor],
        back_project: Callable[[Tensor], Tensor],
        in_shape: tuple[int, ...],
        out_shape: tuple[int, ...],
    ) -> None:
        self._applied = {False: (project, in_shape), True: (back_project, out_shape)}
        self.shape = math.prod(out_shape), math.prod(in_shape)

    def product(self, rows: Tensor, transposed: bool) -> Tensor:
        if rows.dtype != torch.float32:
            raise TypeError(f"this projector knows float32 only, got {rows.dtype}: convert it with .float()")
        apply, shape = self._applied[transposed]
        with torch.autocast(rows.device.type, enabled=False):
            return torch.stack([apply(row.detach().contiguous().reshape(shape)).reshape(-1) for row in rows])
