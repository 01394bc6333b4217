"""The commands of `ctuq acquire`. What they do is in `ctuq.acquisition`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from ctuq import acquisition
from ctuq.acquisition_page import write_acquisition_page
from ctuq.acquisition_state import AcquisitionFolder, AcquisitionState
from ctuq.amount import amount
from ctuq.computing_device import resolve_device
from ctuq.config import load_config
from ctuq.criteria import score_unit
from ctuq.errors import InputError
from ctuq.options import (
    Candidates,
    ConfigFile,
    Criterion,
    CriterionName,
    Debug,
    Device,
    DeviceOption,
    Force,
    Json,
    Overrides,
    Region,
    Seed,
)
from ctuq.outcome import outcome
from ctuq.plan_jobs import read_candidates
from ctuq.rays import shown_degrees
from ctuq.source_choice import SourceChoice
from ctuq.source_options import with_source_options
from ctuq.suggestion_file import require_known_format, write_suggestions
from ctuq.survivable_scan import read_survivable_scan
from ctuq.whole_file import require_writable

app = typer.Typer(
    name="acquire",
    help="Plan view by view with an instrument: start, then next and tell in turn; status at any time.",
    no_args_is_help=True,
)
StateFolder = Annotated[Path, typer.Argument(metavar="STATE", help="Folder of the acquisition.")]


@app.command(epilog="Example: ctuq acquire start run7 pilot.h5 --candidates 180 --set grid.size=128")
@with_source_options
def start(  # noqa: PLR0913  one argument an option
    *,
    state: StateFolder,
    pilot: Annotated[Path, typer.Argument(metavar="PILOT", help="Scan (HDF5, TOML) of the views measured so far.")],
    candidates: Candidates = "180",
    criterion: Criterion = CriterionName.EIG,
    roi: Region = None,
    choice: SourceChoice,
    config: ConfigFile = None,
    overrides: Overrides = None,
    seed: Seed = 0,
    force: Force = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Begin with the views of a pilot scan (angles in degrees); nothing is computed yet."""
    with outcome(as_json=json, debug=debug) as events:
        settings = load_config(config, overrides=overrides or [])
        begun = acquisition.start(
            AcquisitionFolder(state),
            read_survivable_scan(pilot, row=settings.scan.row, choice=choice),
            candidates=read_candidates(candidates),
            criterion=criterion.value,
            roi=roi,
            config=settings.for_any_folder(),
            seed=seed,
            force=force,
        )
        events.written.append(write_acquisition_page(AcquisitionFolder(state)))
        n_pilots, n_candidates = len(begun.planner.measured), len(begun.planner.candidate_ids)
        lines = [
            f"{state}: {amount(n_pilots, 'view')} measured, {n_candidates:,} to choose from",
            f"next: ctuq acquire next {shlex.quote(str(state))}",
            f"page, kept up to date: {state / 'acquisition.html'}",
        ]
        events.said(lines, {"event": "started", "measured": n_pilots, "candidates": n_candidates})


@app.command(name="next", epilog="Example: ctuq acquire next run7 -n 3 --out angles.npy")
def next_views(
    state: StateFolder,
    n_views: Annotated[int, typer.Option("-n", "--n-angles", min=1, help="Views to suggest.")] = 1,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Angles in degrees in the order to measure: .npy, .csv or .json."),
    ] = None,
    more: Annotated[bool, typer.Option("--more", help="Suggest further views although some are open.")] = False,
    device: DeviceOption = Device.AUTO,
    force: Force = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Say which view angles (degrees) to measure now; those that are open are said again until they are told."""
    with outcome(as_json=json, debug=debug) as events:
        if out is not None:
            require_known_format(out)
            require_writable(out, force=force)
        folder = AcquisitionFolder(state)
        found = acquisition.suggest(
            folder, n_views, more=more, device=resolve_device(device.value), on_step=events.step
        )
        if out is not None:
            write_suggestions(found.points, out, force=force)
            events.written.append(out)
        events.written.append(write_acquisition_page(folder))
        settings = folder.read()[0]
        unit = score_unit(settings.criterion, settings.config.design)
        lines = [f"{point['angle_deg']:.4f}°  score {point['score']:.4g} {unit}" for point in found.points]
        if found.repeated:
            lines.append("suggested before and still open: tell them, or ask for others with --more")
        elif found.points:
            lines.append(f"deviation {found.region_std:.4g} 1/mm now, {found.promised_std:.4g} promised with these")
        lines += [f"stop: {found.stopped}"] if found.stopped else []
        events.said(lines, {"event": "suggested", **vars(found)})


@app.command(epilog="Example: ctuq acquire tell run7 views.h5 --failed 33.5")
@with_source_options
def tell(
    *,
    state: StateFolder,
    measured: Annotated[
        Path | None,
        typer.Argument(
            metavar="VIEWS",
            help="Scan (HDF5, TOML), or .npy/.csv: a view a row, degrees, then line integrals.",
        ),
    ] = None,
    failed: Annotated[
        list[float] | None, typer.Option(metavar="DEGREES", help="A suggested view that failed. Repeatable.")
    ] = None,
    variances: Annotated[
        bool, typer.Option("--variances", help="In a table, as many variances follow the line integrals.")
    ] = False,
    choice: SourceChoice,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Take in measured views (degrees, line integrals), or say which could not be measured."""
    with outcome(as_json=json, debug=debug) as events:
        if measured is None and not failed:
            raise InputError("expected a file of measured views or --failed DEGREES, got neither")
        if variances and measured is None:
            raise InputError("expected --variances with a table of views, got none: name it, or leave --variances out")
        folder = AcquisitionFolder(state)
        told = acquisition.tell(folder, measured, failed or (), variances=variances, choice=choice)
        events.written.append(write_acquisition_page(folder))
        events.said(_status_lines(told), _status_record(told, "told"))


@app.command(epilog="Example: ctuq acquire status run7")
def status(state: StateFolder, json: Json = False, debug: Debug = False) -> None:
    """Print what is measured, open and failed (degrees), and how the deviation (1/mm) fell. Nothing is computed."""
    with outcome(as_json=json, debug=debug) as events:
        folder = AcquisitionFolder(state)
        with folder.locked():
            now = folder.read()[1]
        events.said(_status_lines(now), _status_record(now, "status"))


def _status_record(state: AcquisitionState, event: str) -> dict[str, object]:
    planner = state.planner
    retried = [one for one in planner.suggestions if one.failures and one not in planner.failed]
    return {
        "event": event,
        "measured_deg": [shown_degrees(view.angle_rad) for view in planner.measured],
        "unplanned_deg": [shown_degrees(view.angle_rad) for view in planner.measured if view.origin == "unplanned"],
        "open_deg": [shown_degrees(suggestion.angle_rad) for suggestion in planner.open],
        "failed_deg": [shown_degrees(suggestion.angle_rad) for suggestion in planner.failed],
        "retried_deg": [shown_degrees(suggestion.angle_rad) for suggestion in retried],
        "curve": [vars(point) for point in state.curve],
        "stopped": state.stopped,
    }


def _status_lines(state: AcquisitionState) -> list[str]:
    record = _status_record(state, "status")
    lines = [
        f"{name:<10} {len(angles):>3}  {' '.join(f'{angle:g}°' for angle in angles)}".rstrip()
        for name in ("measured", "unplanned", "open", "failed", "retried")
        if isinstance(angles := record[f"{name}_deg"], list) and (angles or name in ("measured", "open"))
    ]
    for point in state.curve:
        promised = "" if point.promised is None else f" ({point.promised:.4g} was promised)"
        lines.append(f"deviation  {point.region_std:.4g} 1/mm with {amount(point.n_views, 'view')}{promised}")
    return [*lines, f"stop       {state.stopped}"] if state.stopped else lines
