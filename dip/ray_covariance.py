"""The covariance of the rays as a sum of known matrices with unknown variances (arXiv 2404.19157, chapters 4 and 5)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from dip.filter_covariance import DISTANCES, correlations
from dip.weight_prior import length_name

_START_LENGTH = 1.0


class Term(NamedTuple):
    """One coefficient · matrix of K, and how the coefficient depends on the hyperparameters."""

    matrix: Tensor  # (rays, rays)
    coefficient: float
    slopes: dict[str, float]  # ∂ log coefficient / ∂ log hyperparameter, by name; 0 where left out


@dataclass(frozen=True)
class RayCovariance:
    """K(θ) = Σ_b θ_b G_b + Σ_f θ_f Σ_δ e^{−δ/ℓ_f} G_{f,δ} + diag(Σ_c θ_c d_c): what the rays' covariance is made of.

    The first terms are what rays share: a prior of the image carried to the rays, or errors along a view. Those of
    correlated filters have a length beside their variance; as a 3x3 filter has six distances δ only, their matrices
    too know nothing of the hyperparameters. The diagonal terms are errors of single rays.

    Args:
        grams: G_b by name, each (rays, rays) float64.
        diagonals: d_c by name, each (rays,) float64, e.g. the relative noise variance of every ray.
        filters: G_{f,δ} by name, each (6, rays, rays) float64.
    """

    grams: Mapping[str, Tensor]
    diagonals: Mapping[str, Tensor]
    filters: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the variances θ and the lengths ℓ: grams, filters, lengths, diagonals."""
        return (*self.grams, *self.filters, *self.lengths, *self.diagonals)

    @property
    def lengths(self) -> tuple[str, ...]:
        """Names of those that are no variances but lengths, in taps."""
        return tuple(length_name(name) for name in self.filters)

    def terms(self, variances: Mapping[str, float]) -> Iterator[Term]:
        """All but the diagonal ones."""
        for name, gram in self.grams.items():
            yield Term(gram, variances[name], {name: 1.0})
        for name, stack in self.filters.items():
            length = variances[length_name(name)]
            for gram, distance, correlation in zip(stack, DISTANCES, correlations(length), strict=True):
                slopes = {name: 1.0, length_name(name): distance / length}
                yield Term(gram, variances[name] * correlation, slopes)

    def matrix(self, variances: Mapping[str, float]) -> Tensor:
        """K, (rays, rays) float64."""
        diagonal = self.diagonal(variances)
        total = torch.diag(diagonal)
        for term in self.terms(variances):
            total.add_(term.matrix, alpha=term.coefficient)
        return total

    def diagonal(self, variances: Mapping[str, float]) -> Tensor:
        """The part of K that is error of single rays, (rays,)."""
        return torch.stack([variances[name] * d for name, d in self.diagonals.items()]).sum(0)

    def select(self, rays: Tensor) -> RayCovariance:
        """The covariance of these rays only."""
        return RayCovariance(
            {name: gram[rays[:, None], rays] for name, gram in self.grams.items()},
            {name: d[rays] for name, d in self.diagonals.items()},
            {name: stack[:, rays[:, None], rays] for name, stack in self.filters.items()},
        )

    def start(self, signal: float, noise: float) -> dict[str, float]:
        """Variances with which the shared terms explain `signal` and the diagonals `noise`, per ray; lengths are 1."""
        unit = dict.fromkeys((*self.grams, *self.filters), 1.0) | dict.fromkeys(self.lengths, _START_LENGTH)
        sizes = dict.fromkeys((*self.grams, *self.filters), 0.0)
        for term in self.terms(unit):
            name = next(iter(term.slopes))
            sizes[name] += term.coefficient * float(term.matrix.diagonal().mean())
        # A layer may be dead: nothing of it reaches a ray.
        shares = {name: signal / len(sizes) / (size or 1.0) for name, size in sizes.items()}
        errors = {name: noise / len(self.diagonals) / float(d.mean()) for name, d in self.diagonals.items()}
        every = shares | dict.fromkeys(self.lengths, _START_LENGTH) | errors
        return {name: every[name] for name in self.names}
