"""Filtered back-projection of parallel, fan- and cone-beam scans, with weights for uneven angles and short scans."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, pad

from operators.angular_weights import angular_weights, is_one_sided
from operators.geometry import FanBeam, Geometry, ParallelBeam
from operators.linear_map import batch_shape
from operators.volume_geometry import ConeBeam, SliceStack, VolumeScan

Window: TypeAlias = Literal["ram-lak", "hann"]

_Scan = TypeVar("_Scan", bound=ParallelBeam | FanBeam)

_MAX_ELEMENTS = 1 << 21  # interpolated at once while back-projecting


def filtered_back_projection(
    geometry: Geometry | VolumeScan, sinogram: Tensor, *, window: Window = "ram-lak"
) -> Tensor:
    """Filtered back-projection (Kak & Slaney 1988, sections 3.3 and 3.4.2), in 1/mm.

    Views count by the angle they stand for (see `angular_weights`), so uneven and repeated angles and short fan
    scans are right; what no view covers is missing, not made up. Memory stays bounded: views are taken in turn.

    Cone beams by Feldkamp, Davis & Kress (1984), with the mid-plane's weights for every row: exact in the mid-plane
    and for what is the same at every height, elsewhere the darker the steeper the rays.

    Args:
        geometry: the scan, offset axis included.
        sinogram: line integrals (*batch, *geometry.sinogram_shape), float32 or float64.
        window: "ram-lak" keeps full resolution; "hann" damps high frequencies, for noisy data.

    Returns:
        Image (*batch, row, col) or volume (*batch, slice, row, col); dtype and device of the sinogram. Differentiable
        by autograd.

    Raises:
        ValueError: a sinogram of another shape, or an unknown window.
    """
    batch = batch_shape(sinogram, geometry.sinogram_shape, "sinogram")
    if isinstance(geometry, ConeBeam):
        projections = sinogram.reshape(-1, *geometry.sinogram_shape)
        return _cone(geometry, projections, window).reshape(*batch, *geometry.grid.shape)
    if isinstance(geometry, SliceStack):
        return filtered_back_projection(geometry.scan, sinogram.movedim(-2, -3), window=window)
    weights = angular_weights(geometry).to(sinogram)
    rows = sinogram.reshape(-1, *geometry.sinogram_shape) * weights
    if isinstance(geometry, FanBeam):
        rows = rows * _cosine(geometry).to(sinogram)
    wide, rows = _both_sides(geometry, rows)
    filtered = _filter(rows, geometry.pitch_mm / geometry.magnification, window)
    return _back_project(wide, filtered).reshape(*batch, *geometry.grid.shape)


def _cone(geometry: ConeBeam, projections: Tensor, window: Window) -> Tensor:
    """(n, angle, row, detector) -> (n, slice, row, col)."""
    fan = geometry.fan
    weights = (angular_weights(fan) * _cosine(fan))[:, None] / geometry.ray_slopes()
    wide, rows = _both_sides(fan, projections * weights.to(projections))
    filtered = _filter(rows, fan.pitch_mm / fan.magnification, window)
    return _back_project_cone(geometry, wide, filtered)


def _cosine(geometry: FanBeam) -> Tensor:
    """(detector,): cosine of the angle between each ray and the central one."""
    distance = geometry.source_origin_mm + geometry.origin_detector_mm
    return distance / torch.hypot(geometry.detector_positions(), torch.tensor(distance, dtype=torch.float64))


def _both_sides(geometry: _Scan, rows: Tensor) -> tuple[_Scan, Tensor]:
    """Widen a one-sided detector by empty pixels: what filtering spreads there belongs to the image."""
    if not is_one_sided(geometry):
        return geometry, rows
    n_empty = math.ceil(2 * abs(geometry.axis_offset))
    before = n_empty if geometry.axis_offset > 0 else 0
    n_detectors, cor_index = geometry.n_detectors + n_empty, geometry.axis_index + before
    return replace(geometry, n_detectors=n_detectors, cor_index=cor_index), pad(rows, (before, n_empty - before))


def _filter(rows: Tensor, spacing_mm: float, window: Window) -> Tensor:
    """Convolve the last axis with the band-limited ramp of samples `spacing_mm` apart; zero-padded against wrap."""
    if window not in ("ram-lak", "hann"):
        raise ValueError(f"window must be 'ram-lak' or 'hann', got {window!r}")
    n = rows.shape[-1]
    length = 1 << (2 * n - 1).bit_length()
    # Sampled in frequency, the ramp would lose the zero frequency and the image its level (Kak & Slaney, eq. 61 of
    # chapter 3): its band-limited impulse response is 1/4 at 0, -1/(π k)² at odd k and 0 at even k.
    at = torch.fft.fftfreq(length, 1 / length, dtype=torch.float64).round()
    kernel = torch.where(at % 2 != 0, -1 / (math.pi * at) ** 2, 0.0)
    kernel[0] = 0.25
    response = torch.fft.rfft(kernel).real / spacing_mm
    if window == "hann":
        response = response * (0.5 + 0.5 * torch.cos(2 * math.pi * torch.fft.rfftfreq(length, dtype=torch.float64)))
    spectrum = torch.fft.rfft(rows, n=length) * response.to(rows)
    filtered: Tensor = torch.fft.irfft(spectrum, n=length)[..., :n]
    return filtered


def _back_project(geometry: Geometry, rows: Tensor) -> Tensor:
    """(n, angle, detector) -> (n, row * col): linear interpolation at every pixel's projection, summed over views."""
    n, _, n_detectors = rows.shape
    n_pixels = math.prod(geometry.grid.shape)
    image = rows.new_zeros(n, n_pixels)
    angles = torch.tensor(geometry.angles_rad, dtype=rows.dtype, device=rows.device)
    per_step = max(1, _MAX_ELEMENTS // (n_pixels * max(1, n)))
    for some, view_rows in zip(torch.split(angles, per_step), torch.split(rows, per_step, dim=1), strict=True):
        index, nearness = _projections(geometry, some)
        # grid_sample is the fastest linear interpolation that torch has on the CPU, four times a gather. It counts
        # a row's ends as -1 and 1, and takes what lies outside, and so is not seen, for zero.
        at = torch.stack([(2 * index + 1) / n_detectors - 1, torch.zeros_like(index)], dim=-1).unsqueeze(1)
        values = grid_sample(view_rows.movedim(1, 0).unsqueeze(2), at, align_corners=False).squeeze(2)
        image = image + (values.sum(0) if nearness is None else torch.einsum("vnp,vp->np", values, nearness**2))
    return image


def _back_project_cone(geometry: ConeBeam, wide: FanBeam, views: Tensor) -> Tensor:
    """(n, angle, row, detector of the widened fan) -> (n, slice, row, col): as for images, bilinear on the detector."""
    n, _, n_rows, n_detectors = views.shape
    volume = views.new_zeros(n, *geometry.grid.shape)
    z = geometry.grid.z_mm().to(views)[:, None]
    angles = torch.tensor(wide.angles_rad, dtype=views.dtype, device=views.device)
    for angle, view in zip(torch.split(angles, 1), views.unbind(1), strict=True):
        index, nearness = _fan_projections(wide, angle)
        row = z * nearness * (wide.magnification / geometry.row_spacing_mm) + geometry.level_index
        at = torch.stack([(2 * index.expand_as(row) + 1) / n_detectors - 1, (2 * row + 1) / n_rows - 1], dim=-1)
        values = grid_sample(view.unsqueeze(0), at.unsqueeze(0), align_corners=False).squeeze(0)
        volume = volume + (values * nearness**2).reshape(volume.shape)
    return volume


def _projections(geometry: Geometry, angles: Tensor) -> tuple[Tensor, Tensor | None]:
    """Detector indices (view, pixel) that see each pixel; in fans also axis over pixel distance from the source."""
    if isinstance(geometry, FanBeam):
        return _fan_projections(geometry, angles)
    return _across(geometry, angles) / geometry.pitch_mm + geometry.axis_index, None


def _fan_projections(geometry: FanBeam, angles: Tensor) -> tuple[Tensor, Tensor]:
    x, y = geometry.grid.x_mm().to(angles), geometry.grid.y_mm().to(angles)[:, None]
    cos, sin = angles.cos()[:, None, None], angles.sin()[:, None, None]
    nearness = geometry.source_origin_mm / (geometry.source_origin_mm - x * sin + y * cos).flatten(1)
    across = _across(geometry, angles)
    index = across * nearness * (geometry.magnification / geometry.pitch_mm) + geometry.axis_index
    # No ray sees the pixels level with the source or behind it, in corners that reach beyond it.
    seen = (nearness > 0) & nearness.isfinite()
    return torch.where(seen, index, -2.0), torch.where(seen, nearness, 0.0)


def _across(geometry: Geometry, angles: Tensor) -> Tensor:
    """(view, pixel): mm of the pixels along the detector's direction, at the axis."""
    x, y = geometry.grid.x_mm().to(angles), geometry.grid.y_mm().to(angles)[:, None]
    cos, sin = angles.cos()[:, None, None], angles.sin()[:, None, None]
    return (x * cos + y * sin).flatten(1)
