"""What KMNIST's images get from other methods; writes JSON.

python -m tests.benchmarks.baselines [--methods matern mc_dropout ensemble] [--images 3] [--angles 20] [--noise 0.05]

Matérn: Gaussian-process regression. MC dropout: 2,000 passes. Ensemble: five of our fits. The figures join those in
results/baselines.json after every setting. Their joint log-likelihood is that of mean and sample covariance as they
are, or of its diagonal; "best" ones have a factor and an extra variance of all pixels that the truth chooses for every
image. ctuq's own figures are kmnist.py's.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

import ctuq
from tests.benchmarks.deep_ensemble import member_images
from tests.benchmarks.environment import SHARED_DATA
from tests.benchmarks.joint_likelihood import variants
from tests.benchmarks.kmnist import FLOOR, score_errors, simulate
from tests.benchmarks.matern_regression import matern_posterior
from tests.benchmarks.mc_dropout import dropout_images
from tests.benchmarks.setting_rows import merge_row

Moments = tuple[Tensor, Tensor]  # mean (row, col) and covariance (row · col, the same), float64


def sample_moments(images: Tensor) -> Moments:
    """Of (n, row, col)."""
    return images.mean(dim=0), torch.cov(images.flatten(1).mT)


def _matern(scan: ctuq.Scan, _: torch.Generator) -> Moments:
    posterior = matern_posterior(scan)
    return posterior.mean, posterior.covariance()


METHODS: dict[str, Callable[[ctuq.Scan, torch.Generator], Moments]] = {
    "matern": _matern,
    "mc_dropout": lambda scan, generator: sample_moments(dropout_images(scan, generator=generator)),
    "ensemble": lambda scan, generator: sample_moments(member_images(scan, generator=generator)),
}


def run(method: str, image: np.ndarray, index: int, n_angles: int, level: float) -> dict[str, float]:
    """Every score of one method for one image."""
    scan, _ = simulate(image, index, n_angles, level)
    started = time.process_time()  # cores may be shared
    mean, covariance = METHODS[method](scan, torch.Generator().manual_seed(index))
    seconds = time.process_time() - started
    error = torch.as_tensor(image) - mean
    return {
        "psnr_db": float(-10 * torch.log10(error.square().mean())),
        **score_errors(error, covariance),
        **variants(error, covariance, floor=FLOOR),
        "seconds": seconds,
    }


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", choices=METHODS, nargs="*", default=list(METHODS))
    parser.add_argument("--split", choices=["test", "validation"], default="test", help="validation writes nothing")
    parser.add_argument("--images", type=int, default=3)
    parser.add_argument("--angles", type=int, nargs="*", default=[5, 10, 20, 30])
    parser.add_argument("--noise", type=float, nargs="*", default=[0.05, 0.1])
    options = parser.parse_args()
    torch.set_flush_denormal(True)  # as the command line does
    images = np.load(SHARED_DATA / "kmnist" / "kmnist.npz")[options.split][: options.images] / 255.0
    for method, n_angles, level in itertools.product(options.methods, options.angles, options.noise):
        rows = [run(method, image, index, n_angles, level) for index, image in enumerate(images)]
        mean = {key: statistics.fmean(row[key] for row in rows) for key in rows[0]}
        shown = {key: round(value, 2) for key, value in mean.items() if "joint" in key or key in ("psnr_db", "seconds")}
        print(method, n_angles, level, shown, flush=True)
        if options.split == "test":
            found = {"angles": n_angles, "noise": level, method: {"mean": mean, "images": rows}}
            print("written to", merge_row("baselines", found, floor=FLOOR), flush=True)


if __name__ == "__main__":
    main()
