"""The randomised Nyström approximation of a positive semidefinite map, and the preconditioner made from it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from operators.linear_map import LinearMap

_CANCELLED = 1e-3  # square of what is left of unit vectors where they cancel


@dataclass(frozen=True, eq=False)
class NystromApproximation:
    """A ≈ U diag(λ) Uᵀ of low rank, never above A beyond rounding.

    Args:
        vectors: U, (n, rank) float64 with orthonormal columns.
        values: λ, (rank,) float64, descending, 0 or more.
    """

    vectors: Tensor
    values: Tensor

    def power(self, x: Tensor, exponent: float, *, shift: float) -> Tensor:
        """P^exponent x: (*batch, *shape) -> (*batch, *shape), with n elements in `shape`.

        P = U (diag(λ) + shift) Uᵀ / (λ_min + shift) + (I − U Uᵀ) (arXiv 2110.02820) is the preconditioner of
        A + shift · I: P⁻¹ makes the map a multiple of the identity along U, and leaves alone what U leaves out.

        Args:
            x: (*batch, *shape).
            exponent: of P, -1 for the preconditioner itself.
            shift: 0 or more.
        """
        flat = x.reshape(-1, len(self.vectors))
        along = flat @ self.vectors
        weight = ((self.values + shift) / (self.values[-1] + shift)) ** exponent - 1
        return (flat + (along * weight) @ self.vectors.mT).reshape(x.shape)


def nystrom_approximation(
    linear_map: LinearMap,
    rank: int,
    *,
    generator: torch.Generator,
    rounding: float = torch.finfo(torch.float64).eps,
    batch: int = 64,
    device: torch.device | None = None,
) -> NystromApproximation:
    """Approximate a symmetric positive semidefinite map from its action on random vectors (arXiv 2110.02820).

    Args:
        linear_map: A, with in_shape equal to out_shape; handed float64.
        rank: of the approximation, and the number of products with A; exact where it is the dimension.
        generator: draws the test vectors, on its device.
        rounding: relative, of a product with A. The shift that keeps the factorisation stable is scaled by it.
        batch: vectors handed to A at a time; it bounds the memory.
        device: where A works; the generator's if left out.

    Raises:
        ValueError: a map that is not square, or a rank outside 1 to the dimension.
        torch.linalg.LinAlgError: a map that is not positive semidefinite within `rounding`.
    """
    shape = linear_map.in_shape
    n = math.prod(shape)
    if shape != linear_map.out_shape:
        raise ValueError(f"linear_map must be square, got {shape} to {linear_map.out_shape}")
    if not 1 <= rank <= n:
        raise ValueError(f"rank must be 1 to {n}, the map's dimension, got {rank}")
    test = torch.randn(n, rank, generator=generator, dtype=torch.float64, device=generator.device)
    test = torch.linalg.qr(test.to(device or generator.device)).Q
    columns = torch.split(test.mT.reshape(rank, *shape), batch)
    image = torch.cat([linear_map(part).reshape(len(part), n) for part in columns]).mT
    return _of_orthonormal(test, image, rounding)


def nystrom_from_products(test: Tensor, products: Tensor, *, rounding: float) -> NystromApproximation:
    """The approximation from products that are known already (arXiv 2110.02820).

    Combinations of test vectors that nearly cancel are left out: their products would be rounding.

    Args:
        test: (n, rank) float64, neither orthonormal nor spread over all n; vectors of zeros say nothing.
        products: A times them, likewise.
        rounding: relative, of these products.

    Raises:
        torch.linalg.LinAlgError: products of no positive semidefinite map within `rounding`, or none of use.
    """
    length = torch.linalg.vector_norm(test, dim=0)
    unit = torch.where(length > 0, length.reciprocal(), 0.0)
    # Orthonormal combinations T W, Wᵀ TᵀT W = I, each the shortest there is.
    values, vectors = torch.linalg.eigh(unit[:, None] * (test.mT @ test) * unit)
    kept = values > _CANCELLED
    weights = unit[:, None] * vectors[:, kept] / values[kept].sqrt()
    if not kept.any():
        raise torch.linalg.LinAlgError(  # type: ignore[attr-defined]
            "expected test vectors other than zero, got none"
        )
    return _of_orthonormal(test @ weights, products @ weights, rounding)


def _of_orthonormal(test: Tensor, image: Tensor, rounding: float) -> NystromApproximation:
    shift = math.sqrt(len(test)) * rounding * float(torch.linalg.matrix_norm(image, 2))
    shifted = image + shift * test
    gram = test.mT @ shifted
    root = torch.linalg.cholesky((gram + gram.mT) / 2)
    vectors, singular, _ = torch.linalg.svd(
        torch.linalg.solve_triangular(root, shifted.mT, upper=False).mT, full_matrices=False
    )
    # The shift is taken off again; where that goes below zero, A has no eigenvalue that rounding would show.
    return NystromApproximation(vectors, (singular.square() - shift).clamp(min=0))
