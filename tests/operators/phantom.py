"""A disc off the axis: its image and its exact line integrals, averaged over the detector pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from operators import FanBeam, ImageGrid, ParallelBeam

CENTRE_MM = (3.0, 2.0)
RADIUS_MM = 9.0


def disc_image(grid: ImageGrid, *, fine: int = 8) -> Tensor:
    """(row, col) float64: the part of every pixel inside the disc, in 1/mm."""
    small = ImageGrid(shape=(grid.shape[0] * fine, grid.shape[1] * fine), pixel_mm=grid.pixel_mm / fine)
    inside = (small.x_mm() - CENTRE_MM[0]) ** 2 + (small.y_mm()[:, None] - CENTRE_MM[1]) ** 2 < RADIUS_MM**2
    return inside.double().reshape(grid.shape[0], fine, grid.shape[1], fine).mean((1, 3))


def disc_sinogram(geometry: ParallelBeam | FanBeam, *, fine: int = 16) -> Tensor:
    """(angle, detector) float64: chord lengths in mm from the scan's definition, without any projector."""
    offsets = (torch.arange(fine, dtype=torch.float64) + 0.5) / fine - 0.5
    u = (geometry.detector_positions()[:, None] + offsets * geometry.pitch_mm)[None]
    a = torch.tensor(geometry.angles_rad, dtype=torch.float64)[:, None, None]
    x, y = CENTRE_MM
    if isinstance(geometry, FanBeam):
        source_x, source_y = geometry.source_origin_mm * a.sin(), -geometry.source_origin_mm * a.cos()
        detector_x = -geometry.origin_detector_mm * a.sin() + u * a.cos()
        detector_y = geometry.origin_detector_mm * a.cos() + u * a.sin()
        ray_x, ray_y = detector_x - source_x, detector_y - source_y
        distance = (ray_x * (y - source_y) - ray_y * (x - source_x)) / torch.hypot(ray_x, ray_y)
    else:
        distance = x * a.cos() + y * a.sin() - u
    return 2 * (RADIUS_MM**2 - distance**2).clamp(min=0).sqrt().mean(-1)


def psnr(image: Tensor, truth: Tensor) -> float:
    """Peak signal to noise ratio in dB, for a truth between 0 and 1."""
    return float(-10 * torch.log10(((image - truth) ** 2).mean()))
