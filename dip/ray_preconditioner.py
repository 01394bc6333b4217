"""The preconditioner of the rays' equations: what is strong in them is taken out once, for all draws."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor

from operators import LinearMap, NystromApproximation, nystrom_approximation

Record = Callable[[Tensor, Tensor], None]
"""Takes directions D, (k, *rays) with D (I + ΦΦᵀ) Dᵀ = I, and (I + ΦΦᵀ) D."""


class RayPreconditioner:
    """P ∝ I + ΦΦᵀ where that is large and P = I elsewhere (arXiv 2110.02820, by a randomised Nyström approximation).

    P^(-1/2)(I + ΦΦᵀ)P^(-1/2) has no eigenvalue below 1, and its largest is about the first of I + ΦΦᵀ that the rank
    leaves out.

    Args:
        approximation: of ΦΦᵀ; none for P = I.
        record: to be told of what solves search along, by those who know it.
        room: how many directions are of use to it.
    """

    def __init__(
        self, approximation: NystromApproximation | None, *, record: Record | None = None, room: int = 0
    ) -> None:
        self._approximation, self.record, self.room = approximation, record, room

    @classmethod
    def of_map(
        cls,
        gram: LinearMap,
        rank: int,
        *,
        generator: torch.Generator,
        rounding: float,
        batch: int = 16,
        device: torch.device | None = None,
    ) -> Self:
        """Made from `rank` products.

        Args:
            gram: ΦΦᵀ, a symmetric map of the rays; handed float64.
            rank: of the approximation, at most the number of rays; 0 for P = I.
            generator: draws the test vectors, on its device.
            rounding: relative, of a product with ΦΦᵀ.
            batch: vectors handed to it at a time.
            device: where it works; the generator's if left out.

        Raises:
            ValueError: a negative rank.
        """
        if rank < 0:
            raise ValueError(f"expected a preconditioner of rank >= 0, got {rank}")
        rank = min(rank, math.prod(gram.in_shape))
        if rank == 0:
            return cls(None)
        return cls(
            nystrom_approximation(gram, rank, generator=generator, rounding=rounding, batch=batch, device=device)
        )

    def power(self, rays: Tensor, exponent: float) -> Tensor:
        """P^exponent of rays, (*batch, *rays) -> the same."""
        if self._approximation is None:
            return rays
        return self._approximation.power(rays, exponent, shift=1.0)


class PreconditionedMap:
    """P^(-1/2) K P^(-1/2) of a symmetric map K of the rays: symmetric, and as well conditioned as P is good."""

    def __init__(self, linear_map: LinearMap, preconditioner: RayPreconditioner) -> None:
        self._map, self._preconditioner = linear_map, preconditioner

    @property
    def in_shape(self) -> tuple[int, ...]:
        """K's."""
        return self._map.in_shape

    @property
    def out_shape(self) -> tuple[int, ...]:
        """K's."""
        return self._map.out_shape

    def __call__(self, x: Tensor) -> Tensor:
        """(*batch, *rays) -> the same: one product with K."""
        return self._preconditioner.power(self._map(self._preconditioner.power(x, -0.5)), -0.5)

    def adjoint(self, y: Tensor) -> Tensor:
        """The same, as the map is symmetric."""
        return self(y)
