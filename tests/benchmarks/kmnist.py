"""Reconstruct KMNIST images as arXiv 2203.00479 does, and hold the error bars against the truth; writes JSON.

python tests/benchmarks/kmnist.py [--split test] [--images 5] [--angles 20] [--noise 0.05]

28x28 pixels in [0, 1], parallel beam, angles uniform in [0°, 180°), 41 detector pixels over ±14√2, white noise with a
deviation of `noise` times the mean line integral, drawn by numpy's default_rng(1 + index).
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from pathlib import Path

import numpy as np
import torch

import ctuq
from operators import ImageGrid, ParallelBeam, RayTransform
from tests.benchmarks.environment import SHARED_DATA, save

SIZE, N_DETECTORS = 28, 41
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
    """Reconstruct one image; every figure but the seconds needs the truth."""
    scan, deviation = simulate(image, index, n_angles, level)
    started = time.perf_counter()
    found = ctuq.reconstruct(scan, ctuq.load_config(CONFIG, overrides=overrides))
    seconds = time.perf_counter() - started
    error = found.image.double() - torch.as_tensor(image)
    z = error / found.std.double()
    return {
        "psnr_db": float(-10 * torch.log10(error.square().mean())),
        "rms_z": float(z.square().mean().sqrt()),
        "coverage_95": float((z.abs() < 1.96).double().mean()),
        "held_out_chi_square": found.calibration.chi_square,
        "noise_ratio": math.sqrt(found.noise_variance) / deviation,
        "seconds": seconds,
        "fit_seconds": found.provenance.stage_seconds["fit"],
        "tv_weight": found.diagnostics["tv_weight"],
        "misfit_floor": found.diagnostics["misfit_floor"],
        "step": found.diagnostics["chosen_step"],
    }


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=["test", "validation"], default="test", help="tune on validation only")
    parser.add_argument("--images", type=int, default=5)
    parser.add_argument("--angles", type=int, default=20)
    parser.add_argument("--noise", type=float, default=0.05)
    parser.add_argument("--set", nargs="*", default=[], help="configuration overrides, for experiments")
    parser.add_argument("--name", default="kmnist", help="of the JSON file in results/; 'none' writes nothing")
    options = parser.parse_args()
    images = np.load(SHARED_DATA / "kmnist" / "kmnist.npz")[options.split][: options.images] / 255.0
    rows = []
    for index, image in enumerate(images):
        rows.append(run(image, index, options.angles, options.noise, options.set))
        print(index, {key: float(f"{value:.4g}") for key, value in rows[-1].items()}, flush=True)
    mean = {key: statistics.fmean(row[key] for row in rows) for key in rows[0]}
    print("mean", {key: float(f"{value:.4g}") for key, value in mean.items()})
    if options.name != "none":
        setting = {"split": options.split, "angles": options.angles, "noise": options.noise, "overrides": options.set}
        print("written to", save(options.name, {"setting": setting, "mean": mean, "images": rows}))


if __name__ == "__main__":
    main()
