"""Real scans at 128x128 from a few views, against FBP, CGLS and the reference from all views; writes a table and JSON.

python -m tests.benchmarks.real [--scans ta tb lotus] [--seeds 0 1 2]

The reference is the organisers' (HTC 2022) or the authors' (lotus) filtered back-projection from all views, averaged
over each of our pixels. It has noise of its own, estimated by half the difference between our back-projections from the
scan's even and its odd views. That has more streaks than all views leave, but no errors that both halves share.
Everything is at its default but the grid's size and the angle step. A seed draws the network's weights and which views
are held out; the pictures are of the first.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import resource
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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
REFERENCE_SIZE = 512  # pixels a side of the references, or nearly


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


def lotus_case(data: Path = SHARED_DATA) -> Case:
    """The lotus root in a folder of data sets."""
    folder = data / "fips_lotus"

    def reference() -> tuple[Tensor, float]:
        content = np.load(folder / "lotus_fbp_501.npz")
        return torch.as_tensor(content["image"].astype(np.float64)), float(content["voxel_mm"])

    return Case(lambda: read_scan_npz(folder / "lotus_fan.npz"), reference, 8, 45.0)


CASES = {"ta": _htc("ta", 24), "tb": _htc("tb", 16), "lotus": lotus_case()}


def area_average(image: Tensor, pixel_mm: float, grid: ImageGrid) -> Tensor:
    """An image's mean over each pixel of another grid with the same centre; zero outside."""
    rows, cols = (_overlap(n, pixel_mm, m, grid.pixel_mm) for n, m in zip(image.shape, grid.shape, strict=True))
    return rows @ image @ cols.mT


def _overlap(n_from: int, from_mm: float, n_to: int, to_mm: float) -> Tensor:
    fine = (torch.arange(n_from + 1, dtype=torch.float64) - n_from / 2) * from_mm
    coarse = (torch.arange(n_to + 1, dtype=torch.float64) - n_to / 2) * to_mm
    shared = torch.minimum(fine[1:], coarse[1:, None]) - torch.maximum(fine[:-1], coarse[:-1, None])
    return shared.clamp(min=0) / to_mm


def run(name: str, seed: int, overrides: list[str], *, picture: bool) -> dict[str, float]:
    """Reconstruct one scan and compare."""
    case = CASES[name]
    found = ctuq.reconstruct(case.scan(), _config(case, overrides), seed=seed)
    if picture:
        found.picture(RESULTS / f"real_{name}.png")
    reference = area_average(*case.reference(), found.plane)
    inside = disc(case, found.plane)
    error, std = (found.image - reference)[inside], found.std[inside].double()
    with_noise = (std.square() + reference_noise(case, found.plane) ** 2).sqrt()
    calibration = found.calibration
    stages = found.provenance.stage_seconds
    for note in found.provenance.notes:
        print(name, seed, note)
    return {
        "correlation": _correlation(found.image, reference, inside),
        "psnr_db": float(10 * torch.log10(reference.max().square() / (found.image - reference).square().mean())),
        "held_out_rays": calibration.n_rays,
        "chi_square_per_ray": calibration.chi_square,
        "coverage_95": calibration.coverage_95,
        "temperature": calibration.temperature,
        "image_coverage_95": _coverage(error / std),
        "image_coverage_95_with_reference_noise": _coverage(error / with_noise),
        "image_rms_z": float((error / std).square().mean().sqrt()),
        "rank_correlation_error_std": _rank_correlation(error.abs(), std),
        "median_std_per_mm": float(std.median()),
        "largest_std_per_mm": float(found.std.max()),
        "seconds": sum(stages.values()),
        **{f"{stage}_seconds": value for stage, value in stages.items()},
        **found.diagnostics,
    }


def compared(name: str, overrides: list[str]) -> dict[str, float]:
    """What no error bar is needed for: the scan's size, other methods' correlation, the reference's noise."""
    case = CASES[name]
    prepared = prepare(case.scan(), _config(case, overrides))
    grid = prepared.planar.grid
    reference, inside = area_average(*case.reference(), grid), disc(case, grid)
    by_fbp = filtered_back_projection(prepared.geometry, prepared.sinogram)
    by_cgls = cgls(RayTransform(prepared.geometry), prepared.sinogram, iterations=CGLS_STEPS).value
    return {
        "views": prepared.geometry.n_angles,
        "rays": prepared.sinogram.numel(),
        "correlation_fbp": _correlation(by_fbp, reference, inside),
        "correlation_cgls_15": _correlation(by_cgls, reference, inside),
        "reference_noise_per_mm": reference_noise(case, grid),
    }


@functools.cache
def reference_noise(case: Case, grid: ImageGrid) -> float:
    """Standard deviation of the reference's noise inside the disc, 1/mm, on `grid`, by our back-projections."""
    fine = prepare(case.scan(), ctuq.load_config({"grid": {"size": REFERENCE_SIZE}}))
    halves = []
    for views in (slice(0, None, 2), slice(1, None, 2)):
        geometry = dataclasses.replace(fine.geometry, angles_rad=fine.geometry.angles_rad[views])
        image = filtered_back_projection(geometry, fine.sinogram[views]).double()
        halves.append(area_average(image, geometry.grid.pixel_mm, grid))
    return float(((halves[0] - halves[1]) / 2)[disc(case, grid)].square().mean().sqrt())


def _config(case: Case, overrides: list[str]) -> ctuq.Config:
    return ctuq.load_config(None, overrides=["grid.size=128", f"scan.angle_step={case.angle_step}", *overrides])


def disc(case: Case, grid: ImageGrid) -> Tensor:
    return grid.x_mm()[None].hypot(grid.y_mm()[:, None]) < case.radius_mm


def _correlation(image: Tensor, reference: Tensor, inside: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([image[inside].double(), reference[inside]]))[0, 1])


def _coverage(z: Tensor) -> float:
    return float((z.abs() < 1.96).double().mean())


def _rank_correlation(a: Tensor, b: Tensor) -> float:
    ranks = torch.stack([v.argsort().argsort().double() for v in (a, b)])
    return float(torch.corrcoef(ranks)[0, 1])


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", nargs="*", default=[], help="configuration overrides, for experiments")
    parser.add_argument("--name", default="real", help="of the JSON file in results/")
    options = parser.parse_args()
    torch.set_flush_denormal(True)  # as the command line does
    figures = {}
    for name in options.scans:
        rows = []
        for seed in options.seeds:
            rows.append(run(name, seed, options.set, picture=seed == options.seeds[0]))
            print(name, seed, {key: float(f"{value:.4g}") for key, value in rows[-1].items()}, flush=True)
        mean = {key: statistics.fmean(row[key] for row in rows) for key in rows[0]}
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # of all scans so far
        figures[name] = {**compared(name, options.set), "peak_memory_gb": memory, "mean": mean, "seeds": rows}
        content = {"seeds": options.seeds, "overrides": options.set, "scans": figures}
        print("written to", save(options.name, content), flush=True)


if __name__ == "__main__":
    main()
