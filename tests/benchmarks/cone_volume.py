"""A cone beam's volume with error bars, from few views of ellipsoids that are known: against them, and against FDK.

python -m tests.benchmarks.cone_volume [--size 24] [--views 24] [--detector 16] [--seeds 2 3] [--set fit.steps=500]

Ellipsoids are drawn and projected on voxels of half the side, so that no voxel grid explains the rays. Writes
results/cone_volume_SIZE.json: seconds by stage, memory, PSNR of the image and of Feldkamp's method, and the share of
true voxels and of held-out rays within their 95 % intervals.
"""

from __future__ import annotations

import argparse
import math
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

import ctuq
from ctuq.likeness import psnr
from operators import ConeBeam, RayTransform, VolumeGrid, filtered_back_projection
from tests.benchmarks.environment import save

SIZE, VIEWS, DETECTOR = 24, 24, 16
NOISE = 0.02  # of a line integral, as a share of their mean
FINER = 2
LARGEST_1_PER_MM = 0.02

SETTINGS = (
    "fit.steps=600",
    "fit.refit_steps=150",
    "evidence.max_rays=500",
    "posterior.cholesky_rays=1000",
    "posterior.n_samples=16",
    "posterior.kept_samples=8",
    "posterior.judging_samples=16",
    "posterior.tolerance=0.1",
    "posterior.batch=8",
)
"""What differs from the defaults, for a machine of few cores: fewer steps, fewer rays to learn from than are there, and
samples that judge, as of volumes too large for anything else; deviations are known to a sixth."""


def ellipsoids(size: int, seed: int) -> Tensor:
    """A large one with five others in it, denser or thinner, (size, size, size) float64 from 0 to about 1.6."""
    rng = np.random.default_rng(seed)
    places = (np.arange(size) + 0.5) * 2 / size - 1
    z, y, x = np.meshgrid(places, places, places, indexing="ij")
    volume = np.where((x / 0.8) ** 2 + (y / 0.7) ** 2 + (z / 0.75) ** 2 < 1, 1.0, 0.0)
    for _ in range(5):
        centre, radii = rng.uniform(-0.4, 0.4, 3), rng.uniform(0.1, 0.3, 3)
        apart = sum(((p - c) / r) ** 2 for p, c, r in zip((x, y, z), centre, radii, strict=True))
        volume += np.where(apart < 1, rng.choice([-0.7, -0.4, 0.3, 0.6]), 0.0)
    return torch.tensor(volume).clamp(min=0)


def simulated(size: int, views: int, detector: int, seed: int, *, lines: int = 0) -> tuple[ctuq.Scan, Tensor]:
    """A scan whose detector sees the whole cube of `size` mm, and the truth on voxels of 1 mm, 1/mm.

    Args:
        size: voxels a side.
        views: of a full turn.
        detector: pixels a side.
        seed: of object and noise.
        lines: along either side of a detector pixel, whose mean stands for that over all rays: for large volumes, where
            the exact one takes minutes to set up. 0: the exact one.
    """
    across = max(1, lines)
    fine = ConeBeam(
        grid=VolumeGrid(shape=(FINER * size,) * 3, pixel_mm=1 / FINER),
        angles_rad=np.linspace(0, 2 * math.pi, views, endpoint=False),
        n_rows=across * detector,
        n_detectors=across * detector,
        pitch_mm=1.6 * size / detector / across,
        source_origin_mm=5 * size,
        origin_detector_mm=2.5 * size,
    )
    phantom = LARGEST_1_PER_MM * ellipsoids(FINER * size, seed)
    rays = functional.avg_pool2d(RayTransform(fine, kernel="line" if lines else "strip")(phantom), across)
    generator = torch.Generator().manual_seed(seed)
    noise = NOISE * rays.mean() * torch.randn(rays.shape, generator=generator, dtype=rays.dtype)
    truth = functional.avg_pool3d(phantom[None], FINER)[0]
    coarse = replace(fine, n_rows=detector, n_detectors=detector, pitch_mm=1.6 * size / detector)
    cone = coarse.with_grid(VolumeGrid(shape=(size, size, size)))
    return ctuq.Scan(rays + noise, cone, name=f"ellipsoids {seed}"), truth


def reconstructed(
    scan: ctuq.Scan, size: int, overrides: tuple[str, ...], *, device: str = "cpu"
) -> ctuq.Reconstruction:
    """On voxels of 1 mm."""
    grid = (f"grid.size={size}", f"grid.slices={size}", "grid.pixel_mm=1", "scan.detector_bin=1")
    return ctuq.reconstruct(scan, ctuq.load_config(overrides=[*grid, *SETTINGS, *overrides]), device=device)


def figures(found: ctuq.Reconstruction, truth: Tensor, scan: ctuq.Scan) -> dict[str, Any]:
    """What a reconstruction is worth, held against the truth and against its own rays."""

    z = (found.image.double() - truth) / found.std.double()
    inside = (z.abs() < 1.96).double()
    calibration = found.calibration
    return {
        "psnr": psnr(found.image, truth),
        "psnr_fdk": psnr(filtered_back_projection(scan.geometry, scan.sinogram), truth),
        "psnr_fdk_hann": psnr(filtered_back_projection(scan.geometry, scan.sinogram, window="hann"), truth),
        "voxels_within_95": float(inside.mean()),
        "object_voxels_within_95": float(inside[truth > 0].mean()),
        "rms_z_of_voxels": float(z.square().mean().sqrt()),
        "rays_within_95": calibration.coverage_95,
        "rays_within_95_error": calibration.coverage_error,
        "chi_square": calibration.chi_square,
        "chi_square_error": calibration.chi_square_error,
        "n_judging_rays": calibration.n_rays,
        "temperature": calibration.temperature,
        "stage_seconds": dict(found.provenance.stage_seconds),
        "diagnostics": dict(found.diagnostics),
        "notes": list(found.provenance.notes),
    }


def run(size: int, views: int, detector: int, seed: int, overrides: tuple[str, ...]) -> dict[str, Any]:
    """One object, with what it took of this process."""
    scan, truth = simulated(size, views, detector, seed)
    wall, cpu = time.perf_counter(), time.process_time()
    found = reconstructed(scan, size, overrides)
    return figures(found, truth, scan) | {
        "wall_seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "peak_memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=SIZE)
    parser.add_argument("--views", type=int, default=VIEWS)
    parser.add_argument("--detector", type=int, default=DETECTOR)
    parser.add_argument("--seeds", type=int, nargs="+", default=[2])
    parser.add_argument("--set", dest="overrides", nargs="*", default=[])
    options = parser.parse_args()
    size = {name: getattr(options, name) for name in ("size", "views", "detector")}
    settings = [*SETTINGS, *options.overrides]
    runs = {}
    # A process each: the largest memory of one is kept to its end.
    with ProcessPoolExecutor(max_workers=1, max_tasks_per_child=1, mp_context=get_context("spawn")) as pool:
        for seed in options.seeds:
            runs[str(seed)] = pool.submit(run, **size, seed=seed, overrides=tuple(options.overrides)).result()
            save(f"cone_volume_{options.size}", {**size, "noise": NOISE, "settings": settings, "seeds": runs})


if __name__ == "__main__":
    main()
