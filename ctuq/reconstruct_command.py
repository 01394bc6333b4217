"""`ctuq reconstruct` and its options. What it does is in `ctuq.jobs`, for several rows in `ctuq.volume_jobs`."""

from pathlib import Path
from typing import Annotated

import typer

from ctuq.errors import InputError
from ctuq.jobs import Request, reconstruct_to_files, repeating_command
from ctuq.options import ConfigFile, Debug, Device, DeviceOption, Force, Json, Overrides, ScanFile, Seed, parse_rows
from ctuq.outcome import FAILED, outcome
from ctuq.source_choice import SourceChoice
from ctuq.source_options import with_source_options
from ctuq.volume_jobs import reconstruct_rows_to_files


@with_source_options
def reconstruct(  # noqa: PLR0913  one argument an option
    *,
    scan: ScanFile,
    out: Annotated[
        Path, typer.Option(metavar="R.h5", help="Result file (NeXus, 1/mm and mm); .png and .html go beside it.")
    ],
    config: ConfigFile = None,
    overrides: Overrides = None,
    row: Annotated[int | None, typer.Option(min=0, help="Detector row, from 0.", show_default="the middle one")] = None,
    rows: Annotated[
        str | None,
        typer.Option(metavar="A:B", help="Detector rows from A, below B, as one volume; the rows go to R.parts/."),
    ] = None,
    choice: SourceChoice,
    seed: Seed = 0,
    device: DeviceOption = Device.AUTO,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write the result file only.")] = False,
    force: Force = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Reconstruct one slice, or several, with error bars in 1/mm, and say whether to believe them."""
    chosen = tuple(overrides or ())
    command = repeating_command(
        scan, choice=choice, config=config, overrides=chosen, row=row, seed=seed, device=device.value
    )
    request = Request(
        scan=scan,
        choice=choice,
        out=out,
        config=config,
        overrides=chosen if row is None else (*chosen, f"scan.row={row}"),
        seed=seed,
        device=device.value,
        with_report=not no_report,
        force=force,
        command=command,
    )
    with outcome(as_json=json, debug=debug) as events:
        wanted = parse_rows(rows)
        if wanted is None:
            reconstruct_to_files(request, events)
            return
        if row is not None:
            raise InputError(f"expected --row or --rows, got both: --rows {row}:{row + 1} is one row")
        if not reconstruct_rows_to_files(request, wanted, events):
            raise typer.Exit(FAILED)
