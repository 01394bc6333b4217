"""A linearised classifier with its own likelihood, and where to expand that: at its mode instead of at the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from dip import NetworkJacobian
from tests.benchmarks.softmax_likelihood import ClassifierModel, SoftmaxRoot, label_residual, rows_of

_EVALUATIONS = 200


class Mode(NamedTuple):
    """Where the posterior is highest.

    Args:
        weights: (P,).
        passes: products with J or its transpose that it took.
    """

    weights: Tensor
    passes: int


@dataclass(frozen=True)
class LinearClassifier:
    """Logits h(w) = f + J (w − w*), and labels.

    Args:
        rows: J, (input · class, P).
        network_logits: f, (input, class).
        network_weights: w*, (P,).
        labels: (input,).
    """

    rows: Tensor
    network_logits: Tensor
    network_weights: Tensor
    labels: Tensor

    @classmethod
    def of(cls, network: nn.Module, inputs: Tensor, labels: Tensor) -> Self:
        """The network, linearised at its weights."""
        with torch.no_grad():
            logits = network(inputs)
        weights = NetworkJacobian(network, inputs[:1]).weights()
        return cls(rows_of(network, inputs, whitened=False), logits, weights, labels)

    def logits(self, weights: Tensor) -> Tensor:
        """(P,) -> (input, class)."""
        return self.network_logits + (self.rows @ (weights - self.network_weights)).reshape(self.network_logits.shape)

    def loss(self, weights: Tensor) -> Tensor:
        """Minus the log-likelihood of all labels, nats."""
        return nn.functional.cross_entropy(self.logits(weights), self.labels, reduction="sum")

    def slope(self, weights: Tensor) -> Tensor:
        """Of the loss, (P,)."""
        logits = self.logits(weights)
        missed = torch.softmax(logits, dim=-1) - nn.functional.one_hot(self.labels, logits.shape[1])
        slope: Tensor = self.rows.mT @ missed.flatten()
        return slope

    def mode(self, std: Tensor, start: Tensor) -> Mode:
        """The weights at which the posterior is highest, by L-BFGS in units of the prior's deviations.

        Args:
            std: of the prior, (P,).
            start: (P,).
        """
        std = std.to(start)
        white = (start / std.clamp(min=1e-12)).requires_grad_(True)
        optimiser = torch.optim.LBFGS([white], max_iter=_EVALUATIONS, history_size=30, line_search_fn="strong_wolfe")
        evaluations = 0

        def closure() -> Tensor:
            nonlocal evaluations
            evaluations += 1
            optimiser.zero_grad()
            energy = self.loss(std * white) + 0.5 * white.square().sum()
            energy.backward()  # type: ignore[no-untyped-call]
            return energy

        optimiser.step(closure)  # type: ignore[no-untyped-call]
        return Mode((std * white).detach(), 2 * evaluations)

    def expanded(self, weights: Tensor) -> ClassifierModel:
        """The likelihood to second order around h(w); at w*, that of `ClassifierModel.of`."""
        logits = self.logits(weights)
        columns = self.rows.mT.reshape(-1, *logits.shape)
        rows = SoftmaxRoot(logits)(columns).mT.contiguous()
        return ClassifierModel(rows, label_residual(logits, self.labels).double() + (rows @ weights).double())
