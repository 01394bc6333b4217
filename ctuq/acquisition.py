"""Planning step by step with an instrument: each function is one command, from a folder on disk and back to it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ctuq.acquisition_state import AcquisitionFolder, AcquisitionSettings, AcquisitionState, CurvePoint
from ctuq.config import Config
from ctuq.errors import InputError
from ctuq.initial_weights import refuse_neighbour
from ctuq.measured_views import MeasuredViews, read_views
from ctuq.planning import candidates_of, selection_of
from ctuq.preparation import prepare
from ctuq.preprocessing import preprocess
from ctuq.region_mask import region_mask
from ctuq.scan import Scan
from ctuq.scan_model import ReconstructingModel
from ctuq.source_choice import SourceChoice
from ctuq.stage_watch import OnStep
from design import AnglePlanner, PlannerSettings, PlannerState, Suggestion
from operators import Geometry, ImageGrid
from operators.geometry import AngleInput

TOLERANCE_DEG = 0.05
"""How far a motor may stop from where it was sent for the view to count as the one that was asked for."""


@dataclass(frozen=True)
class Suggestions:
    """What to measure next.

    Args:
        points: {"_id", "angle_deg", "score"}, in the order of least motor travel.
        repeated: whether they had been suggested before, and are still waited for.
        stopped: why there are fewer than asked for, or None.
        region_std: of the region now, 1/mm; None where they are repeated.
        promised_std: once they are all measured; None likewise.
    """

    points: list[dict[str, Any]]
    repeated: bool
    stopped: str | None
    region_std: float | None = None
    promised_std: float | None = None


def start(
    folder: AcquisitionFolder,
    pilot: Scan,
    *,
    candidates: int | AngleInput,
    criterion: str,
    roi: str | None,
    config: Config,
    seed: int,
    force: bool,
) -> AcquisitionState:
    """Begin an acquisition with views that are measured already.

    Args:
        folder: to make; its parent exists.
        pilot: the first views.
        candidates: how many views to choose from, or their angles in radians.
        criterion: a key of `ctuq.criteria.CRITERIA`.
        roi: see `region_mask`; None: the whole image.
        config: of every reconstruction.
        seed: of every random draw.
        force: whether an acquisition in the folder may be thrown away.

    Raises:
        InputError: the scan or the request is wrong, or there is an acquisition already.
    """
    refuse_neighbour(config)
    if config.scan.angle_step != 1:
        raise InputError(
            f"expected scan.angle_step=1, as every view that was measured is taken in, got {config.scan.angle_step}: "
            "leave it out"
        )
    scan = pilot
    considered = candidates_of(scan.planar.with_grid(ImageGrid(shape=(1, 1), pixel_mm=1e-9)), candidates)
    # The axis is settled now, for all views to come; the rest is done to all of them whenever there are more.
    axis = preprocess(scan, config.preprocessing).planar.cor_index
    settled = dataclasses.replace(config.preprocessing, centre="file")
    settings = AcquisitionSettings(
        name=scan.name,
        instrument=dataclasses.replace(considered.geometry, cor_index=axis),
        stated_cor_index=scan.geometry.cor_index,
        criterion=criterion,
        roi=roi,
        config=config.model_copy(update={"preprocessing": settled}),
        seed=seed,
    )
    empty = AcquisitionState(PlannerState(candidate_ids=considered.ids))
    planner = _planner(folder, settings, empty)
    _ingest(planner, MeasuredViews.of(scan))
    state = dataclasses.replace(empty, planner=planner.state)
    folder.create(settings, state, force=force)
    return state


def suggest(
    folder: AcquisitionFolder, n_views: int, *, more: bool, device: str = "cpu", on_step: OnStep
) -> Suggestions:
    """The next views, written to the folder before anybody hears of them.

    What is still open is suggested again, so that nothing is lost if the command was killed before it was heard.

    Args:
        folder: of the acquisition.
        n_views: how many.
        more: suggest further views although some are open, as if those had been measured.
        device: torch device of a reconstruction.
        on_step: called as (stage, done, total, {name: value}).

    Raises:
        InputError: no acquisition here, or one whose views cannot be reconstructed.
    """
    with folder.locked():
        settings, state = folder.read()
        if state.planner.open and not more:
            points = [_point(suggestion) for suggestion in state.planner.open]
            return Suggestions(points, repeated=True, stopped=state.stopped)
        planner = _planner(folder, settings, state, device=device, on_step=on_step)
        points = planner.suggest(
            n_views, on_step=lambda done, std: on_step("choose", done, n_views, {"deviation": std})
        )
        now, promised = planner.region_std(), planner.promised_std()
        n_measured = len(planner.state.measured)
        stopped = planner.held_back
        promises = dict(state.promised or {})
        point = CurvePoint(n_measured, now, promises.get(str(n_measured)))
        curve = (*(old for old in state.curve if old.n_views != n_measured), point)
        promises[str(n_measured + len(planner.state.open))] = promised
        folder.write(AcquisitionState(planner.state, curve, promises, stopped, planner.enough))
    return Suggestions(points, repeated=False, stopped=stopped, region_std=now, promised_std=promised)


def tell(
    folder: AcquisitionFolder,
    measured: Path | None,
    failed_deg: Sequence[float],
    *,
    variances: bool = False,
    choice: SourceChoice,
) -> AcquisitionState:
    """Take in what was measured, and what could not be; both or neither.

    Args:
        folder: of the acquisition.
        measured: see `read_views`; of a file with several detector rows the pilots' one is read.
        failed_deg: angles of suggestions that failed.
        variances: whether they follow a table's line integrals.
        choice: what a scan's file does not say, or says wrongly.

    Raises:
        InputError: a file that is wrong, or an angle that nobody waits for.
    """
    with folder.locked():
        settings, state = folder.read()
        planner = _planner(folder, settings, state)
        if measured is not None:
            row = settings.config.scan.row
            _ingest(planner, read_views(measured, settings.stated, row=row, variances=variances, choice=choice))
        if failed_deg:
            planner.register_failures([{"_id": _waited_for(planner.state, angle)} for angle in failed_deg])
        state = dataclasses.replace(state, planner=planner.state, stopped=None, enough=False)
        folder.write(state)
    return state


def _planner(
    folder: AcquisitionFolder,
    settings: AcquisitionSettings,
    state: AcquisitionState,
    *,
    device: str = "cpu",
    on_step: OnStep | None = None,
) -> AnglePlanner:
    config, instrument = settings.config, settings.instrument
    geometry = _on_grid(instrument, config)
    model = ReconstructingModel(
        instrument, config, name=settings.name, seed=settings.seed, device=device, cache=folder.belief, on_step=on_step
    )
    candidates = candidates_of(geometry, geometry.angles_rad)
    selection = selection_of(settings.criterion, config.design)
    region = None if settings.roi is None else region_mask(settings.roi, geometry.grid)
    instrument_settings = PlannerSettings(
        refit_every=config.design.refit_every,
        retries=config.design.retries,
        endless=config.design.endless,
        projection_width=instrument.n_detectors,
    )
    try:
        return AnglePlanner.from_checkpoint(
            state.planner, candidates, model, selection, region=region, settings=instrument_settings
        )
    except ValueError as error:
        raise InputError(f"{folder.path}: {error} Restore the folder from a copy, or start anew") from error


def _on_grid(instrument: Geometry, config: Config) -> Geometry:
    """The candidates as the reconstruction sees them: binned, and on its grid."""
    return prepare(Scan(torch.zeros(instrument.sinogram_shape), instrument, None), config).planar


def _ingest(planner: AnglePlanner, views: MeasuredViews) -> None:
    points = []
    n_views = len(views.angles_rad)
    variances = [None] * n_views if views.noise_variance is None else views.noise_variance.tolist()
    for angle_rad, projection, variance in zip(
        views.angles_rad.tolist(), views.sinogram.tolist(), variances, strict=True
    ):
        degrees = math.degrees(angle_rad)
        waited_for = _nearest_open(planner.state, degrees)
        point = {"angle_deg": degrees, "projection": projection, "noise_variance": variance}
        points.append(point if waited_for is None else {**point, "_id": waited_for.id})
    try:
        planner.ingest(points)
    except ValueError as error:
        raise InputError(str(error)) from error


def _waited_for(state: PlannerState, degrees: float) -> str:
    found = _nearest_open(state, degrees)
    if found is None:
        waiting = ", ".join(f"{math.degrees(s.angle_rad):g}" for s in state.open) or "none"
        raise InputError(f"expected --failed with the angle of an open suggestion ({waiting}), got {degrees:g}")
    return found.id


def _nearest_open(state: PlannerState, degrees: float) -> Suggestion | None:
    """The open suggestion that a motor at this angle was sent to."""

    def distance(suggestion: Suggestion) -> float:
        apart = abs(math.degrees(suggestion.angle_rad) - degrees) % 360
        return min(apart, 360 - apart)

    nearest = min(state.open, key=distance, default=None)
    return nearest if nearest is not None and distance(nearest) <= TOLERANCE_DEG else None


def _point(suggestion: Suggestion) -> dict[str, Any]:
    return {"_id": suggestion.id, "angle_deg": math.degrees(suggestion.angle_rad), "score": suggestion.score}
