"""Gaussian noise of measured line integrals: independent from ray to ray, and alike along a view where need be."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor


class Noise(Protocol):
    """Zero-mean Gaussian errors of the rays, with covariance N = R Rᵀ."""

    def whiten(self, residual: Tensor) -> Tensor:
        """R⁻¹ r: unit noise where N is right."""
        ...

    def whiten_adjoint(self, residual: Tensor) -> Tensor:
        """R⁻ᵀ r, the transpose of `whiten`."""
        ...

    def sample(
        self, shape: tuple[int, ...], *, generator: torch.Generator, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Draw noise.

        Args:
            shape: (*batch, rays' own axes).
            generator: of the draws, on its device.
            dtype: of what is drawn.
        """
        ...

    def apply(self, residual: Tensor) -> Tensor:
        """N r."""
        ...

    def typical(self) -> Noise:
        """The noise of further views like these, the same for all rays."""
        ...

    def of_a_view(self) -> Noise:
        """The noise of one further view, as its detector pixels have it."""
        ...


@dataclass(frozen=True, eq=False)
class GaussianNoise:
    """Zero-mean Gaussian noise: N = diag(variance), and the same covariance added among the rays of every view.

    Args:
        variance: of line integrals, dimensionless: a number, or one a ray (angle, detector), of volumes
            (angle, row, detector).
        view_covariance: (detector, detector), of errors that rays of one view share, of volumes those of one detector
            row of a view; none if left out.

    Raises:
        ValueError: a variance that is not positive and finite, or a view covariance that is not square.
    """

    variance: float | Tensor
    view_covariance: Tensor | None = None

    def __post_init__(self) -> None:
        variance = torch.as_tensor(self.variance, dtype=torch.float64)
        bad = ~(variance.isfinite() & (variance > 0))
        if bad.any():
            raise ValueError(
                f"variance must be positive and finite for every ray, got {variance[bad][0]:g} and {int(bad.sum())} "
                f"such values in all: give rays to be ignored a large variance"
            )
        shared = self.view_covariance
        if shared is None:
            return
        if shared.ndim != 2 or shared.shape[0] != shared.shape[1] or not shared.isfinite().all():
            raise ValueError(f"view_covariance must be (detector, detector) and finite, got {tuple(shared.shape)}")
        if variance.ndim and variance.shape[-1] not in (1, len(shared)):
            raise ValueError(
                f"view_covariance and variance must have the same detector, got {len(shared)} and {variance.shape[-1]}"
            )

    def standard_deviation(self, like: Tensor) -> Tensor:
        """Of single rays, scalar or (angle, detector), in the dtype and on the device of `like`."""
        variance = torch.as_tensor(self.variance, dtype=torch.float64).to(like.device)
        if self.view_covariance is not None:
            variance = variance + self.view_covariance.diagonal().to(variance)
        return variance.sqrt().to(like.dtype)

    def cpu(self) -> GaussianNoise:
        """The same on the CPU."""
        variance = self.variance.cpu() if isinstance(self.variance, Tensor) else self.variance
        return GaussianNoise(variance, None if self.view_covariance is None else self.view_covariance.cpu())

    def whiten(self, residual: Tensor) -> Tensor:
        """R⁻¹ r, (*batch, angle, detector): unit noise where the covariance is right."""
        if self.view_covariance is None:
            return residual / self.standard_deviation(residual)
        columns = self._columns(residual)
        solved: Tensor = torch.linalg.solve_triangular(self._root.to(columns), columns, upper=False)
        return solved.permute(2, 0, 1).reshape(residual.shape)

    def whiten_adjoint(self, residual: Tensor) -> Tensor:
        """R⁻ᵀ r, (*batch, angle, detector), the transpose of `whiten`."""
        if self.view_covariance is None:
            return residual / self.standard_deviation(residual)
        columns = self._columns(residual)
        solved: Tensor = torch.linalg.solve_triangular(self._root.to(columns).mT, columns, upper=True)
        return solved.permute(2, 0, 1).reshape(residual.shape)

    def sample(
        self, shape: tuple[int, ...], *, generator: torch.Generator, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Draw noise.

        Args:
            shape: (*batch, angle, detector).
            generator: of the draws, on its device.
            dtype: of what is drawn.
        """
        unit = torch.randn(shape, generator=generator, device=generator.device, dtype=dtype)
        if self.view_covariance is None:
            return unit * self.standard_deviation(unit)
        columns = self._columns(unit)
        return (self._root.to(columns) @ columns).permute(2, 0, 1).reshape(shape)

    def apply(self, residual: Tensor) -> Tensor:
        """N r, (*batch, angle, detector)."""
        own = residual * torch.as_tensor(self.variance, dtype=residual.dtype, device=residual.device)
        return own if self.view_covariance is None else own + residual @ self.view_covariance.to(residual)

    def typical(self) -> GaussianNoise:
        """The noise of further views like these: the harmonic mean of the variances, and the same view covariance.

        The harmonic mean, because rays to be ignored have a large variance, and say nothing of those to come.
        """
        precision = torch.as_tensor(self.variance).double().reciprocal().mean()
        return GaussianNoise(float(1 / precision), self.view_covariance)

    def of_a_view(self) -> GaussianNoise:
        """The noise of one further view: of every detector pixel the harmonic mean over the views.

        An object absorbs most where it is thickest, from wherever it is looked at, and a dead pixel stays dead.
        """
        if not isinstance(self.variance, Tensor) or self.variance.ndim < 2:
            return self
        precision = self.variance.double().reciprocal().mean(dim=-2, keepdim=True)
        return GaussianNoise(precision.reciprocal(), self.view_covariance)

    @cached_property
    def _root(self) -> Tensor:
        """(angle or 1, detector, detector) float64, a lower triangular block a view."""
        if self.view_covariance is None:
            raise AttributeError("independent noise needs no root")
        shared = self.view_covariance.double()
        variance = torch.as_tensor(self.variance, dtype=torch.float64, device=shared.device)
        variance = variance.expand(*variance.shape[:-1], len(shared))
        root: Tensor = torch.linalg.cholesky(shared + torch.diag_embed(variance.reshape(-1, len(shared))))
        return root

    def _columns(self, residual: Tensor) -> Tensor:
        """(angle, detector, batch), or (angle · row, ...): a block acts on all members of the batch at once."""
        if residual.ndim < 2 or residual.shape[-1] != len(self._root[0]):
            raise ValueError(
                f"expected rays in views of {len(self._root[0])} detector pixels, got {tuple(residual.shape)}"
            )
        blocks = len(self._root) if len(self._root) > 1 else residual.shape[-2]
        return residual.reshape(-1, blocks, residual.shape[-1]).permute(1, 2, 0)


class StackedNoise:
    """The noise of two independent sets of rays in one vector: the first's, then the second's.

    Args:
        first: of rays with `shapes[0]`.
        second: of rays with `shapes[1]`.
        shapes: the rays' own axes in each.
    """

    def __init__(self, first: Noise, second: Noise, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
        self._parts = tuple(zip((first, second), shapes, strict=True))
        self._sizes = [math.prod(shape) for shape in shapes]

    def whiten(self, residual: Tensor) -> Tensor:
        """(*batch, rays) -> (*batch, rays)."""
        return self._by_part(residual, lambda noise, part: noise.whiten(part))

    def whiten_adjoint(self, residual: Tensor) -> Tensor:
        """(*batch, rays) -> (*batch, rays), the transpose of `whiten`."""
        return self._by_part(residual, lambda noise, part: noise.whiten_adjoint(part))

    def sample(
        self, shape: tuple[int, ...], *, generator: torch.Generator, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Draw noise.

        Args:
            shape: (*batch, rays).
            generator: of the draws, on its device.
            dtype: of what is drawn.
        """
        draws = [noise.sample((*shape[:-1], *own), generator=generator, dtype=dtype) for noise, own in self._parts]
        return torch.cat([draw.reshape(*shape[:-1], -1) for draw in draws], dim=-1)

    def apply(self, residual: Tensor) -> Tensor:
        """(*batch, rays) -> (*batch, rays)."""
        return self._by_part(residual, lambda noise, part: noise.apply(part))

    def typical(self) -> Noise:
        """That of the second, the later one."""
        return self._parts[1][0].typical()

    def of_a_view(self) -> Noise:
        """That of the second, the later one."""
        return self._parts[1][0].of_a_view()

    def _by_part(self, residual: Tensor, act: Callable[[Noise, Tensor], Tensor]) -> Tensor:
        batch = residual.shape[:-1]
        pieces = torch.split(residual, self._sizes, dim=-1)
        results = [act(n, piece.reshape(*batch, *own)) for (n, own), piece in zip(self._parts, pieces, strict=True)]
        return torch.cat([result.reshape(*batch, -1) for result in results], dim=-1)
