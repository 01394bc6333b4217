"""How much of the angular range every view, and every ray that is met twice, stands for."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from operators.geometry import FanBeam, Geometry

_SAME_ANGLE_RAD = 1e-5
_MISSING_WEDGE_RATIO = 3.0  # golden-angle gaps differ by up to 2.62
_ONE_SIDED_FRACTION = 0.1  # of the detector; what less adds at the rim is not worth unequal weights everywhere else


def angular_weights(geometry: Geometry) -> Tensor:
    """Weights in radians by which filtered views sum to an image, (angle, 1) or (angle, detector) in float64.

    A view stands for half the gap to its neighbour on either side, views at the same angle share. One gap over three
    times as wide as every other is a missing wedge: the views beside it do not stand in for it.

    * Parallel views repeat after π. Where views fill 2π around an offset axis, they are joined as below instead.
    * A full circle of fan-beam views meets every ray from both ends, so each counts half; rays that an offset
      detector meets from one end only count fully, with a smooth step between (Wang 2002, "X-ray micro-CT with a
      displaced detector array").
    * Over less than the circle, fan-beam rays met twice share smoothly (Parker 1982, with the fan's angle replaced
      by what the scan has over π: Wesarg, Ebert & Bortfeld 2002), which over ever less becomes plain gap weights.
    """
    angles = torch.tensor(geometry.angles_rad, dtype=torch.float64)
    circle = _share_out(angles, 2 * math.pi)
    if isinstance(geometry, FanBeam):
        if circle.is_closed:
            return circle.gap[:, None] * _one_sided(geometry)
        return circle.gap[:, None] * _parker(geometry, circle)
    if circle.is_closed and is_one_sided(geometry):
        return circle.gap[:, None] * _one_sided(geometry)
    return _share_out(angles, math.pi).gap[:, None]


class _Shares(NamedTuple):
    gap: Tensor  # (angle,), radians that each view stands for
    along: Tensor  # (angle,), radians from where the arc of views begins
    extent: float  # radians that the views cover together
    is_closed: bool  # no missing wedge


def _share_out(angles: Tensor, period: float) -> _Shares:
    """Share the circle of circumference `period` out among the views."""
    places, member, count = _distinct(angles.remainder(period), period)
    n = places.numel()
    after = (places.roll(-1) - places).remainder(period) if n > 1 else torch.full_like(places, period)
    before = after.roll(1)
    widest = int(after.argmax())
    first = (widest + 1) % n
    is_closed = n < 3 or bool(after[widest] <= _MISSING_WEDGE_RATIO * after.topk(2).values[1])
    if not is_closed:
        after[widest] = before[widest]
        before[first] = after[first]
    share = (before + after) / 2
    along = (places - places[first]).remainder(period) + share[first] / 2
    return _Shares((share / count)[member], along[member], float(share.sum()), is_closed)


def _distinct(angles: Tensor, period: float) -> tuple[Tensor, Tensor, Tensor]:
    """Distinct angles in rising order, which of them each view has, and how many views each has."""
    ordered, order = angles.sort()
    group = torch.cat([torch.zeros(1), (ordered.diff() > _SAME_ANGLE_RAD).double()]).cumsum(0).long()
    if group[-1] > 0 and ordered[0] + period - ordered[-1] <= _SAME_ANGLE_RAD:
        group[group == group[-1]] = 0
    member = torch.empty_like(group)
    member[order] = group
    count = group.bincount()
    first_of_group = torch.searchsorted(group.cummax(0).values, torch.arange(count.numel()))
    return ordered[first_of_group], member, count


def is_one_sided(geometry: Geometry) -> bool:
    """Whether the axis is so far off the detector's centre that the longer side alone sees a good part of the image."""
    return 2 * abs(geometry.axis_offset) >= _ONE_SIDED_FRACTION * geometry.n_detectors


def _one_sided(geometry: Geometry) -> Tensor:
    """(detector,): 1/2, but on a one-sided detector from 0 or 1/2 smoothly to 1, with w(u) + w(-u) = 1."""
    u = geometry.detector_positions()
    if not is_one_sided(geometry):
        return torch.full_like(u, 0.5)
    side = math.copysign(1.0, geometry.axis_offset)
    far, near = float((side * u).max()), float((-side * u).max())
    blend = max(min(near, 2 * (far - near)), geometry.pitch_mm)
    rise = ((u.abs() - (near - blend)) / blend).clamp(0, 1)
    return 0.5 + 0.5 * side * u.sign() * torch.sin(math.pi / 2 * rise) ** 2


def _parker(geometry: FanBeam, arc: _Shares) -> Tensor:
    """(angle, detector): how rays met twice share; the ray (a, γ) is met again at (a + π - 2γ, -γ)."""
    fan = torch.atan(geometry.detector_positions() / (geometry.source_origin_mm + geometry.origin_detector_mm))
    over = (arc.extent - math.pi) / 2
    along = arc.along[:, None]
    # Without an overlap the quotient has no meaning: any value of 1 or more makes the weight 1.
    rising = torch.where(over + fan > 0, along / (2 * (over + fan)), 1.0)
    falling = torch.where(over - fan > 0, (arc.extent - along) / (2 * (over - fan)), 1.0)
    return torch.sin(math.pi / 2 * torch.minimum(rising, falling).clamp(0, 1)) ** 2
