"""The largest eigenvalue of a symmetric map by power iteration."""

from __future__ import annotations

import torch

from operators.linear_map import LinearMap


def largest_eigenvalue(
    linear_map: LinearMap,
    *,
    generator: torch.Generator,
    tolerance: float = 0.01,
    iterations: int = 100,
    device: torch.device | None = None,
) -> float:
    """Largest eigenvalue of a symmetric positive semidefinite map, from below (Golub & Van Loan 2013).

    Args:
        linear_map: A, with in_shape equal to out_shape; handed float64.
        generator: draws the start, on its device.
        tolerance: relative change of the Rayleigh quotient at which it is taken.
        iterations: at most so many products with A.
        device: where A works; the generator's if left out.

    Raises:
        ValueError: a map that is not square.
    """
    if linear_map.in_shape != linear_map.out_shape:
        raise ValueError(f"linear_map must be square, got {linear_map.in_shape} to {linear_map.out_shape}")
    shape = linear_map.in_shape
    vector = torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device).to(
        device or generator.device
    )
    value = 0.0
    for _ in range(iterations):
        vector = vector / vector.norm()
        image = linear_map(vector)
        previous, value = value, float((vector * image).sum())
        if not abs(value - previous) > tolerance * value:
            break
        vector = image
    return value
