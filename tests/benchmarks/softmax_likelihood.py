"""The likelihood of a classifier around its own logits: a linear map on the outputs, and noise of 1.

To second order in a change of the logits, the log-likelihood of a label is that of a Gaussian measurement: with the
softmax Hessian B = diag(p) − p pᵀ = C Cᵀ, C = diag(√p) − p √pᵀ, it measures Cᵀ f with unit noise, and sees C⁺(e − p)
besides the network's own logits, e being the label's unit vector. So A is Cᵀ, input by input, and N is the identity.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from dip import (
    DensePosterior,
    LatentRays,
    Learned,
    NetworkJacobian,
    RayCovariance,
    WeightGroup,
    WeightRoot,
    WhitenedRays,
    gram_matrices,
    log_evidence,
    maximise,
    ray_jacobian,
)
from operators import GaussianNoise, LinearMap, MatrixMap
from operators.linear_map import batch_shape

UNIT = GaussianNoise(1.0)


class SoftmaxRoot:
    """A = Cᵀ of every input: a `LinearMap` from changes of the logits (input, class) to rays (input · class,).

    Args:
        logits: (input, class), where the likelihood is expanded.
    """

    def __init__(self, logits: Tensor) -> None:
        self._probability = torch.softmax(logits.detach(), dim=-1)
        self._root = self._probability.sqrt()

    @property
    def in_shape(self) -> tuple[int, int]:
        """(input, class)."""
        n, n_classes = self._root.shape
        return (n, n_classes)

    @property
    def out_shape(self) -> tuple[int]:
        """(input · class,)."""
        return (self._root.numel(),)

    def __call__(self, x: Tensor) -> Tensor:
        """Cᵀ f: (*batch, input, class) -> (*batch, input · class)."""
        batch_shape(x, self.in_shape, "logits")
        return (self._root * (x - (self._probability * x).sum(-1, keepdim=True))).flatten(-2)

    def adjoint(self, y: Tensor) -> Tensor:
        """C u: (*batch, input · class) -> (*batch, input, class)."""
        batch = batch_shape(y, self.out_shape, "rays")
        own = self._root * y.reshape(*batch, *self.in_shape)
        return own - self._probability * own.sum(-1, keepdim=True)


def label_residual(logits: Tensor, labels: Tensor) -> Tensor:
    """C⁺(e − p), (input · class,): what the labels say beyond the logits, in units of their noise."""
    log_probability = torch.log_softmax(logits, dim=-1)
    unit = nn.functional.one_hot(labels, logits.shape[-1])
    return (unit * (-log_probability / 2).exp() - (log_probability / 2).exp()).flatten()


def rows_of(network: nn.Module, inputs: Tensor, *, whitened: bool) -> Tensor:
    """Cᵀ J, or J itself, of every input, (input · class, P): input by input, as no other one is in its rows."""
    parts = []
    for one in torch.split(inputs, 1):
        jacobian = NetworkJacobian(network, one, batch=16)
        with torch.no_grad():
            logits = network(one)
        unit: LinearMap = MatrixMap(torch.eye(logits.numel()).to(logits), in_shape=tuple(logits.shape))
        parts.append(ray_jacobian(jacobian, SoftmaxRoot(logits) if whitened else unit))
    return torch.cat(parts)


@dataclass(frozen=True)
class ClassifierModel:
    """A linearised classifier with its labels: data = rows (w − w*) + unit noise, about w = 0 by the prior.

    Args:
        rows: A J, (rays, P).
        data: C⁺(e − p) + A J w*, (rays,) float64.
        lost: log density of what `compressed` left out of the data.
    """

    rows: Tensor
    data: Tensor
    lost: float = 0.0

    @classmethod
    def of(cls, network: nn.Module, inputs: Tensor, labels: Tensor) -> Self:
        """Expanded at the network's own logits."""
        with torch.no_grad():
            residual = label_residual(network(inputs), labels)
        rows = rows_of(network, inputs, whitened=True)
        weights = NetworkJacobian(network, inputs[:1]).weights()
        return cls(rows, residual.double() + (rows @ weights).double())

    def compressed(self) -> ClassifierModel:
        """As many rays as there are weights, of which they say the same: R and Qᵀ data, with rows = Q R.

        What lies outside the span of the rows is noise of variance 1 whatever the prior.
        """
        basis, triangle = torch.linalg.qr(self.rows.double())
        data = basis.mT @ self.data
        left = float(self.data.square().sum() - data.square().sum())
        n_left = len(self.data) - len(data)
        return ClassifierModel(triangle, data, self.lost - 0.5 * (left + n_left * math.log(2 * math.pi)))

    def covariance(self, groups: Mapping[str, WeightGroup]) -> RayCovariance:
        """Of the rays, with the variances of the groups and of the "noise", which is 1."""
        return RayCovariance(gram_matrices(self.rows, groups), {"noise": torch.ones_like(self.data)})

    def evidence(self, groups: Mapping[str, WeightGroup], variances: Mapping[str, float]) -> float:
        """Exact, in nats."""
        return float(log_evidence(self.covariance(groups), variances, self.data)[0]) + self.lost

    def learn(
        self, groups: Mapping[str, WeightGroup], start: Mapping[str, float], *, max_evaluations: int = 60
    ) -> Learned:
        """Variances that maximise the exact evidence, uphill from `start`; the objective is without what was lost."""
        covariance, known = self.covariance(groups), {"noise": 1.0}
        return maximise(
            lambda variances: log_evidence(covariance, variances, self.data),
            {**start, **known},
            floors=known,
            ceilings=known,
            max_evaluations=max_evaluations,
        )

    def latent_rays(self, groups: Mapping[str, WeightGroup], product: LinearMap | None = None) -> LatentRays:
        """The same rays as products alone: with the rows, or with a map (P,) -> (rays,) that is given."""
        rows = product or MatrixMap(self.rows)

        def factor(variances: Mapping[str, float]) -> LinearMap:
            return WhitenedRays(rows, WeightRoot(groups, variances, self.rows), UNIT, self.rows.dtype)

        members = {name: group.index for name, group in groups.items()}
        return LatentRays(factor, members, {"noise": torch.ones_like(self.data)}, known=("noise",))

    def posterior(
        self, groups: Mapping[str, WeightGroup], variances: Mapping[str, float], weights: Tensor
    ) -> DensePosterior:
        """Of the weights, (P,), exactly, about w*."""
        root = WeightRoot(groups, variances, self.rows.double())
        std = root(torch.ones(root.in_shape, dtype=torch.float64))
        return DensePosterior(MatrixMap(self.rows.double()), std.diag(), noise=UNIT, mean=weights.double())


def predicted(network: nn.Module, inputs: Tensor, steps: Tensor) -> Tensor:
    """Mean over draws of w − w*, (draws, P), of the linearised network's class probabilities, (input, class)."""
    with torch.no_grad():
        logits = network(inputs)
    moved = NetworkJacobian(network, inputs, batch=4)(steps.to(logits))
    return torch.softmax((logits + moved).double(), dim=-1).mean(0)
