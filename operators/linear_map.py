"""The contract that every projector and prior factor keeps, and its dense twin."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor


class LinearMap(Protocol):
    """A linear map with an exact transpose; batch axes lead. `operators.testing.assert_linear_map` checks one."""

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Shape of one input, without batch axes."""
        ...

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of one output, without batch axes."""
        ...

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the map: (*batch, *in_shape) -> (*batch, *out_shape)."""
        ...

    def adjoint(self, y: Tensor) -> Tensor:
        """Apply the transpose: (*batch, *out_shape) -> (*batch, *in_shape)."""
        ...


class MatrixMap:
    """A dense matrix as a `LinearMap`: the reference in tests, and a good choice for small problems.

    Args:
        matrix: (n_out, n_in), any floating dtype. Inputs must share its dtype and device.
        in_shape: shape of one input, of n_in elements; (n_in,) if left out.
        out_shape: shape of one output, of n_out elements; (n_out,) if left out.

    Raises:
        ValueError: the matrix is not two-dimensional, or a shape does not hold as many elements as the matrix has.
    """

    def __init__(
        self, matrix: Tensor, in_shape: tuple[int, ...] | None = None, out_shape: tuple[int, ...] | None = None
    ) -> None:
        if matrix.ndim != 2:
            raise ValueError(f"matrix must be two-dimensional (n_out, n_in), got shape {tuple(matrix.shape)}")
        n_out, n_in = matrix.shape
        self.matrix = matrix
        self._in_shape = (n_in,) if in_shape is None else tuple(in_shape)
        self._out_shape = (n_out,) if out_shape is None else tuple(out_shape)
        for name, shape, n in (("in_shape", self._in_shape, n_in), ("out_shape", self._out_shape, n_out)):
            if math.prod(shape) != n:
                raise ValueError(f"{name} must hold {n} elements to fit the matrix {n_out} by {n_in}, got {shape}")

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Shape of one input, without batch axes."""
        return self._in_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of one output, without batch axes."""
        return self._out_shape

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the matrix: (*batch, *in_shape) -> (*batch, *out_shape). Raises ValueError on a wrong shape."""
        batch = batch_shape(x, self._in_shape, "x")
        return (x.reshape(*batch, self.matrix.shape[1]) @ self.matrix.mT).reshape(*batch, *self._out_shape)

    def adjoint(self, y: Tensor) -> Tensor:
        """Apply the transpose: (*batch, *out_shape) -> (*batch, *in_shape). Raises ValueError on a wrong shape."""
        batch = batch_shape(y, self._out_shape, "y")
        return (y.reshape(*batch, self.matrix.shape[0]) @ self.matrix).reshape(*batch, *self._in_shape)


class RaySubset:
    """Some outputs of another map, as a vector: the rays that were measured, or used.

    Args:
        linear_map: the map of all rays.
        rays: (n,) distinct indices into its flattened output.

    Raises:
        IndexError: an index outside the output.
    """

    def __init__(self, linear_map: LinearMap, rays: Tensor) -> None:
        n_all = math.prod(linear_map.out_shape)
        if len(rays) and not 0 <= int(rays.min()) <= int(rays.max()) < n_all:
            raise IndexError(f"rays must be from 0 to {n_all - 1}, got {int(rays.min())} to {int(rays.max())}")
        self._map, self._rays = linear_map, rays

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Shape of one input, without batch axes."""
        return self._map.in_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        """(n,)."""
        return (len(self._rays),)

    def __call__(self, x: Tensor) -> Tensor:
        """(*batch, *in_shape) -> (*batch, n)."""
        batch = batch_shape(x, self.in_shape, "x")
        return self._map(x).reshape(*batch, -1)[..., self._rays]

    def adjoint(self, y: Tensor) -> Tensor:
        """(*batch, n) -> (*batch, *in_shape)."""
        batch = batch_shape(y, self.out_shape, "y")
        full = y.new_zeros(*batch, math.prod(self._map.out_shape))
        full[..., self._rays] = y
        return self._map.adjoint(full.reshape(*batch, *self._map.out_shape))


def batch_shape(x: Tensor, shape: tuple[int, ...], name: str) -> torch.Size:
    """The leading batch axes of `x`, which must end in `shape`.

    Raises:
        ValueError: the trailing axes are not `shape`; the message names the tensor by `name`.
    """
    n_batch = x.ndim - len(shape)
    if n_batch < 0 or tuple(x.shape[n_batch:]) != shape:
        raise ValueError(f"{name} must end in the axes {shape} with batch axes in front, got {tuple(x.shape)}")
    return x.shape[:n_batch]
