"""What learning and inference ask of a model of the scan, whatever its images are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from dip.hyperprior import LogNormalPrior
from dip.posterior import Posterior
from dip.posterior_settings import PosteriorSettings
from dip.ray_covariance import RayCovariance
from operators import GaussianNoise, RayTransform


class RayModel(Protocol):
    """y = A x + errors, Gaussian, with variances by name that are yet to be learned."""

    @property
    def transform(self) -> RayTransform:
        """A, image (row, col) -> (angle, detector)."""
        ...

    @property
    def rays(self) -> Tensor:
        """Which rays the covariance is of, (rays,) into all: all, or some of too many."""
        ...

    @property
    def covariance(self) -> RayCovariance:
        """Of `rays`, (rays, rays), term by term."""
        ...

    @property
    def hyperprior(self) -> LogNormalPrior | None:
        """What is known of the variances before the scan, if anything."""
        ...

    def noise(self, variances: Mapping[str, float]) -> GaussianNoise:
        """The part of the covariance that is error of the rays."""
        ...

    def drive(self, residual: Tensor) -> Tensor:
        """What the covariance has to explain, (rays,), where the fitted image leaves y − A x̂ = `residual`, (rays,)."""
        ...

    def linearisation_error(
        self, variances: Mapping[str, float], data_factor: Tensor, n: int, *, generator: torch.Generator
    ) -> float | None:
        """See `dip.linearisation_error`, over draws from the posterior; None for a model whose draws are no weights.

        Args:
            variances: by name.
            data_factor: lower Cholesky factor of the rays' covariance with these variances, (rays, rays) float64.
            n: draws.
            generator: of the draws.
        """
        ...

    def posterior(
        self,
        variances: Mapping[str, float],
        mean: Tensor,
        settings: PosteriorSettings,
        *,
        generator: torch.Generator,
    ) -> Posterior:
        """What is known of the image once all rays are measured.

        Args:
            variances: by name, in squared units of `mean`.
            mean: (row, col).
            settings: how it is computed.
            generator: of what a method draws for itself, such as a preconditioner; not of the samples.
        """
        ...
