"""Reconstruct KMNIST images as arXiv 2203.00479 does, and hold the error bars against the truth; writes JSON.

python -m tests.benchmarks.kmnist [--split test] [--images 10] [--angles 5 10 20 30] [--noise 0.05 0.1]

One JSON file for every setting of angles and noise. 28x28 pixels in [0, 1], parallel beam, angles uniform in
[0°, 180°), 41 detector pixels over ±14√2, white noise with a deviation of `noise` times the mean line integral, drawn
by numpy's default_rng(1 + index).
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
import statistics
import time
from pathlib import Path

import numpy as np
import torch

import ctuq
from dip import DensePosterior
from dip.metrics import joint_log_likelihood, patch_log_likelihood, patches, score_pixels
from operators import ImageGrid, ParallelBeam, RayTransform
from tests.benchmarks.environment import SHARED_DATA, save

SIZE, N_DETECTORS = 28, 41
FLOOR = 1e-5
CONFIG = Path(__file__).parents[2] / "configs" / "kmnist.yaml"


def simulate(image: np.ndarray, index: int, n_angles: int, level: float) -> tuple[ctuq.Scan, float]:
    """The noisy scan of one image, and the noise's deviation."""
    geometry = ParallelBeam(
        grid=ImageGrid(shape=(SIZE, SIZE), pixel_mm=1.0),
        angles_rad=np.arange(n_angles) * math.pi / n_angles,
        n_detectors=N_DETECTORS,
        pitch_mm=SIZE * math.sqrt(2) / N_DETECTORS,
    )
    clean = RayTransform(geometry)(torch.as_tensor(image, dtype=torch.float64)).numpy()
    deviation = level * float(np.abs(clean).mean())
    noisy = clean + deviation * np.random.default_rng(1 + index).standard_normal(clean.shape)
    return ctuq.Scan(noisy, geometry, name=f"kmnist {index}"), deviation


def run(image: np.ndarray, index: int, n_angles: int, level: float, overrides: list[str]) -> dict[str, float]:
    """Reconstruct one image; every figure but the seconds and the held-out rays' needs the truth."""
    scan, deviation = simulate(image, index, n_angles, level)
    started = time.perf_counter()
    found = ctuq.reconstruct(scan, ctuq.load_config(CONFIG, overrides=overrides))
    seconds = time.perf_counter() - started
    error = torch.as_tensor(image) - found.image.double()
    assert isinstance(found.posterior, DensePosterior)
    stages = found.provenance.stage_seconds
    return {
        "psnr_db": float(-10 * torch.log10(error.square().mean())),
        **score_errors(error, found.posterior.covariance()),
        "held_out_chi_square": found.calibration.chi_square,
        "held_out_coverage_95": found.calibration.coverage_95,
        "noise_ratio": math.sqrt(found.noise_variance) / deviation,
        "seconds": seconds,
        "fit_seconds": stages["fit"],
        "error_bar_seconds": stages["linearise"] + stages["evidence"] + stages["posterior"],
    }


def score_errors(error: torch.Tensor, covariance: torch.Tensor) -> dict[str, float]:
    """Every score of `dip.metrics`; densities have a floor of 1e-5 and are per pixel."""
    std = covariance.diagonal().clamp(min=0).sqrt().reshape(error.shape)
    patch = {
        f"patch_{size}_log_likelihood": patch_log_likelihood(*patches(error, covariance, size), floor=FLOOR)
        for size in (1, 2, 10)
    }
    joint = joint_log_likelihood(error, covariance, floor=FLOOR)
    return {"joint_log_likelihood": joint, **patch, **dataclasses.asdict(score_pixels(error, std, floor=FLOOR))}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=["test", "validation"], default="test", help="tune on validation only")
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--angles", type=int, nargs="*", default=[20])
    parser.add_argument("--noise", type=float, nargs="*", default=[0.05])
    parser.add_argument("--set", nargs="*", default=[], help="configuration overrides, for experiments")
    parser.add_argument("--name", default="kmnist", help="of the JSON files in results/; 'none' writes nothing")
    options = parser.parse_args()
    torch.set_flush_denormal(True)  # as the command line does
    images = np.load(SHARED_DATA / "kmnist" / "kmnist.npz")[options.split][: options.images] / 255.0
    for n_angles, level in itertools.product(options.angles, options.noise):
        rows = []
        for index, image in enumerate(images):
            rows.append(run(image, index, n_angles, level, options.set))
            print(n_angles, level, index, {key: float(f"{value:.3g}") for key, value in rows[-1].items()}, flush=True)
        mean = {key: statistics.fmean(row[key] for row in rows) for key in rows[0]}
        print(n_angles, level, "mean", {key: float(f"{value:.4g}") for key, value in mean.items()}, flush=True)
        if options.name != "none":
            setting = {"split": options.split, "angles": n_angles, "noise": level, "overrides": options.set}
            name = f"{options.name}_{n_angles}_{round(100 * level)}"
            print("written to", save(name, {"setting": setting, "floor": FLOOR, "mean": mean, "images": rows}))


if __name__ == "__main__":
    main()
