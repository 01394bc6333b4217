"""What the report's script works with: the maps, the samples and the curves, as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.colors import to_hex
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from torch import Tensor

from ctuq.figures import DEVIATION_COLOURS, deviation_limits, image_limits
from ctuq.page_numbers import averaged, finite, packed, packed_levels
from ctuq.rays import Rays, degrees_of
from ctuq.reconstruction import Reconstruction
from dip.calibration import Calibration
from operators import ImageGrid, RayTransform

# Noise compresses badly: with these the page stays below 8 MB whatever an image of 512 × 512 shows.
MAP_SIDE = 512
SAMPLE_PIXELS = 16 * 512**2

BEYOND = (2, 3)
"""Deviations beyond which rays of the residual are counted."""

# Samples are kept as steps of an eighth of a pixel's deviation off the image. Rounding adds 1/768 to the variance of a
# single pixel and next to nothing to that of a region, where it averages out: less than the samples know of either.
STEPS_PER_DEVIATION = 8


def report_numbers(reconstruction: Reconstruction) -> dict[str, Any]:
    """Everything that the page draws. Maps of more than `MAP_SIDE` pixels a side are averaged down."""
    factor = thinning(reconstruction.plane)
    image, std, samples = (
        averaged(values.detach().cpu().numpy(), (factor, factor))
        for values in (reconstruction.image, reconstruction.std, reconstruction.samples)
    )
    relative = relative_deviation(image, std)
    kept = samples[: SAMPLE_PIXELS // image.size]
    return {
        "pixel_mm": reconstruction.grid.pixel_mm * factor,
        "image": packed_levels(image, n_bytes=2),
        "std": packed_levels(std, n_bytes=2),
        "samples": {"n": len(kept), "per_deviation": STEPS_PER_DEVIATION, "steps": _steps(kept, image, std)},
        "least_certain": _square(least_certain(reconstruction), reconstruction.plane),
        "relative_floor": relative_floor(image),
        "limits": {"image": image_limits(image), "std": deviation_limits(std), "relative": (0.0, _upper(relative))},
        "colours": _colours(),
        "calibration": _calibration(reconstruction.calibration),
        "fit": _fit(reconstruction),
        "sinogram": _sinogram(reconstruction),
    }


def thinning(grid: ImageGrid) -> int:
    """How many pixels a side are averaged into one of the page."""
    return -(-max(grid.shape) // MAP_SIDE)


def relative_floor(image: NDArray[Any]) -> float:
    """The attenuation, 1/mm, below which there is too little to divide by: a fifth of the 99th percentile."""
    return max(0.2 * float(np.percentile(image, 99)), 0.0)


def relative_deviation(image: NDArray[Any], std: NDArray[Any]) -> NDArray[Any]:
    """Deviation in % of the attenuation, (rows, cols); NaN where there is too little attenuation to divide by."""
    enough = image > relative_floor(image)
    return np.where(enough, 100 * std / np.where(enough, image, 1.0), np.nan)


@dataclass(frozen=True)
class LeastCertain:
    """The square of pixels whose mean deviation is largest: its centre and side in mm, that mean in 1/mm."""

    x_mm: float
    y_mm: float
    side_mm: float
    std: float


def least_certain(reconstruction: Reconstruction) -> LeastCertain:
    """Among squares a sixteenth of the image wide."""
    grid, std = reconstruction.plane, reconstruction.std.detach().cpu().double().numpy()
    side = max(1, min(grid.shape) // 16)
    means = uniform_filter(std, size=side, mode="nearest")
    row, col = np.unravel_index(int(np.argmax(means)), std.shape)
    return LeastCertain(float(grid.x_mm()[col]), float(grid.y_mm()[row]), side * grid.pixel_mm, float(means[row, col]))


def _square(found: LeastCertain, grid: ImageGrid) -> dict[str, float]:
    """Its sides in mm, as far as they lie in the image."""
    up, right = (extent / 2 for extent in grid.extent_mm)
    half = found.side_mm / 2
    return {
        "x0": max(found.x_mm - half, -right),
        "x1": min(found.x_mm + half, right),
        "y0": max(found.y_mm - half, -up),
        "y1": min(found.y_mm + half, up),
    }


def _steps(samples: NDArray[Any], image: NDArray[Any], std: NDArray[Any]) -> str:
    unit = np.where(std > 0, std / STEPS_PER_DEVIATION, np.inf)
    return packed(np.clip(np.rint(np.nan_to_num((samples - image) / unit)), -127, 127).astype(np.int8).tobytes())


def _colours() -> list[tuple[float, str]]:
    colours = mpl.colormaps[DEVIATION_COLOURS]
    return [(float(share), to_hex(colours(float(share)))) for share in np.linspace(0, 1, 17)]


def _calibration(calibration: Calibration) -> dict[str, Any]:
    """Scores as a density in 40 bins, those beyond 5 in the outermost; coverage in %."""
    z = calibration.z.cpu().numpy()
    counts, edges = np.histogram(np.clip(z[np.isfinite(z)], -5, 5), bins=40, range=(-5, 5))
    density = counts / max(counts.sum() * (edges[1] - edges[0]), 1e-300)
    return {
        "z": ((edges[1:] + edges[:-1]) / 2).tolist(),
        "density": density.round(5).tolist(),
        "nominal": (100 * calibration.nominal.cpu()).tolist(),
        "observed": finite((100 * calibration.observed).tolist()),
    }


def _fit(reconstruction: Reconstruction) -> dict[str, Any]:
    return {
        "step": reconstruction.fit_steps.tolist(),
        "fitted": finite(reconstruction.fit_loss.tolist()),
        "choosing": finite(reconstruction.holdout_loss.tolist()),
        "chosen": reconstruction.diagnostics.get("chosen_step"),
    }


def _sinogram(reconstruction: Reconstruction) -> dict[str, Any] | None:
    """Line integrals, and what the image leaves of them in standard deviations of a ray's own error."""
    rays = reconstruction.rays
    if rays is None or rays.sinogram is None:
        return None
    measured = rays.sinogram.cpu().numpy()
    residual = scaled_residual(rays, rays.sinogram.cpu(), reconstruction.image.cpu())
    factors = n_angles, n_detectors = -(-measured.shape[0] // MAP_SIDE), -(-measured.shape[1] // MAP_SIDE)
    limit = float(np.percentile(np.abs(residual), 99)) or 1.0
    degrees = degrees_of(rays.geometry.angles_rad)
    tested = np.isclose(degrees[:, None], np.degrees(reconstruction.calibration.angles_rad), atol=1e-6).any(1)
    return {
        "measured": packed_levels(averaged(measured, factors), n_bytes=1),
        "residual": packed_levels(np.clip(averaged(residual, factors), -2 * limit, 2 * limit), n_bytes=1),
        "limit": limit,
        "beyond": [100 * float((np.abs(residual) > deviations).mean()) for deviations in BEYOND],
        "tested": (np.flatnonzero(tested) // n_angles).tolist(),
        "degrees": degrees[::n_angles].round(6).tolist(),
        "detectors": list(range(0, measured.shape[1], n_detectors)),
    }


def scaled_residual(rays: Rays, sinogram: Tensor, image: Tensor) -> NDArray[Any]:
    """Line integrals minus those of the image, over the standard deviation of each ray, (angle, detector)."""
    variance = torch.as_tensor(rays.noise.variance, dtype=torch.float64).cpu()
    if rays.noise.view_covariance is not None:
        variance = variance + rays.noise.view_covariance.diagonal().double().cpu()
    missing: Tensor = (sinogram - RayTransform(rays.geometry)(image)).double() / variance.sqrt()
    return missing.numpy()


def _upper(values: NDArray[Any]) -> float:
    """What nearly all of the finite values stay below; 1 where there are none."""
    finite = values[np.isfinite(values)]
    return float(np.percentile(finite, 98)) or 1.0 if finite.size else 1.0
