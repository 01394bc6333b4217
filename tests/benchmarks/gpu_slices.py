"""Slices of the published size on a device: how long each stage takes, at what share of the peak, and what comes of it.

The network is that of the published walnut (arXiv 2203.00479): 6 scales of 128 channels with group normalisation.
Variances are learned by the exact evidence of all rays but those that judge, one a block, and images are drawn by
Cholesky's factor.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

import ctuq
from ctuq.cost import gflop_of_a_pass
from ctuq.ellipses import random_ellipses
from ctuq.likeness import psnr
from ctuq.preparation import prepare
from dip import UNet
from dip.fit import has_bfloat16_units
from operators import ImageGrid, ParallelBeam, RayTransform, filtered_back_projection
from tests.benchmarks.device_speed import jacobian_error, product_speed
from tests.benchmarks.flop_counts import Flop, achieved, evidence_flop, fit_flop, linearise_flop, posterior_flop
from tests.benchmarks.real import area_average, disc, lotus_case

NOISE = 0.05  # of a line integral, as a share of their mean
LARGEST_1_PER_MM = 0.02
FINER = 2  # pixels of the truth along one of the image's
LINES = 8  # through a detector pixel, whose mean it measures
MOST_SECONDS = 600

SETTINGS = (
    "network.norm=group",
    "prior.kind=block",
    "evidence.method=exact",
    "evidence.max_rays=20000",
    "posterior.method=cholesky",
    "posterior.cholesky_rays=20000",
)
LARGE = (
    "network.channels=[128, 128, 128, 128, 128, 128]",
    "network.skip_channels=[0, 0, 0, 4, 4]",
    "posterior.n_samples=1024",
    # 92 GB of rows at 60 views, 184 at 120: by halves and quarters beside all else that the device holds.
    "evidence.rows_gb=48",
    "posterior.batch=8",
)
SMALL = (
    "network.channels=[8, 8, 8]",
    "network.skip_channels=[0, 4]",
    "posterior.n_samples=16",
    "fit.steps=300",
    "fit.refit_steps=100",
    "evidence.max_evaluations=15",
    "posterior.tolerance=0.05",
)

Figures = dict[str, Any]


@dataclass(frozen=True)
class Slice:
    """A scan, and what it is held against.

    Args:
        scan: of a slice.
        truth: (row, col) float64 in 1/mm: true, or the best there is.
        inside: (row, col) bool, the object.
        settings: that put the scan on the truth's pixels.
    """

    scan: ctuq.Scan
    truth: Tensor
    inside: Tensor
    settings: tuple[str, ...]


def slice_geometry(size: int, views: int, detectors: int) -> ParallelBeam:
    """Half a turn around `size` pixels of 1 mm a side, whose diagonal the detector sees."""
    return ParallelBeam(
        grid=ImageGrid(shape=(size, size)),
        angles_rad=np.linspace(0, math.pi, views, endpoint=False),
        n_detectors=detectors,
        pitch_mm=math.sqrt(2) * size / detectors,
    )


def slice_phantom(size: int, seed: int) -> Tensor:
    """Some forty ellipses, (size, size) float64 in 1/mm."""
    return LARGEST_1_PER_MM * torch.tensor(random_ellipses(size, rng=np.random.default_rng(seed)))


def simulated_slice(size: int, views: int, detectors: int, seed: int) -> Slice:
    """Random ellipses, projected by finer pixels and many lines, so that no pixel grid explains the rays."""
    geometry = slice_geometry(size, views, detectors)
    fine = dataclasses.replace(
        geometry,
        grid=ImageGrid(shape=(FINER * size, FINER * size), pixel_mm=1 / FINER),
        n_detectors=LINES * detectors,
        pitch_mm=geometry.pitch_mm / LINES,
    )
    phantom = slice_phantom(FINER * size, seed)
    rays = functional.avg_pool1d(RayTransform(fine, kernel="line")(phantom), LINES)
    generator = torch.Generator().manual_seed(seed)
    noise = NOISE * rays.mean() * torch.randn(rays.shape, generator=generator, dtype=rays.dtype)
    truth = functional.avg_pool2d(phantom[None], FINER)[0]
    scan = ctuq.Scan(rays + noise, geometry, name=f"ellipses {seed}")
    return Slice(scan, truth, truth > 0, (f"grid.size={size}", "grid.pixel_mm=1", "scan.detector_bin=1"))


def lotus_slice(data: Path, *, small: bool) -> Slice:
    """The lotus root from 60 of its 360 views and a quarter of its detector pixels, on the reference's own pixels.

    Args:
        data: the folder that has `fips_lotus`.
        small: 24 views, 70 detector pixels and 64 pixels a side.
    """
    case = lotus_case(data)
    reference, pixel_mm = case.reference()
    size, step, binned = (64, 15, 8) if small else (len(reference), 6, 4)
    grid = ImageGrid(shape=(size, size), pixel_mm=pixel_mm * len(reference) / size)
    settings = (
        f"grid.size={size}",
        f"grid.pixel_mm={grid.pixel_mm}",
        f"scan.angle_step={step}",
        f"scan.detector_bin={binned}",
    )
    return Slice(case.scan(), area_average(reference, pixel_mm, grid), disc(case, grid), settings)


def ellipses(views: int, device: str, *, small: bool, overrides: Sequence[str]) -> Figures:
    """Figures of the simulated slice of 501 x 501 pixels, or 64 x 64; with "checks"."""
    size, detectors = (64, 64) if small else (501, 128)
    return reconstructed(simulated_slice(size, views, detectors, seed=0), device, small=small, overrides=overrides)


def lotus(data: Path, device: str, *, small: bool, overrides: Sequence[str]) -> Figures:
    """Figures of the real slice, held against the reference from all views; with "checks"."""
    return reconstructed(lotus_slice(data, small=small), device, small=small, overrides=overrides)


def reconstructed(given: Slice, device: str, *, small: bool, overrides: Sequence[str]) -> Figures:
    """Reconstruct, and compare with the truth, with the scan's own rays, and with what the device could do."""
    sized = SMALL if small else LARGE
    config = ctuq.load_config(overrides=[*SETTINGS, *sized, *given.settings, *overrides])
    began = time.perf_counter()
    found = ctuq.reconstruct(given.scan, config, device=device)
    wall = time.perf_counter() - began
    prepared = prepare(given.scan, config)
    stages = dict(found.provenance.stage_seconds)
    needed = needed_flop(found, config, prepared, device)
    precisions = sorted({precision for flop in needed.values() for precision in flop})
    peaks = {precision: product_speed(device, precision) for precision in precisions}
    numbers = {
        "size": config.grid.size,
        "views": prepared.geometry.n_angles,
        "rays": prepared.sinogram.numel(),
        "settings": [*SETTINGS, *sized, *given.settings, *overrides],
        "wall_seconds": wall,
        "stage_seconds": stages,
        "matrix_products_flop_per_second": peaks,
        "jacobian_error": jacobian_error(device),
        "stages": {name: achieved(flop, stages[name], peaks) for name, flop in needed.items()},
        **worth(found, given, prepared),
    }
    on_time = small or device != "cuda" or wall < MOST_SECONDS
    # Of a toy three views judge, and chi-square scatters by a half.
    slack = 2 * found.calibration.chi_square_error if small else 0.0
    numbers["checks"] = checks(numbers, config.posterior.tolerance, slack=slack, on_time=on_time)
    return numbers


def needed_flop(found: ctuq.Reconstruction, config: ctuq.Config, prepared: ctuq.Scan, device: str) -> dict[str, Flop]:
    """FLOP of every stage."""
    network = UNet(config.network, generator=torch.Generator())
    weights = sum(convolution.weight.numel() for convolution in network.convolutions().values())
    a_pass = 1e9 * gflop_of_a_pass(network, found.grid.shape)
    rays, held = prepared.sinogram.numel(), found.calibration.n_rays
    bfloat16 = config.fit.bfloat16
    narrow = has_bfloat16_units(torch.device(device)) if bfloat16 is None else bfloat16
    fitted = fit_flop(config.fit, a_pass, noise_stated=prepared.noise_stated)
    draws = max(config.posterior.n_samples, config.posterior.kept_samples)
    return {
        "fit": {"bfloat16" if narrow else "float32": fitted},
        "linearise": linearise_flop(rays, weights, a_pass),
        # As many choose as judge.
        "evidence": evidence_flop(int(found.diagnostics["evidence_evaluations"]), rays - held),
        "posterior": posterior_flop(rays, held, draws, a_pass),
    }


def worth(found: ctuq.Reconstruction, given: Slice, prepared: ctuq.Scan) -> Figures:
    """The image and its error bars against the truth and against the rays that judge, and filtered back-projections."""
    error = found.image.double() - given.truth
    z = error / found.std.double()
    within = (z.abs() < 1.96).double()
    calibration = found.calibration
    by_fbp = filtered_back_projection(prepared.geometry, prepared.sinogram)
    smoothed = filtered_back_projection(prepared.geometry, prepared.sinogram, window="hann")
    return {
        "psnr": psnr(found.image, given.truth),
        "psnr_fbp": psnr(by_fbp, given.truth),
        "psnr_fbp_hann": psnr(smoothed, given.truth),
        "pixels_within_95": float(within.mean()),
        "object_pixels_within_95": float(within[given.inside].mean()),
        "rms_z_of_object_pixels": float(z[given.inside].square().mean().sqrt()),
        "rays_within_95": calibration.coverage_95,
        "rays_within_95_error": calibration.coverage_error,
        "chi_square": calibration.chi_square,
        "chi_square_error": calibration.chi_square_error,
        "n_judging_rays": calibration.n_rays,
        "temperature": calibration.temperature,
        "worst_sample_residual": found.diagnostics["worst_sample_residual"],
        "diagnostics": dict(found.diagnostics),
        "notes": list(found.provenance.notes),
    }


def checks(numbers: Figures, tolerance: float, *, slack: float, on_time: bool) -> dict[str, bool]:
    """What must hold, by what it says; NaN holds nowhere.

    Args:
        numbers: figures of a slice.
        tolerance: of the samples' residuals.
        slack: in chi-square, either way.
        on_time: whether it took as long as it may.
    """
    by_fbp = max(numbers["psnr_fbp"], numbers["psnr_fbp_hann"])
    return {
        f"chi-square from {0.7 - slack:.2f} to {1.4 + slack:.2f}": 0.7 - slack <= numbers["chi_square"] <= 1.4 + slack,
        "PSNR above that of either filtered back-projection": numbers["psnr"] > by_fbp,
        f"residuals of samples within {tolerance:g}": numbers["worst_sample_residual"] <= tolerance,
        "products with the Jacobian are not rounded to TF32": numbers["jacobian_error"] < 3e-5,
        f"in less than {MOST_SECONDS} s": on_time,
    }
