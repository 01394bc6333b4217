"""Krylov solvers for many right-hand sides at once, which say how well each of them was solved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from operators.linear_map import LinearMap, batch_shape


@dataclass(frozen=True)
class Solution:
    """What a solver found and how far it got, one verdict a column: the worst one counts, not the mean.

    `relative_residual` is computed afresh from `value` after the last step. For `conjugate_gradients` it is
    |b - Ax| / |b|; for `cgls`, whose data need not be reachable, |Aᵀ(b - Ax)| / |Aᵀb|. A column of zeros counts as 0.

    Args:
        value: x, (*batch, *in_shape).
        relative_residual: (*batch).
        iterations: that were made.
        tolerance: up to which a column counts as solved.
    """

    value: Tensor
    relative_residual: Tensor
    iterations: int
    tolerance: float

    @property
    def converged(self) -> bool:
        """Whether every column reached the tolerance."""
        return bool((self.relative_residual <= self.tolerance).all())


def cgls(linear_map: LinearMap, data: Tensor, *, iterations: int, tolerance: float = 1e-6) -> Solution:
    """Least squares min |Ax - b| by conjugate gradients on the normal equations (Björck 1996).

    Starts from zero, so it tends to the solution of least norm; stopped early it regularises.

    Args:
        linear_map: A.
        data: b, (*batch, *out_shape); each batch element is a column of its own.
        iterations: at most so many, each one product with A and one with Aᵀ for all columns together.
        tolerance: a column is done, and no longer changes, once |Aᵀ(b - Ax)| <= tolerance |Aᵀb|.

    Returns:
        Solution with value (*batch, *in_shape).

    Raises:
        ValueError: data of another shape, or fewer than one iteration.
    """
    batch = _checked_batch(data, linear_map.out_shape, iterations)
    columns = data.reshape(-1, *linear_map.out_shape)
    residual, gradient = columns, linear_map.adjoint(columns)
    x, direction = torch.zeros_like(gradient), gradient
    start = energy = _dot(gradient, gradient)
    steps = 0
    while steps < iterations and bool((active := energy > tolerance**2 * start).any()):
        steps += 1
        image = linear_map(direction)
        step = _quotient(energy, _dot(image, image), active)
        x = x + _along(step, x) * direction
        residual = residual - _along(step, residual) * image
        gradient = linear_map.adjoint(residual)
        energy, previous = torch.where(active, _dot(gradient, gradient), energy), energy
        direction = gradient + _along(_quotient(energy, previous, active), gradient) * direction
    left = linear_map.adjoint(columns - linear_map(x))
    relative = _relative(_dot(left, left), start)
    return Solution(x.reshape(*batch, *linear_map.in_shape), relative.reshape(batch), steps, tolerance)


def conjugate_gradients(
    linear_map: LinearMap,
    data: Tensor,
    *,
    iterations: int,
    tolerance: float = 1e-6,
    preconditioner: Callable[[Tensor], Tensor] | None = None,
    start: Tensor | None = None,
) -> Solution:
    """Solve Ax = b for symmetric positive definite A by conjugate gradients (Hestenes & Stiefel 1952).

    Args:
        linear_map: A, with in_shape equal to out_shape.
        data: b, (*batch, *out_shape); each batch element is a column of its own.
        iterations: at most so many, each one product with A for all columns together.
        tolerance: a column is done, and no longer changes, once |b - Ax| <= tolerance |b|.
        preconditioner: applies a symmetric positive definite approximation of A's inverse, (n, *in_shape) to the same.
        start: x to begin with, of the shape of data; zero if left out. The tolerance is the same.

    Returns:
        Solution with value (*batch, *in_shape). A column on which A proves not to be positive definite stops there.

    Raises:
        ValueError: a map that is not square, data or a start of another shape, or fewer than one iteration.
    """
    if linear_map.in_shape != linear_map.out_shape:
        raise ValueError(f"linear_map must be square, got {linear_map.in_shape} to {linear_map.out_shape}: try cgls")
    if start is not None and start.shape != data.shape:
        raise ValueError(f"start must have the shape of data, {tuple(data.shape)}, got {tuple(start.shape)}")
    batch = _checked_batch(data, linear_map.out_shape, iterations)
    columns = data.reshape(-1, *linear_map.out_shape)
    x = torch.zeros_like(columns) if start is None else start.reshape(columns.shape)
    residual = columns if start is None else columns - linear_map(x)
    preconditioned = residual if preconditioner is None else preconditioner(residual)
    direction, energy = preconditioned, _dot(residual, preconditioned)
    size = _dot(columns, columns)
    active = _dot(residual, residual) > tolerance**2 * size
    steps = 0
    while steps < iterations and bool(active.any()):
        steps += 1
        image = linear_map(direction)
        curvature = _dot(direction, image)
        active = active & (curvature > 0)
        step = _quotient(energy, curvature, active)
        x = x + _along(step, x) * direction
        residual = residual - _along(step, residual) * image
        preconditioned = residual if preconditioner is None else preconditioner(residual)
        energy, previous = _dot(residual, preconditioned), energy
        direction = preconditioned + _along(_quotient(energy, previous, active), x) * direction
        active = active & (_dot(residual, residual) > tolerance**2 * size)
    left = columns - linear_map(x)
    relative = _relative(_dot(left, left), size)
    return Solution(x.reshape(*batch, *linear_map.in_shape), relative.reshape(batch), steps, tolerance)


def _checked_batch(data: Tensor, shape: tuple[int, ...], iterations: int) -> torch.Size:
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
    return batch_shape(data, shape, "data")


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """(n, ...) and (n, ...) -> (n,)."""
    return (a.flatten(1) * b.flatten(1)).sum(1)


def _along(factor: Tensor, like: Tensor) -> Tensor:
    return factor.reshape(-1, *[1] * (like.ndim - 1))


def _quotient(numerator: Tensor, denominator: Tensor, active: Tensor) -> Tensor:
    """Quotient where `active`, else 0: a column that is done, or has nothing left, stays as it is."""
    usable = active & (denominator != 0)
    return torch.where(usable, numerator / torch.where(usable, denominator, 1.0), 0.0)


def _relative(left: Tensor, start: Tensor) -> Tensor:
    return torch.where(start > 0, left / torch.where(start > 0, start, 1.0), 0.0).sqrt()
