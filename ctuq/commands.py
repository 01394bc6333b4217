"""The commands and their options. What they do is in `ctuq.jobs`, how they end in `ctuq.outcome`."""

import importlib.metadata
from pathlib import Path
from typing import Annotated

import typer

from ctuq import acquire_commands
from ctuq.batch_command import batch
from ctuq.check import check_scan
from ctuq.doctor import diagnose
from ctuq.errors import InputError
from ctuq.jobs import demo_to_files
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
    ScanFile,
    Seed,
)
from ctuq.outcome import FAILED, outcome
from ctuq.plan_jobs import PlanRequest, plan_to_files
from ctuq.pretrain_command import pretrain
from ctuq.reconstruct_command import reconstruct
from ctuq.replay_curves import STRATEGIES, ReplaySettings
from ctuq.replay_jobs import ReplayRequest, replay_to_files
from ctuq.result_file import read_result
from ctuq.simulate_command import simulate
from ctuq.source_choice import SourceChoice
from ctuq.source_options import with_source_options
from ctuq.whole_file import require_writable

app = typer.Typer(
    name="ctuq",
    help="Computed tomography with error bars that can be checked. Start with: ctuq demo",
    epilog="Exit codes: 0 all well, 1 something failed, 2 the request was wrong, 3 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(acquire_commands.app)
app.command(epilog="Example: ctuq reconstruct scan.h5 --out result.h5 --set grid.size=128 --set scan.angle_step=8")(
    reconstruct
)
app.command(epilog="Example: ctuq simulate --out scan.h5 --phantom rectangles --photons 1000")(simulate)
app.command(epilog="Example: ctuq pretrain scan.h5 --out weights.safetensors --set grid.size=128")(pretrain)
app.command(epilog="Example: ctuq batch scans/ --out results --workers 2 --set grid.size=128")(batch)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"ctuq {importlib.metadata.version('ctuq')}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Options of ctuq itself."""


@app.command(epilog="Example: ctuq demo --out demo-out")
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the files; made if its parent exists.")] = Path(),
    force: Force = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Reconstruct a real scan that ships with ctuq: result file, picture, report. About two minutes on two cores."""
    with outcome(as_json=json, debug=debug) as events:
        demo_to_files(out, force=force, events=events)
        page = events.written[-1]
        events.said([f"Open {page} in a browser."], {"event": "look", "path": page})


@app.command(epilog="Example: ctuq check scan.h5 --set grid.size=128")
@with_source_options
def check(
    *,
    scan: ScanFile,
    choice: SourceChoice,
    config: ConfigFile = None,
    overrides: Overrides = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Read a scan's headers: layout, geometry (mm, degrees), memory and time it would take, every problem at once."""
    with outcome(as_json=json, debug=debug) as events:
        found = check_scan(scan, choice=choice, config=config, overrides=overrides or [])
        record = {"event": "checked", "facts": found.facts, "notes": found.notes, "problems": found.problems}
        events.said(found.lines, record)
        if found.problems:
            raise typer.Exit(InputError.exit_code)


@app.command(epilog="Example: ctuq plan scan.h5 --candidates 180 -n 10 --out angles.npy --set grid.size=128")
@with_source_options
def plan(  # noqa: PLR0913  one argument an option
    *,
    source: Annotated[
        Path, typer.Argument(metavar="R.h5|SCAN", help="Scan, reconstructed first; or a result, with its few draws.")
    ],
    n_angles: Annotated[int, typer.Option("-n", "--n-angles", min=1, help="Views to choose.")],
    candidates: Candidates = "180",
    criterion: Criterion = CriterionName.EIG,
    roi: Region = None,
    out: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Angles in degrees: .npy, .csv, .json or .h5; a .png and an .html go beside. Repeatable.",
        ),
    ] = None,
    choice: SourceChoice,
    config: ConfigFile = None,
    overrides: Overrides = None,
    seed: Seed = 0,
    keep_reconstruction: Annotated[
        Path | None, typer.Option(metavar="R.h5", help="Keep the reconstruction of a scan, which takes the time.")
    ] = None,
    device: DeviceOption = Device.AUTO,
    force: Force = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Say which view angles (degrees) to measure next, and how far the deviation (1/mm) would fall."""
    request = PlanRequest(
        source=source,
        choice=choice,
        candidates=candidates,
        n_angles=n_angles,
        criterion=criterion.value,
        roi=roi,
        out=tuple(out or ()),
        config=config,
        overrides=tuple(overrides or ()),
        seed=seed,
        force=force,
        keep=keep_reconstruction,
        device=device.value,
    )
    with outcome(as_json=json, debug=debug) as events:
        plan_to_files(request, events)


@app.command(epilog="Example: ctuq replay scan.h5 --out replay.h5 --start 5 -n 20 --set grid.size=64")
@with_source_options
def replay(  # noqa: PLR0913  one argument an option
    *,
    scan: ScanFile,
    out: Annotated[Path, typer.Option(metavar="R.h5", help="Curves (NeXus); the page goes beside it as .html.")],
    start: Annotated[int, typer.Option(min=1, help="Equidistant views that planning starts from.")] = 5,
    n_angles: Annotated[int, typer.Option("-n", "--n-angles", min=1, help="Views that are added.")] = 20,
    every: Annotated[int, typer.Option(min=1, help="Views between two reconstructions.")] = 5,
    against: Annotated[str, typer.Option(metavar="NAMES", help="Other orders, with commas.")] = ",".join(STRATEGIES),
    random_seeds: Annotated[int, typer.Option(min=1, help="Orders at random.")] = 3,
    criterion: Criterion = CriterionName.EIG,
    reference: Annotated[
        Path | None,
        typer.Option(metavar="IMAGE.npy", help="In 1/mm on the same grid.", show_default="FBP of all views"),
    ] = None,
    choice: SourceChoice,
    config: ConfigFile = None,
    overrides: Overrides = None,
    seed: Seed = 0,
    device: DeviceOption = Device.AUTO,
    force: Force = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Acquire a scan again in the order of a plan, and compare images and deviations (1/mm) with other orders.

    What is finished stays in a folder beside --out: after an interruption the same command goes on from there.
    """
    with outcome(as_json=json, debug=debug) as events:
        settings = ReplaySettings(
            start=start,
            n_angles=n_angles,
            every=every,
            against=tuple(name for name in against.split(",") if name),
            random_seeds=random_seeds,
            criterion=criterion.value,
        )
        request = ReplayRequest(
            scan=scan,
            choice=choice,
            out=out,
            settings=settings,
            reference=reference,
            config=config,
            overrides=tuple(overrides or ()),
            seed=seed,
            device=device.value,
            force=force,
        )
        replay_to_files(request, events)


@app.command(epilog="Example: ctuq report result.h5 --out report.html")
def report(
    result: Annotated[Path, typer.Argument(metavar="R.h5", help="Result file written by ctuq reconstruct.")],
    out: Annotated[
        Path | None, typer.Option(metavar="R.html", help="Page to write.", show_default="beside the result")
    ] = None,
    force: Force = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the single-file HTML report (1/mm, mm, degrees) of a result; it needs no network."""
    with outcome(as_json=json, debug=debug) as events:
        page = out or result.with_suffix(".html")
        require_writable(page, force=force)
        read_result(result).report(page)
        events.said([f"wrote {page}"], {"event": "written", "path": page})


@app.command(epilog="Example: ctuq doctor")
def doctor(json: Json = False, debug: Debug = False) -> None:
    """Say what this machine can do: versions, memory, CUDA, adjoints, speeds, what it reconstructs in 10 minutes."""
    with outcome(as_json=json, debug=debug) as events:
        findings = diagnose(events.step)
        for found in findings:
            line = f"{found.status:<8} {found.name:<32} {found.detail}"
            record = {"event": "found", "name": found.name, "status": found.status, "detail": found.detail}
            events.said([line], {**record, "figures": dict(found.figures)})
        if any(found.status == "problem" for found in findings):
            raise typer.Exit(FAILED)
