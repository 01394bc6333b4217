"""What an instrument and a planner tell each other: points as dicts, angles in degrees."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from design.candidates import Candidates, circular_distance, view_id
from design.planner_state import MeasuredView, Origin, PlannerState, Suggestion

ID_KEY = "_id"
_SAME_DEG = 1e-4  # to which names are rounded


@dataclass(frozen=True, kw_only=True)
class PointFormat:
    """Keys of a point, and when one is refused.

    Args:
        axis: key of the angle, in degrees: the name of the rotation motor, for bluesky.
        projection: key of a view's line integrals, one a detector pixel.
        noise_variance: key of their variances, which may be left out.
        readback_tolerance_deg: how far a motor may stop from where it was sent.
    """

    axis: str = "angle_deg"
    projection: str = "projection"
    noise_variance: str = "noise_variance"
    readback_tolerance_deg: float = 0.05

    def point(self, suggestion: Suggestion) -> dict[str, Any]:
        """A suggestion as a point."""
        return {
            ID_KEY: suggestion.id,
            self.axis: math.degrees(suggestion.angle_rad),
            "score": suggestion.score,
        }

    def measured(
        self, points: Sequence[Mapping[str, Any]], state: PlannerState, candidates: Candidates, *, width: int
    ) -> list[MeasuredView]:
        """The views that these points tell of and that the state does not know yet.

        A point without a known `_id` is a view at its angle. One told again with the same line integrals is passed
        over, so that an instrument that is not sure whether it was heard may repeat itself.

        Args:
            points: from the instrument.
            state: before them.
            candidates: of the planner.
            width: detector pixels of a projection.

        Raises:
            ValueError: naming the first point that is none, is of another width or not finite, is told twice with
                different line integrals, or was measured elsewhere than where it was suggested.
        """
        known = {view.id: view for view in state.measured}
        added: dict[str, MeasuredView] = {}
        for number, point in enumerate(points):
            where = f"point {number} ({ID_KEY} {point.get(ID_KEY)!r})"
            name, angle_rad = self._place(point, state, candidates, where)
            projection, variance = self._projection(point, width, where), self._variance(point, width, where)
            view = MeasuredView(name, angle_rad, projection, _origin(name, state), variance)
            before = known.get(name) or added.get(name)
            if before is None:
                added[name] = view
            elif before.projection != view.projection:
                raise ValueError(
                    f"{where}: {name} was told before with other line integrals: tell the mean of repeated views once"
                )
        return list(added.values())

    def _place(
        self, point: Mapping[str, Any], state: PlannerState, candidates: Candidates, where: str
    ) -> tuple[str, float]:
        """Name and angle of the view that a point is of."""
        angle = point.get(self.axis)
        if angle is not None and not math.isfinite(float(angle)):
            raise ValueError(f"{where}: {self.axis} must be finite, got {angle}")
        sent = self._sent_to(point.get(ID_KEY), state, candidates)
        if sent is None:
            if angle is None:
                raise ValueError(
                    f"{where}: expected the {ID_KEY} of a candidate or an angle as {self.axis!r}, got neither"
                )
            return view_id(math.radians(float(angle))), math.radians(float(angle))
        name, expected = sent
        if angle is None:
            return name, expected
        told = math.radians(float(angle))
        off = circular_distance(torch.tensor(told), torch.tensor(expected), period=2 * math.pi)
        if math.degrees(float(off)) > self.readback_tolerance_deg:
            raise ValueError(
                f"{where}: measured at {float(angle):g} degrees, but {name} is at {math.degrees(expected):g}: tell it "
                f"without {ID_KEY}, and report the suggestion as failed"
            )
        return name, expected if math.degrees(float(off)) < _SAME_DEG else told

    @staticmethod
    def _sent_to(name: object, state: PlannerState, candidates: Candidates) -> tuple[str, float] | None:
        """Name and angle of the candidate or the registered suggestion of that name."""
        if not isinstance(name, str):
            return None
        index = candidates.index_of(name)
        if index is not None:
            return name, candidates.angles_rad[index]
        return next(((name, s.angle_rad) for s in state.suggestions if s.id == name), None)

    def _projection(self, point: Mapping[str, Any], width: int, where: str) -> tuple[float, ...]:
        if self.projection not in point:
            raise ValueError(f"{where}: expected line integrals as {self.projection!r}, got {sorted(point)}")
        values = torch.as_tensor(point[self.projection], dtype=torch.float64)
        if values.shape != (width,):
            raise ValueError(f"{where}: a projection must have {width} detector pixels, got {tuple(values.shape)}")
        if not values.isfinite().all():
            bad = int((~values.isfinite()).sum())
            raise ValueError(f"{where}: line integrals must be finite, got {bad} that are not: report it as failed")
        return tuple(values.tolist())

    def _variance(self, point: Mapping[str, Any], width: int, where: str) -> tuple[float, ...] | None:
        given = point.get(self.noise_variance)
        if given is None:
            return None
        values = torch.as_tensor(given, dtype=torch.float64)
        if values.shape != (width,):
            raise ValueError(f"{where}: a variance must be stated for {width} pixels, got {tuple(values.shape)}")
        if not (values.isfinite() & (values > 0)).all():
            raise ValueError(
                f"{where}: variances must be positive and finite, got {float(values.min()):g} as the least"
            )
        return tuple(values.tolist())


def _origin(name: str, state: PlannerState) -> Origin:
    if not state.suggestions:
        return "pilot"
    return "suggested" if any(suggestion.id == name for suggestion in state.suggestions) else "unplanned"
