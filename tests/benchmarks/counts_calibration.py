"""Error bars from few photons: with the variance of every ray, and with one variance for all. Writes JSON.

python -m tests.benchmarks.counts_calibration

Strong absorbers of 64 x 64 pixels (line integrals up to 4) seen by 30 views with 500 photons a ray before the object,
so that the noise of rays differs sevenfold. Objects are drawn on four times finer pixels; their truth is the mean over
ours. Everything is at its default but the grid's size; without stated noise, ctuq would not try plain least squares as
a misfit, so that is asked for there too, and the noise is all that differs. Rms z and coverage are over all pixels.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

import ctuq
from ctuq.phantoms import phantom
from ctuq.simulation import absorbing, counted
from ctuq.transmission import line_integrals
from operators import ImageGrid, ParallelBeam
from tests.benchmarks.environment import save

SIZE, FINER = 64, 4
N_VIEWS, N_DETECTORS = 30, 91
PHOTONS, ABSORPTION = 500.0, 4.0
N_FLATS, N_DARKS, DARK_LEVEL = 30, 30, 2.0
IMAGES = (("shepp-logan", 0), ("rectangles", 0), ("rectangles", 1), ("rectangles", 2))


def simulated(name: str, seed: int) -> tuple[ctuq.Scan, torch.Tensor]:
    """A scan with the variance of every ray, and its truth (row, col) in 1/mm."""
    rng = np.random.default_rng([seed, len(name)])
    fine = ImageGrid(shape=(FINER * SIZE, FINER * SIZE), pixel_mm=1 / FINER)
    angles = np.linspace(0, math.pi, N_VIEWS, endpoint=False)
    geometry = ParallelBeam(grid=fine, angles_rad=angles, n_detectors=N_DETECTORS)
    image, exact = absorbing(phantom(name, FINER * SIZE, rng=rng), geometry, ABSORPTION)
    row = counted(exact, photons=PHOTONS, n_flats=N_FLATS, n_darks=N_DARKS, dark_level=DARK_LEVEL, rng=rng)
    found = line_integrals(row.counts, row.flats, row.darks)
    grid = ImageGrid(shape=(SIZE, SIZE))
    truth = image.reshape(SIZE, FINER, SIZE, FINER).mean(axis=(1, 3))
    scan = ctuq.Scan(found.line_integrals, geometry.with_grid(grid), found.variance, f"{name} {seed}")
    return scan, torch.as_tensor(truth)


def run(scan: ctuq.Scan, truth: torch.Tensor, overrides: list[str]) -> dict[str, float]:
    """Reconstruct and compare."""
    same = [f"grid.size={SIZE}", "grid.pixel_mm=1", "fit.misfit_floors=[0.02, .inf]"]
    config = ctuq.load_config(overrides=[*same, *overrides])
    found = ctuq.reconstruct(scan, config)
    z = (found.image - truth) / found.std
    return {
        "rms_z": float(z.square().mean().sqrt()),
        "median_abs_z_over_gaussian": float(z.abs().median()) / 0.67449,
        "coverage_95": float((z.abs() < 1.96).double().mean()),
        "psnr_db": float(10 * torch.log10(truth.max().square() / (found.image - truth).square().mean())),
        "median_std_per_mm": float(found.std.median()),
        "chi_square_per_ray": found.calibration.chi_square,
        "coverage_95_of_held_out_rays": found.calibration.coverage_95,
        "temperature": found.calibration.temperature,
        "misfit_floor": found.diagnostics["misfit_floor"],
        "seconds": sum(found.provenance.stage_seconds.values()),
        **{f"{stage}_seconds": seconds for stage, seconds in found.provenance.stage_seconds.items()},
    }


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=len(IMAGES), help="how many of them")
    parser.add_argument("--rectangles", type=int, nargs="+", help="these rectangles instead, for experiments")
    parser.add_argument("--set", nargs="*", default=[], help="configuration overrides, for experiments")
    parser.add_argument("--name", default="counts_calibration", help="of the JSON file in results/")
    options = parser.parse_args()
    torch.set_flush_denormal(True)  # as the command line does
    images = [("rectangles", seed) for seed in options.rectangles or []] or IMAGES[: options.images]
    rows: dict[str, list[dict[str, float]]] = {"per_ray": [], "homoscedastic": []}
    for name, seed in images:
        scan, truth = simulated(name, seed)
        for model, given in (("per_ray", scan), ("homoscedastic", replace(scan, noise_variance=None))):
            rows[model].append(run(given, truth, options.set))
            print(name, seed, model, {key: float(f"{value:.4g}") for key, value in rows[model][-1].items()}, flush=True)
        write(options.name, images[: len(rows["per_ray"])], rows)  # what is done is kept, whatever happens to the rest


def write(name: str, images: Sequence[tuple[str, int]], rows: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """Figures of these images and their means to results/NAME.json."""
    means = {
        model: {key: statistics.fmean(row[key] for row in found) for key in found[0]} for model, found in rows.items()
    }
    settings = {"photons": PHOTONS, "absorption": ABSORPTION, "views": N_VIEWS, "detectors": N_DETECTORS}
    save(name, {"settings": settings, "images": images, "mean": means, "each": rows})


if __name__ == "__main__":
    main()
