"""Greedy selection: the best view, then the best one had that been measured, and so on."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from design.acquisition import Criterion
from design.candidate_views import CandidateViews
from design.constraints import Constraints, Cost
from design.stopping import StoppingRule

_TIE = 1e-9  # relative difference below which scores are the same but for rounding


@dataclass(frozen=True, eq=False)
class Plan:
    """Views in the order they were chosen.

    Args:
        indices: of the candidates.
        ids: their names.
        angles_rad: (n,) float64.
        scores: (n,) float64, each given those before it, divided by its cost.
        region_std: (n + 1,) float64, root mean square of the region's deviations before the first and after each.
        stopped: why there are fewer than asked for; None where there are not.
        enough: whether that is because a stopping rule was met.
        n_scored: candidates that were scored, all in all.
        views: what would be believed once all of them were measured.
    """

    indices: tuple[int, ...]
    ids: tuple[str, ...]
    angles_rad: Tensor
    scores: Tensor
    region_std: Tensor
    stopped: str | None
    enough: bool
    n_scored: int
    views: CandidateViews


@dataclass(frozen=True, kw_only=True)
class GreedySelection:
    """How views are chosen.

    Batches know what they repeat, as every view is chosen as if those before it had been measured.

    Args:
        criterion: what a view is worth.
        constraints: which views are allowed.
        cost: by which its worth is divided.
        stopping: when to choose no more.
        lazy: leave a candidate unscored while its older score, an upper bound, is not the best (Minoux 1978). The
            choice is the same. It applies to criteria that only fall, exact covariances and motors that cost nothing
            to turn; elsewhere every candidate is scored at every step.
    """

    criterion: Criterion
    constraints: Constraints = field(default_factory=Constraints)
    cost: Cost = field(default_factory=Cost)
    stopping: StoppingRule = field(default_factory=StoppingRule)
    lazy: bool = True

    def __call__(
        self,
        views: CandidateViews,
        n_views: int,
        *,
        taken_rad: Sequence[float] = (),
        excluded: Sequence[int] = (),
        present_rad: float = 0.0,
        on_step: Callable[[int, float], None] | None = None,
    ) -> Plan:
        """Choose.

        Args:
            views: what is believed, given all that was measured.
            n_views: how many at most.
            taken_rad: angles measured, or about to be.
            excluded: candidates not to be chosen.
            present_rad: where the motor stands.
            on_step: called as (views chosen, deviation of the region then).

        Raises:
            ValueError: fewer than one view asked for.
        """
        if n_views < 1:
            raise ValueError(f"n_views must be at least 1, got {n_views}")
        scoring = _Scoring(self, len(views.candidates), bounded=self._bounded(views))
        taken, present = list(taken_rad), present_rad
        chosen: list[int] = []
        scores: list[float] = []
        deviations = [views.region_std()]
        stopped, enough = None, False
        while len(chosen) < n_views:
            allowed = self.constraints.allowed(views.candidates, taken)
            allowed[list(excluded)] = False
            stopped, enough = self._before_scoring(views, allowed, len(taken), deviations[-1])
            if stopped is not None:
                break
            index, score = scoring.best(views, allowed, self.cost.of(views.candidates, present))
            stopped = self.stopping.too_little(score)
            enough = stopped is not None
            if enough:
                break
            views, present = views.observing(index), views.candidates.angles_rad[index]
            taken.append(present)
            chosen.append(index)
            scores.append(score)
            deviations.append(views.region_std())
            if on_step is not None:
                on_step(len(chosen), deviations[-1])
        return Plan(
            tuple(chosen),
            tuple(views.candidates.ids[index] for index in chosen),
            torch.tensor([views.candidates.angles_rad[index] for index in chosen], dtype=torch.float64),
            torch.tensor(scores, dtype=torch.float64),
            torch.tensor(deviations, dtype=torch.float64),
            stopped,
            enough,
            scoring.n_scored,
            views,
        )

    def _before_scoring(
        self, views: CandidateViews, allowed: Tensor, n_taken: int, region_std: float
    ) -> tuple[str | None, bool]:
        """Why no further view is to be chosen, or None; and whether a stopping rule says so."""
        if views.used_up:
            left = f"of {views.n_draws:.0f} draws {views.draws_left:.1f} are not used up, too few to choose by"
            return left, False
        reached = self.stopping.reached(n_views=n_taken, region_std=region_std)
        if reached is not None:
            return reached, True
        return None if allowed.any() else f"no candidate of {len(allowed)} is left that the constraints allow", False

    def _bounded(self, views: CandidateViews) -> bool:
        """Whether no score can rise when another view is measured."""
        return self.lazy and self.criterion.decreasing and views.exact and self.cost.per_radian == 0


class _Scoring:
    """The best candidate, step by step."""

    def __init__(self, selection: GreedySelection, n_candidates: int, *, bounded: bool) -> None:
        self._criterion, self._bounded = selection.criterion, bounded
        self._bounds = [float("inf")] * n_candidates
        self.n_scored = 0

    def best(self, views: CandidateViews, allowed: Tensor, costs: Tensor) -> tuple[int, float]:
        """The allowed candidate of the highest score per cost; of equals, that of the smallest angle."""
        indices = allowed.nonzero().flatten().tolist()
        found: dict[int, float] = {}
        queue = [(-self._bounds[index], index) for index in indices]
        heapq.heapify(queue)
        highest = -float("inf")
        while queue and (not self._bounded or -queue[0][0] >= highest - _TIE * abs(highest)):
            _, index = heapq.heappop(queue)
            found[index] = self._score(views, index) / float(costs[index])
            highest = max(highest, found[index])
        self._bounds = [found.get(index, bound) for index, bound in enumerate(self._bounds)]
        equals = [index for index, score in found.items() if score >= highest - _TIE * abs(highest)]
        index = min(equals, key=lambda i: views.candidates.angles_rad[i])
        return index, found[index]

    def _score(self, views: CandidateViews, index: int) -> float:
        self.n_scored += 1
        belief = views.belief([index], with_region=self._criterion.uses_region)
        return float(self._criterion.acquisition(belief)[0])
