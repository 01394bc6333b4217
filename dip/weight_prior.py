"""The Gaussian prior of the weights: which of them share a variance, and Σ^{1/2}."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dip.filter_covariance import tap_root
from dip.jacobian import NetworkJacobian
from dip.layers import weighted
from dip.unet import UNet
from operators.linear_map import batch_shape

PriorKind = Literal["isotropic", "layer", "block", "filter-gp", "g-prior"]
"""Which weights share a variance, see `weight_groups`."""

_NORMALISATIONS = (nn.GroupNorm, nn.LayerNorm, _BatchNorm)
_LEAST_SENSITIVITY = 1e-4  # of the mean over the weights


@dataclass(frozen=True)
class WeightGroup:
    """Weights that share one prior variance s²: w ~ N(0, s² diag(relative_std)²), or filters N(0, s² C(ℓ)).

    Args:
        index: which weights, (n,) into (P,).
        relative_std: (n,).
        correlated: whether every nine neighbours in `index` are a 3x3 filter whose taps are correlated, with a length
            ℓ that all of them share.
    """

    index: Tensor
    relative_std: Tensor
    correlated: bool = False


def length_name(group: str) -> str:
    """What the length ℓ of a group of correlated filters is called beside the variances."""
    return f"{group}.length"


def check_prior_kind(kind: PriorKind, network: nn.Module) -> None:
    """Whether a network can have such a prior, known before any fit.

    Raises:
        ValueError: an unknown kind; filters to correlate where the network has none; or one variance for normalised
            weights, whose scale is arbitrary, and others (arXiv 2206.08900).
    """
    if kind not in get_args(PriorKind):
        raise ValueError(f"prior kind must be one of {get_args(PriorKind)}, got {kind!r}")
    if kind == "filter-gp" and not any(_is_filter(module) for module in weighted(network).values()):
        raise ValueError("prior kind 'filter-gp' needs 3x3 convolutions, and this network has none: try 'block'")
    if kind == "isotropic" and any(isinstance(module, _NORMALISATIONS) for module in network.modules()):
        raise ValueError(
            "prior kind 'isotropic' gives normalised weights, whose scale is arbitrary, and others one variance: "
            "try 'block' or 'g-prior'"
        )


def weight_groups(
    jacobian: NetworkJacobian, kind: PriorKind, *, sensitivity: Tensor | None = None
) -> dict[str, WeightGroup]:
    """The groups of a prior by name.

    "isotropic": all weights alike. "layer": each layer its own variance. "block": one for every stage of a U-Net at
    every scale, or for every module that another network is put together of. "filter-gp": by block, with the taps of
    each 3x3 filter correlated (arXiv 2203.00479); other layers have nothing to correlate. "g-prior":
    w_i ~ N(0, g / sensitivity_i) (arXiv 2206.08900, 2210.04994), so that every weight is allowed the same effect on the
    rays whatever its scale. There a weight that no ray sees counts as 1e-4 of the mean sensitivity: a deviation a
    hundred times that of an average weight at most.

    Args:
        jacobian: J.
        kind: of the prior.
        sensitivity: mean square of each column of A J, (P,); needed by "g-prior" alone.

    Raises:
        ValueError: see `check_prior_kind`; and "g-prior" without a sensitivity.
    """
    check_prior_kind(kind, jacobian.network)
    device = jacobian.weights().device
    if kind == "g-prior":
        if sensitivity is None:
            raise ValueError("prior kind 'g-prior' needs the sensitivity of every weight, got none")
        every = torch.arange(jacobian.in_shape[0], device=device)
        return {"g": WeightGroup(every, _inverse_root(sensitivity))}
    layers: dict[str, list[str]] = {}
    for name in jacobian.layers():
        layers.setdefault(_group_of(name, jacobian, kind), []).append(name)
    return {name: _group(members, jacobian, correlated=kind == "filter-gp") for name, members in layers.items()}


def _group_of(name: str, jacobian: NetworkJacobian, kind: PriorKind) -> str:
    if kind == "isotropic":
        return "all"
    if kind == "layer":
        return name
    network = jacobian.network
    return network.scale_of(name) if isinstance(network, UNet) else name.partition(".")[0]


def _group(names: list[str], jacobian: NetworkJacobian, *, correlated: bool) -> WeightGroup:
    layers, modules = jacobian.layers(), weighted(jacobian.network)
    index = torch.cat([torch.arange(layers[name].start, layers[name].stop) for name in names])
    filters = all(_is_filter(modules[name]) for name in names)
    return WeightGroup(index.to(jacobian.weights().device), torch.ones(len(index)), correlated and filters)


def _is_filter(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and tuple(module.kernel_size) == (3, 3)


def _inverse_root(sensitivity: Tensor) -> Tensor:
    least = _LEAST_SENSITIVITY * sensitivity.mean()
    return sensitivity.clamp(min=least if least > 0 else 1.0).rsqrt()


class WeightRoot:
    """Σ^{1/2}, a `LinearMap` from N(0, I) latents (P,) to weights (P,).

    Args:
        groups: which together hold each of the P weights once.
        variances: s² of every group by its name, and lengths by `length_name`.
        like: gives dtype and device.
    """

    def __init__(self, groups: Mapping[str, WeightGroup], variances: Mapping[str, float], like: Tensor) -> None:
        n_weights = sum(len(group.index) for group in groups.values())
        std = torch.empty(n_weights, dtype=torch.float64, device=like.device)
        self._filters: list[tuple[Tensor, Tensor]] = []
        for name, group in groups.items():
            std[group.index] = variances[name] ** 0.5 * group.relative_std.to(std)
            if group.correlated:
                root = tap_root(variances[length_name(name)])
                self._filters.append((group.index.reshape(-1, 9), root.to(like)))
        self._std = std.to(like)

    @property
    def in_shape(self) -> tuple[int]:
        """(P,)."""
        return (len(self._std),)

    @property
    def out_shape(self) -> tuple[int]:
        """(P,)."""
        return self.in_shape

    def __call__(self, x: Tensor) -> Tensor:
        """(*batch, P) -> (*batch, P)."""
        batch_shape(x, self.in_shape, "latent")
        weights = x * self._std
        for taps, root in self._filters:
            weights[..., taps] = weights[..., taps] @ root.mT
        return weights

    def adjoint(self, y: Tensor) -> Tensor:
        """(*batch, P) -> (*batch, P)."""
        batch_shape(y, self.out_shape, "weights")
        latent = y * self._std
        for taps, root in self._filters:
            latent[..., taps] = latent[..., taps] @ root
        return latent
