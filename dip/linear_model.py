"""The scan under the linearised network: y − A x̂ = A (J (w − w*) + e) + errors (arXiv 2404.19157, chapter 7)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from dip.conjugate_gradient_update import ConjugateGradientUpdate
from dip.expectation_maximisation import LatentRays
from dip.jacobian import NetworkJacobian
from dip.linearisation_error import linearisation_error
from dip.model_error import smooth_correlation
from dip.pathwise import CholeskyUpdate, PathwiseUpdate, WhitenedRays
from dip.posterior import DensePosterior, SampledPosterior, covariance_root
from dip.posterior_settings import PosteriorSettings
from dip.prior import NetworkPrior
from dip.ray_covariance import RayCovariance
from dip.ray_factor import RayFactor
from dip.ray_sketch import RaySketch, ray_sketch
from dip.sample_then_optimise import SampleThenOptimiseUpdate
from dip.stochastic_dual_descent import StochasticDualDescentUpdate
from dip.weight_prior import WeightGroup, WeightRoot
from operators import GaussianNoise, RayTransform

_UNSEEN = 1e9  # variance of rays to be left out, times the largest of all


@dataclass(frozen=True)
class LinearModel:
    """The rays' covariance term by term, and what the terms are made of.

    Args:
        jacobian: J at the weights w*.
        transform: A.
        groups: of weights that share a variance, by name.
        rays: which rays the covariance and the response are of, (rays,) into all: all, or some of too many.
        covariance: its variances named after the groups, "pixels" (white in the image), "smooth" (along a view, of
            volumes along its detector rows; absent where views cannot show it), "representation" and "noise" (of single
            rays).
        response: A J w*, (rays,) float64: what the zero-mean prior of the weights adds to the data.
        diagonals: those of the covariance for all rays, each (all rays,) float64.
        sketch: what products said of all rays' covariance, see `sketched`.
    """

    jacobian: NetworkJacobian
    transform: RayTransform
    groups: Mapping[str, WeightGroup]
    rays: Tensor
    covariance: RayCovariance
    response: Tensor
    diagonals: Mapping[str, Tensor]
    sketch: RaySketch | None = None

    def noise(self, variances: Mapping[str, float]) -> GaussianNoise:
        """The part of the covariance that is error of the rays, of all of them."""
        shape = self.transform.out_shape
        shared = None
        if "smooth" in self.covariance.grams:
            shared = variances["smooth"] * smooth_correlation(shape[-1]).to(self.response)
        diagonal = torch.stack([variances[name] * d for name, d in self.diagonals.items()]).sum(0)
        return GaussianNoise(diagonal.reshape(shape), shared)

    def prior(self, variances: Mapping[str, float]) -> NetworkPrior:
        """The part of the covariance that is the image."""
        root = WeightRoot(self.groups, variances, self.jacobian.weights())
        return NetworkPrior(self.jacobian, root, variances["pixels"])

    def latent_rays(self, rays: Tensor) -> LatentRays:
        """The same of some rays, as products with the network and its adjoint alone.

        Args:
            rays: (n,) into all, not only into those of the covariance.
        """
        (n_weights,), n_pixels = self.jacobian.in_shape, math.prod(self.jacobian.out_shape)
        groups = {name: group.index for name, group in self.groups.items()}
        groups["pixels"] = torch.arange(n_weights, n_weights + n_pixels)
        root: Tensor | None = None
        if "smooth" in self.covariance.grams:
            groups["smooth"] = torch.arange(math.prod(self.transform.out_shape)) + n_weights + n_pixels
            root = covariance_root(smooth_correlation(self.transform.out_shape[-1]).to(self.response))

        def factor(variances: Mapping[str, float]) -> RayFactor:
            shared = None if root is None else variances["smooth"] ** 0.5 * root
            return RayFactor(self.transform, self.prior(variances), shared, rays)

        diagonals = {name: d[rays] for name, d in self.diagonals.items()}
        return LatentRays(factor, groups, diagonals, tuple(self.covariance.filters))

    @property
    def hyperprior(self) -> None:
        """Nothing is known of the variances before the scan."""
        return

    def drive(self, residual: Tensor) -> Tensor:
        """The residual y − A x̂, (rays,), plus A J w*: the zero-mean prior is one of w, not of w − w*."""
        return residual + self.response

    def weight_draws(
        self, variances: Mapping[str, float], data_factor: Tensor, n: int, *, generator: torch.Generator
    ) -> Tensor:
        """Draws of w − w* from the posterior given all rays, about zero, (n, P), by Matheron's rule.

        Args:
            variances: by name.
            data_factor: lower Cholesky factor of the rays' covariance with these variances, (rays, rays) float64.
            n: draws; each takes two passes.
            generator: of the draws.
        """
        prior, like = self.prior(variances), self.jacobian.weights()
        latent = torch.randn(n, *prior.in_shape, generator=generator, dtype=like.dtype).to(like.device)
        shape = (n, *self.transform.out_shape)
        errors = self.noise(variances).sample(shape, generator=generator, dtype=torch.float64).to(like.device)
        left = errors - self.transform(prior(latent)).double()
        dual = torch.cholesky_solve(left.flatten(1).mT, data_factor).mT.reshape(shape)
        moved = latent + prior.adjoint(self.transform.adjoint(dual.to(like.dtype)))
        return WeightRoot(self.groups, variances, like)(moved[:, : len(like)])

    def linearisation_error(
        self, variances: Mapping[str, float], data_factor: Tensor, n: int, *, generator: torch.Generator
    ) -> float:
        """See `dip.linearisation_error`, over `weight_draws`.

        Args:
            variances: by name.
            data_factor: lower Cholesky factor of the rays' covariance with these variances, (rays, rays) float64.
            n: draws.
            generator: of the draws.
        """
        return linearisation_error(self.jacobian, self.weight_draws(variances, data_factor, n, generator=generator))

    def posterior(
        self,
        variances: Mapping[str, float],
        mean: Tensor,
        settings: PosteriorSettings,
        *,
        generator: torch.Generator,
    ) -> DensePosterior | SampledPosterior:
        """What is known of the image once all rays are measured.

        Args:
            variances: by name, in squared units of `mean`.
            mean: (row, col), or (slice, row, col).
            settings: how it is computed.
            generator: of what a method draws for itself, such as a preconditioner; not of the samples.
        """
        prior, noise = self.prior(variances), self.noise(variances)
        method = settings.method_for(mean.numel(), math.prod(self.transform.out_shape))
        block = settings.draws_together(method, math.prod(prior.in_shape), math.prod(self.transform.out_shape))
        if method == "dense":
            return DensePosterior(self.transform, covariance_root(prior.covariance()), noise=noise, mean=mean)
        update = self._update(method, variances, noise, settings, generator, last=True)
        return SampledPosterior(update, mean=mean, n_samples=settings.n_samples, block=block)

    def sketched(
        self, variances: Mapping[str, float], seen: Tensor, settings: PosteriorSettings, generator: torch.Generator
    ) -> LinearModel:
        """The same with a sketch of all rays' covariance, which preconditions whatever is solved for from then on.

        Args:
            variances: by name.
            seen: shaped as the rays, bool: those that will never be left out.
            settings: its rank, `preconditioner_rank`; 0 for none.
            generator: of the test vectors.
        """
        rank = min(settings.preconditioner_rank, int(seen.sum()))
        if rank == 0:
            return self
        weights, prior, noise = self.jacobian.weights(), self.prior(variances), self.noise(variances)
        sketch = ray_sketch(
            WhitenedRays(self.transform, prior, GaussianNoise(1.0), weights.dtype, weights.device),
            rank,
            seen=seen,
            noise_std=noise.standard_deviation(torch.zeros_like(seen, dtype=torch.float64)),
            variances=variances,
            generator=generator,
            rounding=torch.finfo(weights.dtype).eps,
            batch=settings.draws_together("cg", math.prod(prior.in_shape), seen.numel()),
        )
        return replace(self, sketch=sketch)

    def unseeing_update(
        self, variances: Mapping[str, float], unseen: Tensor, settings: PosteriorSettings, generator: torch.Generator
    ) -> PathwiseUpdate:
        """Conditions draws on all rays but some, by products alone.

        Args:
            variances: by name.
            unseen: shaped as the rays, bool: those left out, by a variance that says nothing.
            settings: how the equations are solved.
            generator: of what the method draws for itself.
        """
        noise = self.noise(variances)
        variance = torch.as_tensor(noise.variance)
        deaf = GaussianNoise(torch.where(unseen, _UNSEEN * variance.max(), variance), noise.view_covariance)
        method: Literal["cg", "sgd"] = "sgd" if settings.method == "sgd" else "cg"
        return self._update(method, variances, deaf, settings, generator, last=False)

    def _update(
        self,
        method: Literal["cholesky", "cg", "sgd", "sdd"],
        variances: Mapping[str, float],
        noise: GaussianNoise,
        settings: PosteriorSettings,
        generator: torch.Generator,
        *,
        last: bool,
    ) -> PathwiseUpdate:
        weights = self.jacobian.weights()
        rays = WhitenedRays(self.transform, self.prior(variances), noise, weights.dtype, weights.device)
        tolerance, iterations = settings.tolerance, settings.max_iterations
        rank = settings.preconditioner_rank
        sketched = None if self.sketch is None else self.sketch.preconditioner(noise, variances, last=last)
        if method in ("cg", "sgd"):
            kind = ConjugateGradientUpdate if method == "cg" else SampleThenOptimiseUpdate
            return kind(
                rays,
                tolerance=tolerance,
                iterations=iterations,
                rank=rank,
                generator=generator,
                batch=settings.draws_together(method, math.prod(rays.in_shape), math.prod(rays.out_shape)),
                preconditioner=sketched,
            )
        white = rays.whiten_covariance(self.covariance.matrix(variances))
        if method == "sdd":
            return StochasticDualDescentUpdate(
                rays, white, tolerance=tolerance, sweeps=iterations, rank=rank, generator=generator
            )
        return CholeskyUpdate(rays, torch.linalg.cholesky(white), tolerance=tolerance)
