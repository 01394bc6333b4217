"""A deep ensemble: fits of networks with initial weights of their own, and what sets their images apart."""

from __future__ import annotations

import torch
from torch import Tensor

import ctuq
from ctuq.network_input import network_input
from dip import Holdout, UNet, fit, hold_out
from operators import RayTransform
from tests.benchmarks.kmnist import CONFIG

MEMBERS = 5
# Share of the rays that each member leaves out until it has chosen its step; the product's is 0.1 of four.
CHOOSES = 0.08


def member_images(scan: ctuq.Scan, *, generator: torch.Generator) -> Tensor:
    """Images of five of the product's fits, (members, row, col) float64, every one refitted to all rays.

    Settings and inputs are those of configs/kmnist.yaml; no ray is kept to judge by.
    """
    config = ctuq.load_config(CONFIG)
    drawn = hold_out(scan.geometry.sinogram_shape, CHOOSES, n_members=MEMBERS, generator=generator)
    holdout = Holdout(drawn.chooses, torch.zeros_like(drawn.judges))
    inputs = [network_input(scan.geometry, scan.sinogram, fitted) for fitted in holdout.fitted]
    stacked = torch.stack(inputs)[:, None, None].float()
    found = fit(
        [UNet(config.network, generator=generator) for _ in range(MEMBERS)],
        stacked,
        RayTransform(scan.geometry),
        scan.sinogram.float(),
        holdout=holdout,
        settings=config.fit,
    )
    with torch.no_grad():
        return torch.stack(
            # Rounded to float32, saturated pixels would have no deviation at all.
            [torch.sigmoid(n.before_output(z).double())[0, 0] for n, z in zip(found.networks, stacked, strict=True)]
        )
