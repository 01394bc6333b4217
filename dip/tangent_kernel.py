"""The linearised networks as a Gaussian process on the pixels: their normalised tangent kernel, for small images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dip.gram import symmetric_product
from dip.hyperprior import LogNormal, LogNormalPrior
from dip.jacobian import NetworkJacobian
from dip.posterior import DensePosterior, covariance_root
from dip.posterior_settings import PosteriorSettings
from dip.ray_covariance import RayCovariance
from operators import GaussianNoise, RayTransform

_SHARE_OF_NEIGHBOURS = 0.4
# Of KMNIST's validation images, in all eight settings of angles and noise; in units of the image's scale, squared.
_HYPERPRIORS = {"network": LogNormal(3.0, 0.7), "flat": LogNormal(0.01, 2.0), "pixels": LogNormal(1e-6, 1.0)}


@dataclass(frozen=True)
class TangentKernelModel:
    """The rays under x ~ N(x̂, θ₁ S R S + θ₂ R + τ² I), with R the normalised tangent kernel of an ensemble.

    J Jᵀ (the neural tangent kernel, arXiv 1806.07572) says which pixels the network moves together, and its diagonal
    how far, which depends on the size of activations more than on what is known of a pixel: on KMNIST, with its
    diagonal taken out and the slope S of the sigmoid put in its place, the density of the truth rose by half a nat a
    pixel. A saturated pixel may be wrong all the same, the more so beside one that is not: S is at least a share of the
    largest slope around, and hence the second term. Means over members' kernels are better than one member's.
    Errors of the rays are white: this is no model of scans whose views disagree.

    Args:
        transform: A.
        kernels: pixel covariances by name, each (row · col, row · col) float64: "network" (S R S), "flat" (R) and
            "pixels" (white).
        covariance: of all rays, variances named after the kernels, and "noise".
        hyperprior: of the variances.
    """

    transform: RayTransform
    kernels: Mapping[str, Tensor]
    covariance: RayCovariance
    hyperprior: LogNormalPrior

    @property
    def rays(self) -> Tensor:
        """Which rays the covariance is of: all."""
        return torch.arange(math.prod(self.transform.out_shape), device=self.covariance.diagonals["noise"].device)

    def noise(self, variances: Mapping[str, float]) -> GaussianNoise:
        """The part of the covariance that is error of the rays."""
        return GaussianNoise(self.covariance.diagonal(variances).reshape(self.transform.out_shape))

    def prior_covariance(self, variances: Mapping[str, float]) -> Tensor:
        """The part of the covariance that is the image, (row · col, row · col)."""
        return torch.stack([variances[name] * kernel for name, kernel in self.kernels.items()]).sum(dim=0)

    def drive(self, residual: Tensor) -> Tensor:
        """The residual y − A x̂, (rays,), itself: the images' prior is about x̂."""
        return residual

    def linearisation_error(
        self,
        variances: Mapping[str, float],  # noqa: ARG002 (as of any model of the rays)
        data_factor: Tensor,  # noqa: ARG002
        n: int,  # noqa: ARG002
        *,
        generator: torch.Generator,  # noqa: ARG002
    ) -> float | None:
        """None: the kernel is normalised and a mean over members, so that no network's weights belong to its draws.

        Args:
            variances: not looked at, like the others: they are asked of every model.
            data_factor: likewise.
            n: likewise.
            generator: likewise.
        """
        return None

    def posterior(
        self,
        variances: Mapping[str, float],
        mean: Tensor,
        settings: PosteriorSettings | None = None,  # noqa: ARG002 (there is no other way)
        *,
        generator: torch.Generator | None = None,  # noqa: ARG002 (nothing is drawn)
    ) -> DensePosterior:
        """What is known of the image once all rays are measured, exactly.

        Args:
            variances: by name, in squared units of `mean`.
            mean: (row, col).
            settings: not looked at, as there is one way only.
            generator: likewise.
        """
        root = covariance_root(self.prior_covariance(variances))
        return DensePosterior(self.transform, root, noise=self.noise(variances), mean=mean)


def tangent_kernel(
    jacobians: Sequence[NetworkJacobian],
    transform: RayTransform,
    image: Tensor,
    *,
    relative_noise: Tensor,
    on_step: Callable[[int, int], None] | None = None,
) -> TangentKernelModel:
    """The model at the price of one vector-Jacobian product for every pixel and member.

    Args:
        jacobians: J of every member of the ensemble.
        transform: A, image (row, col) -> (angle, detector).
        image: their mean, (row, col), from 0 to 1.
        relative_noise: (angle, detector) float64, variance of every ray's noise up to a factor that is learned.
        on_step: called as (members done, members).

    Raises:
        ValueError: networks without a sigmoid output, whose slope is the kernel's scale.
    """
    saturates = isinstance(jacobians[0].network.output, nn.Sigmoid)
    if not saturates:
        raise ValueError("expected networks with a sigmoid output, got linear ones: try a prior of the weights")
    total = torch.zeros(image.numel(), image.numel(), dtype=torch.float64, device=image.device)
    for done, jacobian in enumerate(jacobians):
        total += tangent_correlation(jacobian) / len(jacobians)
        if on_step is not None:
            on_step(done + 1, len(jacobians))
    reach = _slope(image).reshape(-1).double()
    kernels = {
        "network": reach[:, None] * total * reach,
        "flat": total,
        "pixels": torch.eye(image.numel(), dtype=torch.float64, device=image.device),
    }
    matrix = torch.as_tensor(transform.matrix().toarray()).to(total)
    covariance = RayCovariance(
        {name: matrix @ kernel @ matrix.mT for name, kernel in kernels.items()},
        {"noise": relative_noise.reshape(-1)},
    )
    return TangentKernelModel(transform, kernels, covariance, LogNormalPrior(_HYPERPRIORS))


def _slope(image: Tensor) -> Tensor:
    """Of the sigmoid behind an image from 0 to 1, 1 where it is steepest, at least a share of its neighbours'."""
    slope = 4 * image * (1 - image)
    around = functional.max_pool2d(slope[None, None], 3, stride=1, padding=1)[0, 0]
    return torch.maximum(slope, _SHARE_OF_NEIGHBOURS * around)


def tangent_correlation(jacobian: NetworkJacobian) -> Tensor:
    """J Jᵀ with its diagonal scaled to 1, (row · col, row · col) float64; a pixel that no weight moves is alone."""
    n_pixels = math.prod(jacobian.out_shape)
    weights = jacobian.weights()
    unit = torch.eye(n_pixels, dtype=weights.dtype, device=weights.device).reshape(n_pixels, *jacobian.out_shape)
    gram = symmetric_product(jacobian.adjoint(unit))
    std = gram.diagonal().sqrt()
    std = torch.where(std > 0, std, 1.0)
    correlation = gram / torch.outer(std, std)
    correlation.diagonal().fill_(1.0)
    return correlation
