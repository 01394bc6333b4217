"""Which candidates may be measured at all, and what measuring one costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from design.candidates import Candidates, circular_distance

_SAME_ANGLE_RAD = 1e-6
_ROUNDING_RAD = 1e-9


class Wedge(NamedTuple):
    """Angles from one forwards to another, both included, modulo the candidates' period.

    Args:
        start_rad: the first.
        stop_rad: the last, not below the first: across zero, a period is added to it.
    """

    start_rad: float
    stop_rad: float

    def contains(self, angles_rad: Tensor, *, period: float) -> Tensor:
        """Of every angle, whether it lies inside."""
        # Shifted by the rounding, so that an angle just before the start is not a whole period behind it.
        beyond = torch.remainder(angles_rad - self.start_rad + _ROUNDING_RAD, period)
        return beyond <= self.stop_rad - self.start_rad + 2 * _ROUNDING_RAD


@dataclass(frozen=True, kw_only=True)
class Constraints:
    """What the instrument allows.

    A view that was measured is never allowed again: at the same angle modulo 2π, whatever the settings.

    Args:
        forbidden: wedges that no view may lie in, modulo the candidates' period: π for parallel rays, where opposite
            views hold the same rays, 2π for a fan.
        min_separation_rad: least distance between any two views, modulo that period.

    Raises:
        ValueError: a wedge that ends before it starts, or a separation that is negative or not finite.
    """

    forbidden: tuple[Wedge, ...] = ()
    min_separation_rad: float = 0.0

    def __post_init__(self) -> None:
        for wedge in self.forbidden:
            if not 0 <= wedge.stop_rad - wedge.start_rad < math.inf:
                raise ValueError(
                    f"a forbidden wedge runs forwards from start_rad to stop_rad, got {wedge.start_rad} to "
                    f"{wedge.stop_rad}: across zero, add a period to its end"
                )
        if not 0 <= self.min_separation_rad < math.inf:
            raise ValueError(f"min_separation_rad must be finite and 0 or more, got {self.min_separation_rad}")

    def allowed(self, candidates: Candidates, taken_rad: Sequence[float]) -> Tensor:
        """Of every candidate, whether it may be measured once the angles `taken_rad` were: (angle,) bool."""
        angles = torch.tensor(candidates.angles_rad, dtype=torch.float64)
        allowed = torch.ones(len(angles), dtype=torch.bool)
        for wedge in self.forbidden:
            allowed &= ~wedge.contains(angles, period=candidates.period_rad)
        taken = torch.tensor(list(taken_rad), dtype=torch.float64)
        if len(taken):
            same = circular_distance(angles[:, None], taken, period=2 * math.pi) < _SAME_ANGLE_RAD
            apart = circular_distance(angles[:, None], taken, period=candidates.period_rad)
            close = apart < self.min_separation_rad - _ROUNDING_RAD
            allowed &= ~(same | close).any(dim=1)
        return allowed


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a view costs, in seconds or any other unit: scores are divided by it.

    Args:
        exposure: of one view, a number, or one a candidate.
        per_radian: of turning there from where the last chosen view is.
        endless: whether the motor turns through 2π and on, and so takes the shorter way round; otherwise angles are
            places on a line, as for `motor_order`.

    Raises:
        ValueError: an exposure that is not positive, or a negative price of turning.
    """

    exposure: float | tuple[float, ...] = 1.0
    per_radian: float = 0.0
    endless: bool = True

    def __post_init__(self) -> None:
        exposures = self.exposure if isinstance(self.exposure, tuple) else (self.exposure,)
        if not all(0 < exposure < math.inf for exposure in exposures):
            raise ValueError(f"exposure must be positive and finite, got {self.exposure}")
        if not 0 <= self.per_radian < math.inf:
            raise ValueError(f"per_radian must be finite and 0 or more, got {self.per_radian}")

    def of(self, candidates: Candidates, present_rad: float) -> Tensor:
        """Of every candidate from where the motor stands, (angle,) float64.

        Raises:
            ValueError: exposures of another number than the candidates'.
        """
        exposure = torch.as_tensor(self.exposure, dtype=torch.float64)
        if exposure.ndim and len(exposure) != len(candidates):
            raise ValueError(
                f"exposure must be one number or one for each of {len(candidates)} candidates, got {len(exposure)}"
            )
        angles = torch.tensor(candidates.angles_rad, dtype=torch.float64)
        present = torch.tensor(present_rad, dtype=torch.float64)
        travel = circular_distance(angles, present, period=2 * math.pi) if self.endless else (angles - present).abs()
        return exposure + self.per_radian * travel
