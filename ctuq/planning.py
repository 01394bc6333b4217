"""Which views to measure next, from a reconstruction."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ctuq.amount import amount
from ctuq.angle_plan import AnglePlan
from ctuq.config import DesignConfig, load_config
from ctuq.criteria import CRITERIA, score_unit
from ctuq.errors import InputError
from ctuq.image_belief import image_belief
from ctuq.reconstruction import Reconstruction
from ctuq.scan import planar
from ctuq.stage_watch import OnStep
from ctuq.verdict import judge
from design import (
    Candidates,
    CandidateViews,
    Constraints,
    Cost,
    Criterion,
    GreedySelection,
    Plan,
    StoppingRule,
    Wedge,
    draws_for,
    motor_order,
)
from operators import Geometry, ParallelBeam
from operators.geometry import AngleInput


def plan(  # noqa: PLR0913  one argument an option
    reconstruction: Reconstruction,
    *,
    candidates: int | AngleInput,
    n_angles: int,
    criterion: str = "eig",
    roi: Tensor | None = None,
    settings: DesignConfig | None = None,
    present_rad: float | None = None,
    seed: int = 0,
    on_step: OnStep | None = None,
) -> AnglePlan:
    """The views that tell most of the image beside those measured, chosen greedily; no data of theirs are needed.

    Args:
        reconstruction: fresh, with its posterior, or read from a file, with the few draws that were kept.
        candidates: how many views to choose from, equally spaced from 0 (over 180 degrees for parallel rays, 360 for a
            fan), or their angles in radians. Measured ones are never chosen again.
        n_angles: views to choose.
        criterion: "eig" (expected information gain), "diagonal-eig", "ese" (expected squared error of the rays) or
            "roi" (fall of the summed variance in the region).
        roi: (row, col) bool, the pixels whose deviation counts; all if left out.
        settings: constraints, limits and draws; as the reconstruction's configuration has them if left out.
        present_rad: where the motor stands; at the last of the reconstruction's views if left out.
        seed: of the draws.
        on_step: called as (stage, done, total, {name: value}).

    Raises:
        InputError: an unknown criterion, fewer candidates than views asked for, a region that is empty or of another
            shape, or a reconstruction read from a file that does not hold its rays.
    """
    settings = settings or load_config(dict(reconstruction.provenance.config)).design
    selection = selection_of(criterion, settings)
    if reconstruction.rays is None:
        raise InputError(
            "expected a reconstruction that knows its rays, got one from a file of an older ctuq: plan from the scan "
            "itself (ctuq plan SCAN), or reconstruct it again"
        )
    geometry = planar(reconstruction.rays.geometry)
    present = geometry.angles_rad[-1] if present_rad is None else present_rad
    considered = plannable(geometry, candidates, selection, n_angles=n_angles)
    generator = torch.Generator().manual_seed(seed)
    belief = image_belief(reconstruction, settings, generator=generator, on_step=on_step)
    try:
        views = CandidateViews(belief.covariance, considered, belief.noise, region=roi)
    except ValueError as error:
        raise InputError(f"{error} (roi)") from error
    scores = _scores(views, selection.criterion, on_step) / selection.cost.of(considered, present)
    chosen = _choose(selection, views, n_angles, geometry, present, on_step)
    made = _assembled(reconstruction, geometry, present, chosen, scores, criterion, settings, n_angles)
    return dataclasses.replace(made, region_pixels=None if roi is None else int(roi.sum()), seed=seed)


def selection_of(criterion: str, settings: DesignConfig) -> GreedySelection:
    """How views are chosen, as the configuration has it.

    Raises:
        InputError: an unknown criterion, or constraints that make no sense.
    """
    if criterion not in CRITERIA:
        raise InputError(f"expected a criterion among {', '.join(CRITERIA)}, got {criterion!r}: try eig")
    try:
        wedges = tuple(Wedge(math.radians(start), math.radians(stop)) for start, stop in settings.forbidden_deg)
        return GreedySelection(
            criterion=CRITERIA[criterion].criterion,
            constraints=Constraints(forbidden=wedges, min_separation_rad=math.radians(settings.min_separation_deg)),
            cost=Cost(per_radian=math.degrees(settings.turning_cost), endless=settings.endless),
            stopping=StoppingRule(
                max_views=settings.max_views, target_std=settings.target_std, min_score=settings.min_score
            ),
        )
    except ValueError as error:
        raise InputError(f"{error} (design.forbidden_deg, in degrees)") from error


def candidates_of(geometry: Geometry, candidates: int | AngleInput) -> Candidates:
    """Views like those of a geometry, at these angles or so many equally spaced ones.

    Raises:
        InputError: fewer than one, angles that are not finite, or one of them twice.
    """
    if isinstance(candidates, int):
        if candidates < 1:
            raise InputError(f"expected at least 1 candidate, got {candidates}: try 180")
        period = math.pi if isinstance(geometry, ParallelBeam) else 2 * math.pi
        candidates = [view * period / candidates for view in range(candidates)]
    try:
        angles = tuple(torch.as_tensor(candidates, dtype=torch.float64).tolist())
        return Candidates(dataclasses.replace(geometry, angles_rad=angles))
    except ValueError as error:
        raise InputError(f"{error} (candidates)") from error


def plannable(
    measured: Geometry, candidates: int | AngleInput, selection: GreedySelection, *, n_angles: int
) -> Candidates:
    """The views to choose from, where so many can be chosen beside those measured.

    Raises:
        InputError: as `candidates_of`, and where too few are neither measured nor forbidden.
    """
    considered = candidates_of(measured, candidates)
    if n_angles < 1:
        raise InputError(f"expected at least 1 view to plan, got {n_angles}")
    n_allowed = int(selection.constraints.allowed(considered, measured.angles_rad).sum())
    if n_allowed < n_angles:
        raise InputError(
            f"expected at least {amount(n_angles, 'candidate')} to choose from, got {n_allowed} of {len(considered)} "
            "that are neither measured nor forbidden (design.forbidden_deg, design.min_separation_deg): name more "
            "candidates, or plan fewer views"
        )
    return considered


def _scores(views: CandidateViews, criterion: Criterion, on_step: OnStep | None) -> Tensor:
    """Of every candidate, before any is chosen and before division by its cost."""
    scores = []
    n_views = len(views.candidates)
    for index in range(n_views):
        belief = views.belief([index], with_region=criterion.uses_region)
        scores.append(float(criterion.acquisition(belief)[0]))
        _tell(on_step, "score", index + 1, n_views)
    return torch.tensor(scores, dtype=torch.float64)


def _choose(
    selection: GreedySelection,
    views: CandidateViews,
    n_angles: int,
    measured: Geometry,
    present_rad: float,
    on_step: OnStep | None,
) -> Plan:
    def told(done: int, std: float) -> None:
        _tell(on_step, "choose", done, n_angles, {"deviation": std})

    return selection(views, n_angles, taken_rad=measured.angles_rad, present_rad=present_rad, on_step=told)


def _assembled(
    reconstruction: Reconstruction,
    measured: Geometry,
    present_rad: float,
    chosen: Plan,
    scores: Tensor,
    criterion: str,
    settings: DesignConfig,
    n_angles: int,
) -> AnglePlan:
    travel = motor_order(chosen.angles_rad.tolist(), present_rad, endless=settings.endless)
    order = torch.empty(len(travel), dtype=torch.int64)
    order[torch.tensor(travel, dtype=torch.int64)] = torch.arange(len(travel))
    return AnglePlan(
        angles_rad=chosen.angles_rad,
        scores=chosen.scores,
        order=order,
        region_std=chosen.region_std,
        criterion=criterion,
        unit=score_unit(criterion, settings),
        candidates_rad=torch.tensor(chosen.views.candidates.angles_rad, dtype=torch.float64),
        candidate_scores=scores,
        measured_rad=torch.tensor(measured.angles_rad, dtype=torch.float64),
        provenance=reconstruction.provenance,
        verdict=judge(reconstruction.calibration),
        notes=_stopped(chosen, reconstruction, n_angles),
    )


def _stopped(chosen: Plan, reconstruction: Reconstruction, n_angles: int) -> tuple[str, ...]:
    """Why there are fewer views than asked for, and what to do where draws are the reason."""
    if chosen.stopped is None:
        return ()
    note = f"{len(chosen.indices)} of {amount(n_angles, 'view')}: {chosen.stopped}"
    if not chosen.views.used_up:
        return (note,)
    enough = draws_for(n_angles, chosen.views.candidates.n_detectors)
    if reconstruction.posterior is not None:
        return (f"{note}: choose fewer at a time, or design.n_draws={enough}, which is enough for all",)
    scan = f"plan from the scan itself (ctuq plan {reconstruction.provenance.input_path or 'SCAN'})"
    return (f"{note}: {scan}, or reconstruct it with --set posterior.kept_samples={enough}, which is enough for all",)


def _tell(on_step: OnStep | None, stage: str, done: int, total: int, info: Mapping[str, float] | None = None) -> None:
    if on_step is not None:
        on_step(stage, done, total, info or {})
