"""A ball off the axis: its volume and its exact line integrals, averaged over the detector pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from operators import ConeBeam, VolumeGrid

CENTRE_MM = (1.5, -2.0, 2.5)  # z, y, x
RADIUS_MM = 7.0


def ball_volume(grid: VolumeGrid, *, fine: int = 4) -> Tensor:
    """(slice, row, col) float64: the part of every voxel inside the ball, in 1/mm."""
    slices, rows, cols = grid.shape
    small = VolumeGrid(
        shape=(slices * fine, rows * fine, cols * fine),
        pixel_mm=grid.pixel_mm / fine,
        slice_mm=grid.thickness_mm / fine,
        centre_z_mm=grid.centre_z_mm,
    )
    z, y, x = CENTRE_MM
    across = (small.plane.x_mm() - x) ** 2 + (small.plane.y_mm()[:, None] - y) ** 2
    inside = (small.z_mm()[:, None, None] - z) ** 2 + across < RADIUS_MM**2
    return inside.double().reshape(slices, fine, rows, fine, cols, fine).mean((1, 3, 5))


def ball_projections(cone: ConeBeam, *, fine: int = 3) -> Tensor:
    """(angle, row, detector) float64: chord lengths in mm from the scan's definition, without any projector."""
    offsets = (torch.arange(fine, dtype=torch.float64) + 0.5) / fine - 0.5
    u = (cone.fan.detector_positions()[:, None] + offsets * cone.pitch_mm)[None, None, None]
    v = (cone.row_positions()[:, None] + offsets * cone.row_spacing_mm)[None, :, :, None, None]
    a = torch.tensor(cone.angles_rad, dtype=torch.float64).reshape(-1, 1, 1, 1, 1)
    source = _points(0 * a, -cone.source_origin_mm * a.cos(), cone.source_origin_mm * a.sin())
    pixel = _points(
        v,
        cone.origin_detector_mm * a.cos() + u * a.sin(),
        -cone.origin_detector_mm * a.sin() + u * a.cos(),
    )
    ray, centre = pixel - source, torch.tensor(CENTRE_MM, dtype=torch.float64) - source
    distance = torch.linalg.cross(ray, centre.expand_as(ray)).norm(dim=-1) / ray.norm(dim=-1)
    chords: Tensor = 2 * (RADIUS_MM**2 - distance**2).clamp(min=0).sqrt()
    return chords.mean((2, 4))


def _points(*coordinates: Tensor) -> Tensor:
    everywhere = sum(coordinates[1:], coordinates[0])
    return torch.stack([c.expand_as(everywhere) for c in coordinates], dim=-1)
