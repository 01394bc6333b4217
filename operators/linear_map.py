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


class StackedMap:
    """Two maps of the same image, one ray vector: the first's rays, then the second's.

    Args:
        first: (row, col) -> its out_shape.
        second: likewise.

    Raises:
        ValueError: maps of different images.
    """

    def __init__(self, first: LinearMap, second: LinearMap) -> None:
        if first.in_shape != second.in_shape:
            raise ValueError(f"both maps must take the same image, got {first.in_shape} and {second.in_shape}")
        self._parts = (first, second)
        self._sizes = [math.prod(part.out_shape) for part in self._parts]

    @property
    def in_shape(self) -> tuple[int, ...]:
        """(row, col)."""
        return self._parts[0].in_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        """(rays,)."""
        return (sum(self._sizes),)

    def __call__(self, x: Tensor) -> Tensor:
        """(*batch, row, col) -> (*batch, rays)."""
        batch = batch_shape(x, self.in_shape, "image")
        return torch.cat([part(x).reshape(*batch, -1) for part in self._parts], dim=-1)

    def adjoint(self, y: Tensor) -> Tensor:
        """(*batch, rays) -> (*batch, row, col)."""
        batch = batch_shape(y, self.out_shape, "rays")
        first, second = torch.split(y, self._sizes, dim=-1)
        a, b = self._parts
        return a.adjoint(first.reshape(*batch, *a.out_shape)) + b.adjoint(second.reshape(*batch, *b.out_shape))


class GramMap:
    """M Mᵀ + diag(shift) of a map M, symmetric on its out_shape.

    Args:
        root: M.
        shift: one number for the whole diagonal, or M's out_shape.
    """

    def __init__(self, root: LinearMap, *, shift: float | Tensor = 0.0) -> None:
        self._root, self._shift = root, shift

    @property
    def in_shape(self) -> tuple[int, ...]:
        """M's out_shape."""
        return self._root.out_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        """M's out_shape."""
        return self._root.out_shape

    def __call__(self, x: Tensor) -> Tensor:
        """(*batch, *out_shape) -> the same: one product with M and one with Mᵀ."""
        return self._root(self._root.adjoint(x)) + self._shift * x

    def adjoint(self, y: Tensor) -> Tensor:
        """The same, as the map is symmetric."""
        return self(y)


def batch_shape(x: Tensor, shape: tuple[int, ...], name: str) -> torch.Size:
    """The leading batch axes of `x`, which must end in `shape`.

    Raises:
        ValueError: the trailing axes are not `shape`; the message names the tensor by `name`.
    """
    n_batch = x.ndim - len(shape)
    if n_batch < 0 or tuple(x.shape[n_batch:]) != shape:
        raise ValueError(f"{name} must end in the axes {shape} with batch axes in front, got {tuple(x.shape)}")
    return x.shape[:n_batch]
