"""Monte Carlo dropout (arXiv 1506.02142), as arXiv 2203.00479 compares with it: passes with channels left out.

As in that paper, whole channels are dropped with a probability of 5 % after every 3x3 convolution, in training and in
the passes that make image and covariance.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

import ctuq
from ctuq.network_input import network_input
from dip import FitSettings, UNet, UNetSettings
from dip.misfit import total_variation
from operators import RayTransform
from tests.benchmarks.kmnist import CONFIG

PROBABILITY = 0.05
STEPS = 3000  # better on validation images than 900 or 9,000
PASSES, BATCH = 2000, 100


class ChannelDropout:
    """A forward hook that zeroes whole channels of each image and scales the others to keep the mean.

    torch's own dropout draws from the global generator.

    Args:
        probability: of a channel to be zeroed, from 0 to below 1.
        generator: draws which.
    """

    def __init__(self, probability: float, *, generator: torch.Generator) -> None:
        self.probability, self.generator = probability, generator

    def __call__(self, module: nn.Module, inputs: object, output: Tensor) -> Tensor:
        """(n, channel, row, col) -> the same."""
        kept = 1 - self.probability
        factor = torch.empty(*output.shape[:2], 1, 1).bernoulli_(kept, generator=self.generator) / kept
        return output * factor


def dropout_network(settings: UNetSettings, *, generator: torch.Generator) -> UNet:
    """The product's network with dropout after every 3x3 convolution."""
    network = UNet(settings, generator=generator)
    for convolution in network.convolutions().values():
        if convolution.kernel_size == (3, 3):
            convolution.register_forward_hook(ChannelDropout(PROBABILITY, generator=generator))
    return network


def passes(network: UNet, network_input: Tensor, n: int) -> Tensor:
    """Images (n, row, col) float64 of n passes over one input (1, 1, row, col)."""
    with torch.no_grad():
        logits = [
            network.before_output(network_input.expand(min(BATCH, n - start), -1, -1, -1))
            for start in range(0, n, BATCH)
        ]
    # Rounded to float32, saturated pixels would have no deviation at all.
    return torch.sigmoid(torch.cat(logits)[:, 0].double())


def dropout_images(scan: ctuq.Scan, *, generator: torch.Generator) -> Tensor:
    """Images of a trained network's passes, (passes, row, col) float64, trained on all rays."""
    config = ctuq.load_config(CONFIG)
    network = dropout_network(config.network, generator=generator).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    seen = torch.ones_like(scan.sinogram, dtype=torch.bool)
    z = network_input(scan.geometry, scan.sinogram, seen)[None, None].float()
    _train(network, z, scan, config.fit)
    return passes(network, z, PASSES)


def _train(network: UNet, z: Tensor, scan: ctuq.Scan, settings: FitSettings) -> None:
    """One cycle of Adam on the loss of the product's fit, with other channels left out in every step."""
    parameters = list(network.parameters())
    optimiser = torch.optim.Adam(parameters, lr=settings.learning_rate, betas=(0.9, 0.99), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=settings.learning_rate, total_steps=STEPS, pct_start=0.1, cycle_momentum=False
    )
    transform, data = RayTransform(scan.geometry), scan.sinogram.float()
    power = data.square().sum()
    assert settings.tv_weights is not None
    (tv_weight,) = settings.tv_weights
    for _ in range(STEPS):
        optimiser.zero_grad()
        image = network(z)[0, 0]
        misfit = (transform(image) - data).square().sum() / power
        loss: Tensor = misfit + tv_weight * total_variation(image)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, settings.gradient_clip)
        optimiser.step()
        schedule.step()
