"""A linear map that counts its products."""

from __future__ import annotations

import math

from torch import Tensor

from operators import LinearMap


class Counted:
    """A map and how many vectors it, or its transpose, was applied to."""

    def __init__(self, linear_map: LinearMap) -> None:
        self._map = linear_map
        self.vectors = 0

    @property
    def in_shape(self) -> tuple[int, ...]:
        """The map's."""
        return self._map.in_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        """The map's."""
        return self._map.out_shape

    def __call__(self, x: Tensor) -> Tensor:
        """(*batch, *in_shape) -> (*batch, *out_shape)."""
        self.vectors += x.numel() // math.prod(self.in_shape)
        return self._map(x)

    def adjoint(self, y: Tensor) -> Tensor:
        """(*batch, *out_shape) -> (*batch, *in_shape)."""
        self.vectors += y.numel() // math.prod(self.out_shape)
        return self._map.adjoint(y)
