"""What KMNIST's images get without a network: a Matérn field, and one deviation for all pixels; writes JSON.

python -m tests.benchmarks.baselines [--images 3]

Matérn: Gaussian-process regression with ν = 3/2, its length, variances, constant and noise by the exact evidence, its
own mean. Constant: the mean of kmnist.py's run, and for every image the deviation that suits it best, which nobody
knows: more than any constant can do. It is computed from the PSNR alone, so that kmnist.py must have run.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics

import numpy as np
import torch
from torch import Tensor

import ctuq
from dip import DensePosterior, Learned, MaternPrior, RayCovariance, covariance_root, log_evidence, maximise
from operators import GaussianNoise, RayTransform
from tests.benchmarks.environment import RESULTS, SHARED_DATA, save
from tests.benchmarks.kmnist import FLOOR, score_errors, simulate

METHODS = ("ctuq", "matern")
LENGTHS_MM = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def matern_posterior(scan: ctuq.Scan) -> DensePosterior:
    """Regression with the length whose evidence is highest."""
    transform = RayTransform(scan.geometry)
    matrix = torch.as_tensor(transform.matrix().toarray())
    data = scan.sinogram.double().reshape(-1)
    fields = {length: _field(scan, length) for length in LENGTHS_MM}
    learned = {length: _learn(matrix, field, data) for length, field in fields.items()}
    length = max(learned, key=lambda length: learned[length].objective)
    variances = learned[length].variances
    prior = variances["field"] * fields[length] + variances["constant"]
    rays = matrix @ prior @ matrix.mT + variances["noise"] * torch.eye(len(data), dtype=torch.float64)
    mean = (prior @ matrix.mT @ torch.linalg.solve(rays, data)).reshape(transform.in_shape)
    return DensePosterior(transform, covariance_root(prior), noise=GaussianNoise(variances["noise"]), mean=mean)


def _field(scan: ctuq.Scan, length_mm: float) -> Tensor:
    """Covariance of all pixels, (row · col, row · col)."""
    factor = MaternPrior(scan.geometry.grid, smoothness=1.5, length_mm=length_mm, variance=1.0)
    n_pixels = math.prod(factor.out_shape)
    unit = torch.eye(n_pixels, dtype=torch.float64).reshape(n_pixels, *factor.out_shape)
    return factor(factor.adjoint(unit)).reshape(n_pixels, n_pixels)


def _learn(matrix: Tensor, field: Tensor, data: Tensor) -> Learned:
    ones = matrix.sum(dim=1)
    covariance = RayCovariance(
        {"field": matrix @ field @ matrix.mT, "constant": torch.outer(ones, ones)}, {"noise": torch.ones_like(data)}
    )
    power = float(data.square().mean())
    return maximise(
        lambda variances: log_evidence(covariance, variances, data),
        covariance.start(signal=power, noise=1e-3 * power),
        max_evaluations=60,
    )


def constant_log_likelihood(psnr_db: float) -> float:
    """Of an image whose pixels all have its root mean square error as their deviation, nats a pixel."""
    mean_square = 10 ** (-psnr_db / 10)
    variance = max(mean_square, FLOOR)
    return -0.5 * (mean_square / variance + math.log(2 * math.pi * variance))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=3)
    options = parser.parse_args()
    images = np.load(SHARED_DATA / "kmnist" / "kmnist.npz")["test"][: options.images] / 255.0
    settings = []
    for path in sorted(RESULTS.glob("kmnist_*_*.json")):
        ours = json.loads(path.read_text())
        n_angles, level = ours["setting"]["angles"], ours["setting"]["noise"]
        rows = []
        for index, image in enumerate(images):
            scan, _ = simulate(image, index, n_angles, level)
            posterior = matern_posterior(scan)
            error = torch.as_tensor(image) - posterior.mean
            psnr = float(-10 * torch.log10(error.square().mean()))
            rows.append({"psnr_db": psnr, **score_errors(error, posterior.covariance())})
        found = {
            "angles": n_angles,
            "noise": level,
            "matern": {key: statistics.fmean(row[key] for row in rows) for key in rows[0]},
            "ctuq": {key: statistics.fmean(row[key] for row in ours["images"][: options.images]) for key in rows[0]},
            "constant_log_likelihood": statistics.fmean(
                constant_log_likelihood(row["psnr_db"]) for row in ours["images"][: options.images]
            ),
        }
        settings.append(found)
        print(
            n_angles,
            level,
            *(
                f"{name} {found[name]['psnr_db']:.2f} dB {found[name]['joint_log_likelihood']:.2f}"
                for name in ("ctuq", "matern")
            ),
            f"constant {found['constant_log_likelihood']:.2f}",
            flush=True,
        )
    print("written to", save("baselines", {"images": options.images, "floor": FLOOR, "settings": settings}))


if __name__ == "__main__":
    main()
