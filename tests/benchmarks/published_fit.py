"""Fit KMNIST images with the network and schedule of arXiv 2203.00479, and hold the images against the truth.

python -m tests.benchmarks.published_fit [--images 3] [--angles 20 5 10 30] [--noise 0.05 0.1]

That paper's TV weights and numbers of steps, which were tuned with the truth, for each setting. Results are written
after every setting, into results/published_fit.json; the settings that are there and not asked for stay.

As in the public code (github.com/educating-dip/bayes_dip): 76,905 weights and their initial distribution, the filtered
back-projection with a ramp as input, Adam at a constant 1e-4, gradients of a norm of at most 1. That code gives the
image of the lowest loss; here it stands beside that of the last step. Our upsampling does not align corners, which
theirs does, and they bound what goes into the sigmoid by ±9.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

import ctuq
from dip import UNet, UNetSettings
from dip.misfit import total_variation
from operators import RayTransform, filtered_back_projection
from tests.benchmarks.environment import SHARED_DATA
from tests.benchmarks.kmnist import simulate
from tests.benchmarks.setting_rows import merge_row

LEARNING_RATE = 1e-4
GRADIENT_CLIP = 1.0


@dataclass(frozen=True)
class Schedule:
    """Weight γ of the total variation against the mean square residual (mm²), and steps of Adam."""

    tv_weight: float
    steps: int


SCHEDULES = {  # by angles and noise
    (5, 0.05): Schedule(1e-5, 14_000),
    (10, 0.05): Schedule(3e-5, 29_000),
    (20, 0.05): Schedule(1e-4, 41_000),
    (30, 0.05): Schedule(1e-4, 50_000),
    (5, 0.1): Schedule(3e-5, 7_400),
    (10, 0.1): Schedule(1e-4, 13_000),
    (20, 0.1): Schedule(3e-4, 17_000),
    (30, 0.1): Schedule(3e-4, 22_000),
}


def published_network(generator: torch.Generator) -> UNet:
    """Our U-Net with the published connections and without our second convolution of the input; 76,905 weights."""
    network = UNet(UNetSettings(skip_channels=(4, 4), output="sigmoid"), generator=generator)
    network.inward = nn.Sequential(*list(network.inward)[:2])
    network.skips = nn.ModuleList(nn.Sequential(skip, nn.LeakyReLU(0.2)) for skip in network.skips)
    with torch.no_grad():
        for convolution in network.convolutions().values():  # torch's own start, but by a generator
            bound = 1 / math.sqrt(math.prod(convolution.weight.shape[1:]))
            for parameter in convolution.parameters():
                parameter.uniform_(-bound, bound, generator=generator)
    return network


def train(scan: ctuq.Scan, schedule: Schedule, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images (row, col) of the last step and of the lowest loss."""
    network: nn.Module = published_network(generator).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    parameters = list(network.parameters())
    optimiser = torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)
    # At this size a dense matrix is faster than a sparse one.
    matrix = torch.as_tensor(RayTransform(scan.geometry).matrix().toarray()).float()
    data = scan.sinogram.float().reshape(-1)
    network_input = filtered_back_projection(scan.geometry, scan.sinogram.float())[None, None]
    lowest, best = math.inf, network_input[0, 0]
    for _ in range(schedule.steps):
        optimiser.zero_grad()
        image = network(network_input)[0, 0]
        misfit = (matrix @ image.reshape(-1) - data).square().mean()
        loss = misfit + schedule.tv_weight * total_variation(image)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, GRADIENT_CLIP)
        optimiser.step()
        if loss.item() < lowest:
            lowest, best = loss.item(), image.detach()
    with torch.no_grad():
        return network(network_input)[0, 0], best


def run(image: np.ndarray, index: int, n_angles: int, level: float) -> dict[str, float]:
    """Fit one image; PSNR in dB for a range of 1, and seconds of one core."""
    scan, _ = simulate(image, index, n_angles, level)
    started = time.process_time()  # cores may be shared
    last, best = train(scan, SCHEDULES[n_angles, level], generator=torch.Generator().manual_seed(index))
    seconds = time.process_time() - started
    truth = torch.as_tensor(image)
    return {
        "psnr_db": float(-10 * torch.log10((truth - last).square().mean())),
        "lowest_loss_psnr_db": float(-10 * torch.log10((truth - best).square().mean())),
        "seconds": seconds,
    }


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=3)
    parser.add_argument("--angles", type=int, nargs="*", default=[20, 5, 10, 30])
    parser.add_argument("--noise", type=float, nargs="*", default=[0.05, 0.1])
    options = parser.parse_args()
    torch.set_flush_denormal(True)  # as the command line does
    images = np.load(SHARED_DATA / "kmnist" / "kmnist.npz")["test"][: options.images] / 255.0
    for n_angles, level in itertools.product(options.angles, options.noise):
        rows = []
        for index, image in enumerate(images):
            rows.append(run(image, index, n_angles, level))
            print(n_angles, level, index, {key: float(f"{value:.4g}") for key, value in rows[-1].items()}, flush=True)
        schedule = SCHEDULES[n_angles, level]
        found = {
            "angles": n_angles,
            "noise": level,
            "tv_weight": schedule.tv_weight,
            "steps": schedule.steps,
            "mean": {key: statistics.fmean(row[key] for row in rows) for key in rows[0]},
            "images": rows,
        }
        print("written to", merge_row("published_fit", found, learning_rate=LEARNING_RATE), flush=True)


if __name__ == "__main__":
    main()
