"""Real scans at 128x128 from a few views, against FBP, CGLS and the reference from all views; writes a table and JSON.

python -m tests.benchmarks.real [--scans ta tb lotus] [--seed 0]

The reference is the organisers' (HTC 2022) or the authors' (lotus) filtered back-projection from all views, averaged
over each of our pixels. Everything is at its default but the grid's size and the angle step.
"""

from __future__ import annotations

import argparse
import resource
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.io
import torch
from torch import Tensor

import ctuq
from ctuq.preparation import prepare
from data_scripts.htc2022 import read_scan_mat
from data_scripts.lotus import read_scan_npz
from operators import ImageGrid, RayTransform, cgls, filtered_back_projection
from tests.benchmarks.environment import RESULTS, SHARED_DATA, save

CGLS_STEPS = 15


@dataclass(frozen=True)
class Case:
    """A scan, its reference and the disc inside which images are compared."""

    scan: Callable[[], ctuq.Scan]
    reference: Callable[[], tuple[Tensor, float]]  # (row, col) in 1/mm, pixel in mm
    angle_step: int
    radius_mm: float


def _htc(name: str, angle_step: int) -> Case:
    folder = SHARED_DATA / "htc2022"

    def reference() -> tuple[Tensor, float]:
        content = scipy.io.loadmat(folder / f"htc2022_{name}_full_recon_fbp.mat", simplify_cells=True)
        (image,) = (value for key, value in content.items() if not key.startswith("__"))
        return torch.as_tensor(np.asarray(image, dtype=np.float64)) / 0.148322, 0.148322

    return Case(lambda: read_scan_mat(folder / f"htc2022_{name}_full.mat"), reference, angle_step, 35.0)


def _lotus() -> Case:
    folder = SHARED_DATA / "fips_lotus"

    def reference() -> tuple[Tensor, float]:
        content = np.load(folder / "lotus_fbp_501.npz")
        return torch.as_tensor(content["image"].astype(np.float64)), float(content["voxel_mm"])

    return Case(lambda: read_scan_npz(folder / "lotus_fan.npz"), reference, 8, 45.0)


CASES = {"ta": _htc("ta", 24), "tb": _htc("tb", 16), "lotus": _lotus()}


def area_average(image: Tensor, pixel_mm: float, grid: ImageGrid) -> Tensor:
    """An image's mean over each pixel of another grid with the same centre; zero outside."""
    rows, cols = (_overlap(n, pixel_mm, m, grid.pixel_mm) for n, m in zip(image.shape, grid.shape, strict=True))
    return rows @ image @ cols.mT


def _overlap(n_from: int, from_mm: float, n_to: int, to_mm: float) -> Tensor:
    fine = (torch.arange(n_from + 1, dtype=torch.float64) - n_from / 2) * from_mm
    coarse = (torch.arange(n_to + 1, dtype=torch.float64) - n_to / 2) * to_mm
    shared = torch.minimum(fine[1:], coarse[1:, None]) - torch.maximum(fine[:-1], coarse[:-1, None])
    return shared.clamp(min=0) / to_mm


def run(name: str, seed: int, overrides: list[str]) -> dict[str, object]:
    """Reconstruct one scan and compare."""
    case = CASES[name]
    scan = case.scan()
    config = ctuq.load_config(None, overrides=["grid.size=128", f"scan.angle_step={case.angle_step}", *overrides])
    found = ctuq.reconstruct(scan, config, seed=seed)
    prepared = prepare(scan, config)
    grid = found.grid
    reference = area_average(*case.reference(), grid)
    disc = grid.x_mm()[None].hypot(grid.y_mm()[:, None]) < case.radius_mm

    def correlation(image: Tensor) -> float:
        return float(torch.corrcoef(torch.stack([image[disc].double(), reference[disc]]))[0, 1])

    rays = RayTransform(prepared.geometry)
    error = (found.image - reference)[disc]
    z = error / found.std[disc]
    calibration = found.calibration
    found.picture(RESULTS / f"real_{name}.png")
    return {
        "views": prepared.geometry.n_angles,
        "rays": prepared.sinogram.numel(),
        "correlation": correlation(found.image),
        "correlation_fbp": correlation(filtered_back_projection(prepared.geometry, prepared.sinogram)),
        "correlation_cgls_15": correlation(cgls(rays, prepared.sinogram, iterations=CGLS_STEPS).value),
        "psnr_db": float(10 * torch.log10(reference.max().square() / (found.image - reference).square().mean())),
        "held_out_rays": calibration.n_rays,
        "chi_square_per_ray": calibration.chi_square,
        "coverage_95": calibration.coverage_95,
        "temperature": calibration.temperature,
        "image_coverage_95": float((z.abs() < 1.96).double().mean()),
        "image_rms_z": float(z.square().mean().sqrt()),
        "rank_correlation_error_std": _rank_correlation(error.abs(), found.std[disc]),
        "median_std_per_mm": float(found.std[disc].median()),
        "largest_std_per_mm": float(found.std.max()),
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,  # of all scans so far
        "seconds": sum(found.provenance.stage_seconds.values()),
        "stage_seconds": dict(found.provenance.stage_seconds),
        "diagnostics": dict(found.diagnostics),
        "notes": list(found.provenance.notes),
    }


def _rank_correlation(a: Tensor, b: Tensor) -> float:
    ranks = torch.stack([v.argsort().argsort().double() for v in (a, b)])
    return float(torch.corrcoef(ranks)[0, 1])


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], help="configuration overrides, for experiments")
    parser.add_argument("--name", default="real", help="of the JSON file in results/")
    options = parser.parse_args()
    figures = {}
    for name in options.scans:
        figures[name] = run(name, options.seed, options.set)
        shown = {key: round(value, 4) for key, value in figures[name].items() if isinstance(value, float)}
        print(name, shown, figures[name]["stage_seconds"], figures[name]["notes"], flush=True)
    print("written to", save(options.name, {"seed": options.seed, "overrides": options.set, "scans": figures}))


if __name__ == "__main__":
    main()
