"""Krylov solvers for many right-hand sides at once, which say how well each of them was solved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from operators.linear_map import LinearMap, batch_shape


@dataclass(frozen=True)
class Solution:
    """What a solver found and how far it got, one verdict a column: the worst one counts, not the mean.

    `relative_residual` is computed afresh from `value` after the last step. For `conjugate_gradients` it is
    |b - Ax| / |b|, or relative to its `scale`; for `cgls`, whose data need not be reachable, |Aᵀ(b - Ax)| / |Aᵀb|. A
    column of zeros counts as 0.

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

    @classmethod
    def exact(cls, value: Tensor) -> Solution:
        """Of a factorisation: (n, ...), without residuals but for rounding."""
        return cls(value, torch.zeros(len(value), dtype=torch.float64), 0, 0.0)

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
    scale: Tensor | None = None,
) -> Solution:
    """Solve Ax = b for symmetric positive definite A by block conjugate gradients (O'Leary 1980).

    All columns search along the directions of all, so that n columns need fewer steps than one would alone: each step
    adds n directions to the space in which every x is the best there is (in the norm of A). Directions are made
    orthonormal, and those that depend on others left out, so that nothing breaks down when a column is solved
    (doi:10.1007/s10543-016-0631-z). All go on until all are done.

    Args:
        linear_map: A, with in_shape equal to out_shape.
        data: b, (*batch, *out_shape); each batch element is a column of its own.
        iterations: at most so many, each one product with A for every column.
        tolerance: a column is done once |b - Ax| <= tolerance |b|.
        preconditioner: applies a symmetric positive definite approximation of A's inverse, (n, *in_shape) to the same.
        start: guesses at x, of the shape of data; none if left out. All columns begin with the best combination of all
            guesses, so that those for another A or other data do no harm. The tolerance is the same.
        scale: of the shape of data, what residuals are measured against in place of b.

    Returns:
        Solution with value (*batch, *in_shape). Directions along which A proves not to be positive are left alone.

    Raises:
        ValueError: a map that is not square, data, a start or a scale of another shape, or fewer than one iteration.
    """
    iterate = conjugate_gradient_iterate(
        linear_map,
        data,
        iterations=iterations,
        tolerance=tolerance,
        preconditioner=preconditioner,
        start=start,
        scale=scale,
    )
    left = (data - linear_map(iterate.value)).reshape(-1, *linear_map.in_shape)
    size = _size(data if scale is None else scale, linear_map)
    batch = batch_shape(data, linear_map.out_shape, "data")
    relative = _relative(_dot(left, left), size).reshape(batch)
    return Solution(iterate.value, relative, iterate.iterations, tolerance)


class Iterate(NamedTuple):
    """Where an iteration stopped, by its own account of the residuals, which rounding lets drift.

    Args:
        value: x, (*batch, *in_shape).
        iterations: that were made.
        search: directions D that were searched along, (k, *in_shape), with D A Dᵀ = I; not all of them need be kept.
        images: A D, likewise.
    """

    value: Tensor
    iterations: int
    search: Tensor
    images: Tensor


def conjugate_gradient_iterate(
    linear_map: LinearMap,
    data: Tensor,
    *,
    iterations: int,
    tolerance: float,
    preconditioner: Callable[[Tensor], Tensor] | None = None,
    start: Tensor | None = None,
    scale: Tensor | None = None,
    keep: int = 0,
) -> Iterate:
    """The x of `conjugate_gradients` without the product that checks it, for those who check by other means.

    Args:
        linear_map: A.
        data: b, (*batch, *out_shape).
        iterations: at most so many.
        tolerance: a column is done once |b - Ax| <= tolerance |b|.
        preconditioner: approximates A's inverse.
        start: guesses at x.
        scale: what residuals are measured against in place of b.
        keep: how many directions to keep, about: the first ones, in whole steps.

    Raises:
        ValueError: as `conjugate_gradients` does.
    """
    if linear_map.in_shape != linear_map.out_shape:
        raise ValueError(f"linear_map must be square, got {linear_map.in_shape} to {linear_map.out_shape}: try cgls")
    for name, given in (("start", start), ("scale", scale)):
        if given is not None and given.shape != data.shape:
            raise ValueError(f"{name} must have the shape of data, {tuple(data.shape)}, got {tuple(given.shape)}")
    batch = _checked_batch(data, linear_map.out_shape, iterations)
    columns = data.reshape(-1, *linear_map.out_shape)
    size = _size(data if scale is None else scale, linear_map)
    found = _BlockSearch(linear_map, columns)
    if start is not None:
        found.begin(start.reshape(columns.shape))
    steps, search, images = 0, [columns[:0]], [columns[:0]]
    while steps < iterations and bool((_dot(found.residual, found.residual) > tolerance**2 * size).any()):
        steps += 1
        steepest = found.residual if preconditioner is None else preconditioner(found.residual)
        if not found.advance(steepest):
            break
        if sum(map(len, search)) < keep:
            search.append(found.search)
            images.append(found.images)
    value = found.x.reshape(*batch, *linear_map.in_shape)
    return Iterate(value, steps, torch.cat(search), torch.cat(images))


class _BlockSearch:
    """The best x of all columns, in the norm of A, in the space that was searched so far."""

    def __init__(self, linear_map: LinearMap, columns: Tensor) -> None:
        self._map = linear_map
        self.x, self.residual = torch.zeros_like(columns), columns
        self.search = self.images = columns[:0]  # the last directions D, with D A Dᵀ = I, and A D

    def begin(self, guesses: Tensor) -> None:
        """Take the best combination of these, (n, ...). The search starts anew from there: it descends from residuals,
        and knows nothing of directions that do not.
        """
        self.advance(guesses)
        self.search = self.images = guesses[:0]

    def advance(self, directions: Tensor) -> bool:
        """Search along these too, (n, ...), by one product with A each; whether any was of use."""
        ahead = directions - _combined(_gram(self.images, directions), self.search)
        search, images = _conjugate(self._map, _orthonormal(ahead))
        if not len(search):
            return False
        step = _gram(search, self.residual)
        self.x = self.x + _combined(step, search)
        self.residual = self.residual - _combined(step, images)
        self.search, self.images = search, images
        return True


def _gram(a: Tensor, b: Tensor) -> Tensor:
    """Inner products, (k, ...) and (n, ...) -> (k, n)."""
    return a.flatten(1) @ b.flatten(1).mT


def _combined(weights: Tensor, directions: Tensor) -> Tensor:
    """Sums of directions (k, ...) with weights (k, n) -> (n, ...)."""
    return (weights.mT @ directions.flatten(1)).reshape(-1, *directions.shape[1:])


def _conjugate(linear_map: LinearMap, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Combinations D of directions with D A Dᵀ = I, and their images A D.

    Those along which A is not positive beyond rounding are left out, and the columns go on along the others. None is
    left where A gives something that is not a number.
    """
    if not len(directions):
        return directions, directions
    images = linear_map(directions)
    curvature = _gram(directions, images)
    if not curvature.isfinite().all():
        return directions[:0], directions[:0]
    values, vectors = torch.linalg.eigh((curvature + curvature.mT) / 2)
    kept = values > len(values) * torch.finfo(values.dtype).eps * values.abs().amax()
    weights = vectors[:, kept] / values[kept].sqrt()
    return _combined(weights, directions), _combined(weights, images)


def _orthonormal(directions: Tensor) -> Tensor:
    """What spans the same, (n, ...) -> (k, ...): directions that rounding cannot tell from others are left out."""
    length = torch.linalg.vector_norm(directions.flatten(1), dim=1)
    usable = length.isfinite() & (length > 0)
    if not usable.any():
        return directions[:0]
    unit = directions[usable] / _along(length[usable], directions)
    spanning, values, _ = torch.linalg.svd(unit.flatten(1).mT, full_matrices=False)
    kept = values > len(spanning) * torch.finfo(values.dtype).eps * values.amax()
    basis: Tensor = spanning.mT[kept]
    return basis.reshape(-1, *directions.shape[1:])


def _checked_batch(data: Tensor, shape: tuple[int, ...], iterations: int) -> torch.Size:
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
    return batch_shape(data, shape, "data")


def _size(measure: Tensor, linear_map: LinearMap) -> Tensor:
    """Square of the length of every column, (n,)."""
    columns = measure.reshape(-1, *linear_map.out_shape)
    return _dot(columns, columns)


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
    """Square root of the quotient; nothing left of nothing is 0, something of nothing infinite, and NaN stays."""
    return torch.where((start == 0) & (left == 0), 0.0, left / start).sqrt()
