"""Orders in which to measure the views of a scan without looking at it, to compare planning with.

Angles count modulo 180 degrees, for a fan too: opposite views hold nearly the same rays, and an even number of views
over 360 degrees would measure everything twice. That makes these the strongest of their kind.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

GOLDEN_STEP_RAD = math.pi * (math.sqrt(5) - 1) / 2
"""111.246 degrees: half a turn by the golden ratio (Winkelmann et al. 2007, doi:10.1109/TMI.2006.885337)."""

_SAME_RAD = 1e-3  # of views that see the same


def equidistant(angles_rad: Sequence[float], start: int, n_views: int) -> list[int]:
    """Nested: `start` equidistant views, then always into the gaps, so that every doubling is equidistant again.

    Each further view has the least energy Σ 1/distance² to those before it, which fills the largest gaps in an even
    order.

    Args:
        angles_rad: of all views.
        start: views to begin with.
        n_views: all in all.

    Returns:
        Indices of views, none twice.
    """
    angles = torch.tensor(list(angles_rad), dtype=torch.float64)
    chosen: list[int] = []
    for number in range(n_views):
        if number < start:
            score = _distance(angles, torch.tensor(float(angles[0]) + number * math.pi / start))
        else:
            apart = _distance(angles[:, None], angles[chosen]).clamp(min=_SAME_RAD)
            score = apart.square().reciprocal().sum(dim=1)
        chosen.append(_least(score, chosen))
    return chosen


def golden(angles_rad: Sequence[float], n_views: int) -> list[int]:
    """Indices of views, none twice: steps of the golden ratio from the first on, each at the nearest that is left."""
    angles = torch.tensor(list(angles_rad), dtype=torch.float64)
    chosen: list[int] = []
    for number in range(n_views):
        wanted = torch.tensor(float(angles[0]) + number * GOLDEN_STEP_RAD)
        chosen.append(_least(_distance(angles, wanted), chosen))
    return chosen


def at_random(angles_rad: Sequence[float], n_views: int, *, generator: torch.Generator) -> list[int]:
    """Indices of so many views, none twice, every order as likely."""
    return torch.randperm(len(angles_rad), generator=generator)[:n_views].tolist()


def _distance(first: Tensor, second: Tensor) -> Tensor:
    apart = torch.remainder(first - second, math.pi)
    return torch.minimum(apart, math.pi - apart)


def _least(score: Tensor, taken: Sequence[int]) -> int:
    """The view of the lowest score that is not taken; of equals, the first."""
    left = score.clone()
    left[list(taken)] = math.inf
    lowest = float(left.min())
    return int(torch.nonzero(left <= lowest * (1 + 1e-9) + 1e-12)[0, 0])
