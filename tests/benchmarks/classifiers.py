"""Small classifiers from images to logits, without biases, so that all their weights are in the Jacobian."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from dip.layers import weighted

_EPSILON = 1e-8  # of a normalisation: torch's 1e-5 is no longer small beside features of small weights


def perceptron(n_pixels: int, *, hidden: int, depth: int, n_classes: int = 10) -> nn.Sequential:
    """`depth` hidden layers with tanh between."""
    sizes = [n_pixels, *[hidden] * depth]
    bodies: list[nn.Module] = [nn.Flatten()]
    for n_in, n_out in itertools.pairwise(sizes):
        bodies += [nn.Linear(n_in, n_out, bias=False), nn.Tanh()]
    return nn.Sequential(*bodies, nn.Linear(sizes[-1], n_classes, bias=False))


class LeNet(nn.Module):
    """Two convolutions and one linear layer for images of 28 x 28 (LeCun 1998); 3,870 weights.

    Args:
        norm: group normalisation after the convolutions, by which the scale of their weights changes nothing. It has no
            parameters, as laplace-torch's KFAC takes none of a normalisation.
    """

    def __init__(self, *, norm: bool) -> None:
        super().__init__()
        self.body = nn.Sequential(*self._stage(1, 6, norm=norm), *self._stage(6, 12, norm=norm), nn.Flatten())
        self.head = nn.Linear(12 * 4 * 4, 10, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1, 28, 28) -> logits (n, 10)."""
        logits: Tensor = self.head(self.body(x))
        return logits

    @staticmethod
    def _stage(n_in: int, n_out: int, *, norm: bool) -> list[nn.Module]:
        between = [nn.GroupNorm(3, n_out, eps=_EPSILON, affine=False)] if norm else []
        return [nn.Conv2d(n_in, n_out, 5, bias=False), *between, nn.ReLU(), nn.AvgPool2d(2)]


class _Block(nn.Module):
    """Two 3x3 convolutions around which the input is carried (arXiv 1512.03385)."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(),
            nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(n_out),
        )
        self.around: nn.Module = nn.Identity()
        if stride != 1 or n_in != n_out:
            self.around = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))
        self.bend = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bend(self.inner(x) + self.around(x))
        return out


def resnet18(*, channels: int = 64, n_classes: int = 10) -> nn.Sequential:
    """ResNet-18 for images (3, 32, 32): a 3x3 stem without pooling; 11.2 million weights with 64 channels."""
    stages: list[nn.Module] = [nn.Conv2d(3, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
    n_in = channels
    for scale in range(4):
        n_out = channels * 2**scale
        stages.append(nn.Sequential(_Block(n_in, n_out, 1 if scale == 0 else 2), _Block(n_out, n_out, 1)))
        n_in = n_out
    return nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(n_in, n_classes, bias=False))


def initialised(network: nn.Module, *, generator: torch.Generator) -> nn.Module:
    """The network with weights from N(0, 1/fan-in)."""
    with torch.no_grad():
        for module in weighted(network).values():
            fan_in = math.prod(module.weight.shape[1:])
            module.weight.normal_(0, 1 / math.sqrt(fan_in), generator=generator)
    return network


class Dropout:
    """A forward hook that zeroes whole features, (n, feature, ...), and scales the others to keep the mean.

    torch's own dropout draws from the global generator.

    Args:
        probability: of a feature to be zeroed.
        generator: draws which.
    """

    def __init__(self, probability: float, *, generator: torch.Generator) -> None:
        self.probability, self.generator = probability, generator

    def __call__(self, module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        """(n, feature, ...) -> the same."""
        kept = 1 - self.probability
        shape = (*output.shape[:2], *[1] * (output.ndim - 2))
        return output * torch.empty(shape, dtype=output.dtype).bernoulli_(kept, generator=self.generator) / kept


def train(
    make: Callable[[], nn.Module],
    data: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    generator: torch.Generator,
    dropout: float = 0.0,
) -> nn.Module:
    """A network trained by Adam on cross entropy, as it was at the step that validation inputs liked best.

    Args:
        make: a network with initial weights.
        data: inputs and labels.
        validation: likewise; looked at every twentieth of the steps, by mean log-likelihood.
        steps: of Adam, from the rate down to zero by a cosine.
        batch: inputs a step.
        learning_rate: at the start.
        generator: of batches and of what is left out.
        dropout: probability, after every activation. The network keeps its hooks, and so goes on dropping.
    """
    network = make()
    if dropout:
        for module in network.modules():
            if isinstance(module, (nn.ReLU, nn.Tanh)):
                module.register_forward_hook(Dropout(dropout, generator=generator))
    optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    inputs, labels = data
    best, kept = math.inf, network.state_dict()
    for step in range(1, steps + 1):
        chosen = torch.randint(len(inputs), (batch,), generator=generator)
        optimiser.zero_grad()
        loss: Tensor = nn.functional.cross_entropy(network(inputs[chosen]), labels[chosen])
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if step % max(1, steps // 20) == 0:
            with torch.no_grad():
                value = float(nn.functional.cross_entropy(network(validation[0]), validation[1]))
            if value < best:
                best, kept = value, {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.load_state_dict(kept)
    return network
