"""All that a planner must remember, in a form that survives the process."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self, TypeAlias, get_args

import torch
from torch import Tensor

Origin: TypeAlias = Literal["pilot", "suggested", "unplanned"]
_VERSION = 1


@dataclass(frozen=True)
class MeasuredView:
    """A view that was measured.

    Args:
        id: see `view_id`.
        angle_rad: where.
        projection: its line integrals, one a detector pixel.
        origin: "pilot" where it came before the first suggestion, "unplanned" where nobody had suggested it.
        noise_variance: of each line integral; None where nobody stated it. Ratios are used, the scale is learned.
    """

    id: str
    angle_rad: float
    projection: tuple[float, ...]
    origin: Origin
    noise_variance: tuple[float, ...] | None = None

    @property
    def precision(self) -> Tensor | None:
        """1/variance of each line integral, (detector,) float64."""
        if self.noise_variance is None:
            return None
        return torch.tensor(self.noise_variance, dtype=torch.float64).reciprocal()


class AwaitedView(NamedTuple):
    """A view beyond those behind the posterior: where, and how many times as noisy as they are."""

    angle_rad: float
    noise_factor: float


@dataclass(frozen=True)
class Suggestion:
    """A view that was suggested at least once.

    Args:
        id: see `view_id`.
        angle_rad: where.
        score: what it promised, in the criterion's unit, given those before it.
        open: whether it is still waited for.
        failures: how often it was reported as failed.
    """

    id: str
    angle_rad: float
    score: float
    open: bool = True
    failures: int = 0


@dataclass(frozen=True, kw_only=True)
class PlannerState:
    """What a planner knows besides its settings; a new one after every step.

    Args:
        candidate_ids: names of the candidates it was made for.
        measured: views, in the order of their angles, so that it does not matter in which they were told.
        suggestions: views, in the order they were first suggested.
        fitted_ids: of the measured views behind the posterior in use.
        present_rad: where the motor was last sent; before that, where the last pilot was measured.
    """

    candidate_ids: tuple[str, ...]
    measured: tuple[MeasuredView, ...] = ()
    suggestions: tuple[Suggestion, ...] = ()
    fitted_ids: tuple[str, ...] = ()
    present_rad: float = 0.0

    @property
    def open(self) -> tuple[Suggestion, ...]:
        """Suggestions that are still waited for."""
        return tuple(suggestion for suggestion in self.suggestions if suggestion.open)

    @property
    def failed(self) -> tuple[Suggestion, ...]:
        """Suggestions that were reported as failed and neither measured since nor suggested again."""
        measured = {view.id for view in self.measured}
        return tuple(s for s in self.suggestions if s.failures and not s.open and s.id not in measured)

    @property
    def failures(self) -> dict[str, int]:
        """How often each suggestion was reported as failed, by name; what never failed is not in it."""
        return {suggestion.id: suggestion.failures for suggestion in self.suggestions if suggestion.failures}

    @property
    def awaited(self) -> dict[str, AwaitedView]:
        """The open suggestions by name; nobody knows better than that they will be as noisy as the others."""
        return {suggestion.id: AwaitedView(suggestion.angle_rad, 1.0) for suggestion in self.open}

    @property
    def unfitted(self) -> dict[str, AwaitedView]:
        """By name, the measured views that came after the posterior in use."""
        fitted = self._precisions(self.fitted_ids)
        found = {}
        for view in self.measured:
            if view.id not in self.fitted_ids:
                own = view.precision
                factor = 1.0 if own is None or not fitted else float(torch.stack(fitted).mean() / own.mean())
                found[view.id] = AwaitedView(view.angle_rad, factor)
        return found

    def sinogram(self, ids: Iterable[str]) -> tuple[Tensor, Tensor]:
        """Angles (view,) and line integrals (view, detector), float64, of these measured views by angle."""
        views = self._views(ids)
        angles = torch.tensor([view.angle_rad for view in views], dtype=torch.float64)
        return angles, torch.tensor([view.projection for view in views], dtype=torch.float64)

    def noise_variance(self, ids: Iterable[str]) -> Tensor | None:
        """Of the line integrals of `sinogram`, (view, detector) float64; None where none of these views states it.

        A view that does not is taken to be as noisy as the others: of every detector pixel their harmonic mean.
        """
        views = self._views(ids)
        stated = self._precisions(view.id for view in views)
        if not stated:
            return None
        typical = torch.stack(stated).mean(dim=0)
        own = [view.precision for view in views]
        return torch.stack([typical if precision is None else precision for precision in own]).reciprocal()

    def _views(self, ids: Iterable[str]) -> list[MeasuredView]:
        wanted = set(ids)
        return [view for view in self.measured if view.id in wanted]

    def _precisions(self, ids: Iterable[str]) -> list[Tensor]:
        return [found for view in self._views(ids) if (found := view.precision) is not None]

    def suggesting(self, suggestions: Iterable[Suggestion], *, present_rad: float) -> Self:
        """The state once these were suggested; one that had failed is open again, its failures kept."""
        known = {suggestion.id: suggestion for suggestion in self.suggestions}
        for suggestion in suggestions:
            failures = known[suggestion.id].failures if suggestion.id in known else 0
            known[suggestion.id] = dataclasses.replace(suggestion, failures=failures)
        return dataclasses.replace(self, suggestions=tuple(known.values()), present_rad=present_rad)

    def measuring(self, views: Iterable[MeasuredView]) -> Self:
        """The state once these were measured."""
        added = {view.id: view for view in views}
        suggestions = tuple(dataclasses.replace(s, open=s.open and s.id not in added) for s in self.suggestions)
        measured = sorted((*self.measured, *added.values()), key=lambda view: (view.angle_rad, view.id))
        return dataclasses.replace(self, suggestions=suggestions, measured=tuple(measured))

    def failing(self, ids: Iterable[str]) -> Self:
        """The state once these open suggestions failed."""
        failed = set(ids)
        suggestions = tuple(
            dataclasses.replace(s, open=False, failures=s.failures + 1) if s.open and s.id in failed else s
            for s in self.suggestions
        )
        return dataclasses.replace(self, suggestions=suggestions)

    def fitting(self) -> Self:
        """The state once a posterior was made of all measured views."""
        return dataclasses.replace(self, fitted_ids=tuple(view.id for view in self.measured))

    def as_json(self) -> dict[str, Any]:
        """Dicts, lists, strings, numbers and booleans only; `from_json` takes it back, to the last bit."""
        return {"version": _VERSION, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """From what `as_json` gave, with tuples as lists or not.

        Raises:
            ValueError: another version, or what is no such state.
        """
        if plain.get("version") != _VERSION:
            raise ValueError(f"a planner's state must have version {_VERSION}, got {plain.get('version')!r}")
        try:
            measured = [
                MeasuredView(
                    str(v["id"]),
                    float(v["angle_rad"]),
                    tuple(map(float, v["projection"])),
                    v["origin"],
                    None if v.get("noise_variance") is None else tuple(map(float, v["noise_variance"])),
                )
                for v in plain["measured"]
            ]
            state = cls(
                candidate_ids=tuple(plain["candidate_ids"]),
                measured=tuple(measured),
                suggestions=tuple(Suggestion(**suggestion) for suggestion in plain["suggestions"]),
                fitted_ids=tuple(plain["fitted_ids"]),
                present_rad=float(plain["present_rad"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"expected a planner's state as as_json() writes it, got one where {error!r}") from error
        if any(view.origin not in get_args(Origin) for view in state.measured):
            raise ValueError(f"the origin of a measured view must be one of {get_args(Origin)}")
        return state
