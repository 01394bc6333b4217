"""Planning step by step with an instrument: ask, measure, tell."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from torch import Tensor

from design.candidate_views import CandidateViews
from design.candidates import Candidates, view_id
from design.conditioned_beliefs import ConditionedBeliefs, ScanModel
from design.greedy import GreedySelection, Plan
from design.motor_order import motor_order
from design.planner_points import ID_KEY
from design.planner_settings import PlannerSettings
from design.planner_state import PlannerState, Suggestion


class AnglePlanner:
    """Suggests views, takes in what was measured, and says when it is enough.

    It has the methods of `Optimizer`, `CanRegisterSuggestions`, `TrialFaultAware` and `Checkpointable` in
    `blop.protocols` (blop 1.0, https://github.com/bluesky/blop, src/blop/protocols.py), with `ask` and `tell` for
    `suggest` and `ingest`. A point is a dict, its angle in degrees:
    {"_id": …, "angle_deg": …, "score": …} out, {"_id": …, "projection": […]} or {"angle_deg": …, "projection": […]} in,
    with a "noise_variance": […] where it is known.

    Views may be told in any order, late or never; nothing depends on it but what is known by then. A view that nobody
    suggested is taken in, and named in `unplanned`. Every step either happens as a whole or raises and changes nothing.

    Args:
        candidates: what may be suggested.
        model: makes a belief of all views measured; it is called with data only when a suggestion needs it.
        selection: how views are chosen.
        region: (row, col) bool, the pixels that count; all if left out.
        settings: of the instrument.
        store: called by `checkpoint` with the state, to keep it.
    """

    def __init__(
        self,
        candidates: Candidates,
        model: ScanModel,
        selection: GreedySelection,
        *,
        region: Tensor | None = None,
        settings: PlannerSettings | None = None,
        store: Callable[[PlannerState], None] | None = None,
    ) -> None:
        self._candidates, self._model, self._selection = candidates, model, selection
        self._settings = settings or PlannerSettings()
        self._width = self._settings.projection_width or candidates.n_detectors
        self._store = store
        self._state = PlannerState(candidate_ids=candidates.ids)
        self._beliefs = ConditionedBeliefs(candidates, region)
        self._held_back: str | None = None
        self._enough = False

    @classmethod
    def from_checkpoint(
        cls,
        state: PlannerState,
        candidates: Candidates,
        model: ScanModel,
        selection: GreedySelection,
        *,
        region: Tensor | None = None,
        settings: PlannerSettings | None = None,
        store: Callable[[PlannerState], None] | None = None,
    ) -> Self:
        """The planner that this state was of; the model is asked for its belief again.

        Args:
            state: to go on from.
            candidates: those that the planner had, as all that follows.
            model: makes a belief of all views measured.
            selection: how views are chosen.
            region: (row, col) bool, the pixels that count; all if left out.
            settings: of the instrument.
            store: called by `checkpoint` with the state, to keep it.

        Raises:
            ValueError: the state of a planner of other candidates.
        """
        strange = len(set(state.candidate_ids) ^ set(candidates.ids))
        if strange:
            raise ValueError(
                f"expected the state of a planner of these {len(candidates)} candidates, got one in which {strange} "
                f"differ: is it of another scan?"
            )
        planner = cls(candidates, model, selection, region=region, settings=settings, store=store)
        planner._state = state
        return planner

    @property
    def state(self) -> PlannerState:
        """All that it remembers."""
        return self._state

    @property
    def unplanned(self) -> tuple[str, ...]:
        """Names of the views that were told without having been suggested, pilots apart."""
        return tuple(view.id for view in self._state.measured if view.origin == "unplanned")

    @property
    def held_back(self) -> str | None:
        """Why the last `suggest` gave fewer views than it was asked for, or None."""
        return self._held_back

    @property
    def enough(self) -> bool:
        """Whether that is because a stopping rule was met, and not because there was nothing left to choose by."""
        return self._enough

    def suggest(
        self, num_points: int | None = None, *, on_step: Callable[[int, float], None] | None = None
    ) -> list[dict[str, Any]]:
        """The next views, in the order of least motor travel; fewer or none where `held_back` says why.

        They are chosen as if all those suggested before and not yet told had been measured.

        Args:
            num_points: how many; one if left out.
            on_step: called as (views chosen, deviation of the region then).

        Raises:
            ValueError: fewer than one, or no view measured yet.
        """
        n_points = 1 if num_points is None else num_points
        plan, state = self._plan(n_points, on_step), self._state
        advice = ": tell what is open first" if plan.stopped and plan.views.used_up else ""
        self._held_back, self._enough = f"{plan.stopped}{advice}" if plan.stopped else None, plan.enough
        chosen = [
            Suggestion(*view) for view in zip(plan.ids, plan.angles_rad.tolist(), plan.scores.tolist(), strict=True)
        ]
        if not chosen:
            return []
        angles = [suggestion.angle_rad for suggestion in chosen]
        chosen = [chosen[i] for i in motor_order(angles, state.present_rad, endless=self._settings.endless)]
        self._state = state.suggesting(chosen, present_rad=chosen[-1].angle_rad)
        self._beliefs.remember({**self._state.unfitted, **self._state.awaited}, plan.views)
        return [self._settings.points.point(suggestion) for suggestion in chosen]

    def ingest(self, points: Sequence[Mapping[str, Any]]) -> None:
        """Take in measured views. Before the first suggestion, the motor stands at the last of them.

        Raises:
            ValueError: a point that is wrong, see `PointFormat.measured`; then none is taken in.
        """
        found = self._settings.points.measured(points, self._state, self._candidates, width=self._width)
        told = self._state.measuring(found)
        began = bool(told.suggestions) or not found
        self._state = told if began else dataclasses.replace(told, present_rad=found[-1].angle_rad)

    def register_suggestions(self, suggestions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Take note of views that somebody else means to measure, and give them names.

        Raises:
            ValueError: one without an angle.
        """
        axis = self._settings.points.axis
        if any(axis not in suggestion for suggestion in suggestions):
            raise ValueError(f"a suggestion must have an angle in degrees as {axis!r}")
        angles = [math.radians(float(suggestion[axis])) for suggestion in suggestions]
        named = [Suggestion(view_id(angle), angle, 0.0) for angle in angles]
        known = {view.id for view in self._state.measured}
        fresh = [suggestion for suggestion in named if suggestion.id not in known]
        self._state = self._state.suggesting(fresh, present_rad=self._state.present_rad)
        return [{**told, ID_KEY: own.id} for told, own in zip(suggestions, named, strict=True)]

    def register_failures(self, suggestions: Sequence[Mapping[str, Any]]) -> None:
        """Wait no longer for these; each may be suggested again until its retries are used up.

        Raises:
            ValueError: one that is not waited for.
        """
        ids = [str(suggestion.get(ID_KEY)) for suggestion in suggestions]
        unknown = set(ids) - {suggestion.id for suggestion in self._state.suggestions}
        if unknown:
            raise ValueError(f"only what was suggested can fail, got {sorted(unknown)}")
        self._state = self._state.failing(ids)

    def stop_reason(self) -> str | None:
        """Why no more views are needed, or None.

        The deviation counts once it is measured, not while it is promised; what the next view promises is asked when no
        suggestion is open.
        """
        state, rule = self._state, self._selection.stopping
        if not state.measured:
            return None
        deviation = math.inf if rule.target_std is None else self.region_std()
        reason = rule.reached(n_views=len(state.measured), region_std=deviation)
        if reason is not None or state.open:
            return reason
        return self._plan(1).stopped

    def should_stop(self) -> bool:
        """Whether no more views are needed."""
        return self.stop_reason() is not None

    def region_std(self) -> float:
        """Root mean square of the deviations of the region's pixels given all that was told, in the image's unit."""
        return self._views(with_open=False).region_std()

    def promised_std(self) -> float:
        """The same once all that is open was told as well."""
        return self._views(with_open=True).region_std()

    def get_best_points(self) -> list[tuple[str, dict[str, float], dict[str, float]]]:
        """All measured views as (id, {angle}, {score promised}), the most promising first: an image needs them all."""
        promised = {suggestion.id: suggestion.score for suggestion in self._state.suggestions}
        axis = self._settings.points.axis
        measured = [
            (view.id, {axis: math.degrees(view.angle_rad)}, {"score": promised.get(view.id, math.nan)})
            for view in self._state.measured
        ]
        return sorted(measured, key=lambda found: -promised.get(found[0], -math.inf))

    def checkpoint(self) -> PlannerState:
        """Hand the state to `store`, if there is one, and return it."""
        if self._store is not None:
            self._store(self._state)
        return self._state

    ask = suggest
    tell = ingest

    def _taken(self) -> list[float]:
        """Angles that are measured or about to be."""
        return [*(view.angle_rad for view in self._state.measured), *(view.angle_rad for view in self._state.open)]

    def _plan(self, n_views: int, on_step: Callable[[int, float], None] | None = None) -> Plan:
        """The next views, given all that was told and is open."""
        views, state = self._views(with_open=True), self._state
        # A motor that stopped a little beside a candidate has measured it all the same.
        done = [view.id for view in state.measured]
        done += [suggestion.id for suggestion in state.suggestions if suggestion.failures > self._settings.retries]
        return self._selection(
            views,
            n_views,
            taken_rad=self._taken(),
            excluded=[index for name in done if (index := self._candidates.index_of(name)) is not None],
            present_rad=state.present_rad,
            on_step=on_step,
        )

    def _views(self, *, with_open: bool) -> CandidateViews:
        """What is believed given all that was told, and with what is open had it been told as well."""
        self._fit()
        state = self._state
        return self._beliefs.given({**state.unfitted, **(state.awaited if with_open else {})})

    def _fit(self) -> None:
        """Have the model make a posterior of all that was told, where enough of it is new."""
        state = self._state
        if not state.measured:
            raise ValueError("planning starts from measured views, got none: ingest a few pilot views first")
        if not state.fitted_ids or len(state.unfitted) >= self._settings.refit_every:
            state = state.fitting()
        self._fit_to(state)
        if state.unfitted and self._beliefs.given(state.unfitted).used_up:
            state = state.fitting()
            self._fit_to(state)
        self._state = state

    def _fit_to(self, state: PlannerState) -> None:
        if not self._beliefs.fitted(state.fitted_ids):
            ids = state.fitted_ids
            self._beliefs.fit(ids, self._model(*state.sinogram(ids), state.noise_variance(ids)))
