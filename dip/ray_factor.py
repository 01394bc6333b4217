"""The rays by independent latents: weights and pixels through the image, and errors that a view shares."""

from __future__ import annotations

import torch
from torch import Tensor

from dip.prior import NetworkPrior
from operators import RayTransform
from operators.linear_map import batch_shape


class RayFactor:
    """Φ = [A F, I ⊗ R] of some rays, a `LinearMap` from latents to (rays,).

    Passes through the network and A run in the dtype of the weights, whatever that of the vectors.

    Args:
        transform: A, image -> (angle, detector), or volume -> (angle, row, detector).
        prior: F; its latents come first.
        view_root: R with R Rᵀ the covariance of errors that rays of one view share, (detector, detector); their latents
            (one a ray) follow. None: no such errors.
        rays: which, (rays,) into all, numbered along A's flattened output.
    """

    def __init__(self, transform: RayTransform, prior: NetworkPrior, view_root: Tensor | None, rays: Tensor) -> None:
        self._transform, self._prior, self._view_root, self._rays = transform, prior, view_root, rays
        self._n_all = torch.Size(transform.out_shape).numel()
        self._dtype = prior.jacobian.weights().dtype

    @property
    def in_shape(self) -> tuple[int]:
        """(latents,)."""
        return (self._prior.in_shape[0] + (0 if self._view_root is None else self._n_all),)

    @property
    def out_shape(self) -> tuple[int]:
        """(rays,)."""
        return (len(self._rays),)

    def __call__(self, x: Tensor) -> Tensor:
        """(*batch, latents) -> (*batch, rays)."""
        batch = batch_shape(x, self.in_shape, "latent")
        image, errors = torch.tensor_split(x, self._prior.in_shape, dim=-1)
        views = self._transform(self._prior(image.to(self._dtype))).to(x)
        if self._view_root is not None:
            views = views + errors.reshape(*batch, *self._transform.out_shape) @ self._view_root.mT.to(x)
        return views.flatten(-len(self._transform.out_shape))[..., self._rays]

    def adjoint(self, y: Tensor) -> Tensor:
        """(*batch, rays) -> (*batch, latents)."""
        batch = batch_shape(y, self.out_shape, "rays")
        flat = y.new_zeros(*batch, self._n_all)
        flat[..., self._rays] = y
        views = flat.reshape(*batch, *self._transform.out_shape)
        image = self._prior.adjoint(self._transform.adjoint(views.to(self._dtype))).to(y)
        if self._view_root is None:
            return image
        return torch.cat([image, (views @ self._view_root.to(y)).flatten(-views.ndim + len(batch))], dim=-1)
