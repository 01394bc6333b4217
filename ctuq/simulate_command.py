"""`ctuq simulate` and its options. What it does is in `ctuq.simulate_jobs`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ctuq.amount import amount
from ctuq.options import Debug, Force, Json, Seed
from ctuq.outcome import outcome
from ctuq.simulate_jobs import SimulateRequest, simulate_to_file


class Beam(StrEnum):
    """Which way the rays go."""

    PARALLEL = "parallel"
    FAN = "fan"
    CONE = "cone"


def simulate(  # noqa: PLR0913, PLR0917  one argument an option
    out: Annotated[Path, typer.Option(metavar="SCAN.h5", help="Scan to write, with the truth in /simulation.")],
    phantom: Annotated[
        str, typer.Option(metavar="NAME|IMAGE", help="shepp-logan, rectangles, or a picture: .npy, .png, .tif.")
    ] = "shepp-logan",
    photons: Annotated[
        float | None, typer.Option(help="Counts: photons a ray before the object.", show_default="none")
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(min=0, help="Line integrals: deviation, as a share of their mean.", show_default="none"),
    ] = None,
    views: Annotated[int, typer.Option(min=1, help="View angles.")] = 60,
    detectors: Annotated[int, typer.Option(min=2, help="Detector pixels.")] = 128,
    rows: Annotated[
        int | None, typer.Option(min=2, help="Cone: detector rows.", show_default="as many as detectors")
    ] = None,
    geometry: Annotated[Beam, typer.Option(help="Beam.")] = Beam.PARALLEL,
    arc: Annotated[
        float | None, typer.Option(help="Degrees that the views cover.", show_default="180; fan, cone: 360")
    ] = None,
    absorption: Annotated[float, typer.Option(help="Largest line integral.")] = 2.0,
    pitch: Annotated[float, typer.Option(help="Distance of detector pixels, mm.")] = 1.0,
    source_origin: Annotated[
        float | None, typer.Option(help="Fan, cone: source to axis, mm.", show_default="4 detector widths")
    ] = None,
    origin_detector: Annotated[
        float | None, typer.Option(help="Fan, cone: axis to detector, mm.", show_default="2 detector widths")
    ] = None,
    cor_index: Annotated[
        float | None, typer.Option(help="Detector index of the axis.", show_default="the centre")
    ] = None,
    flats: Annotated[
        int | None,
        typer.Option(
            min=1, help="Frames of the open beam, with --photons; few make rings.", show_default="as many as views"
        ),
    ] = None,
    darks: Annotated[
        int | None, typer.Option(min=0, help="Frames without beam.", show_default="as many as views")
    ] = None,
    dark_level: Annotated[float, typer.Option(min=0, help="Counts of a dark pixel, in every frame.")] = 0.0,
    seed: Seed = 0,
    force: Force = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Simulate a scan of a known object (mm, degrees, 1/mm): counts with flats and darks, or line integrals."""
    request = SimulateRequest(
        out=out,
        phantom=phantom,
        geometry=geometry.value,
        views=views,
        detectors=detectors,
        rows=rows,
        pitch_mm=pitch,
        arc_deg=arc,
        source_origin_mm=source_origin,
        origin_detector_mm=origin_detector,
        cor_index=cor_index,
        absorption=absorption,
        photons=photons,
        noise=noise,
        flats=flats,
        darks=darks,
        dark_level=dark_level,
        seed=seed,
        force=force,
    )
    with outcome(as_json=json, debug=debug) as events:
        scan = simulate_to_file(request)
        grid, peak = scan.geometry.grid, scan.truth.max()
        pixels, sides = (" × ".join(map(str, shape)) for shape in (scan.line_integrals.shape[1:], grid.shape))
        kind = "pixels" if len(grid.shape) == 2 else "voxels"
        lines = [
            f"{scan.name}: {amount(views, 'view')} of {pixels} detector pixels, {phantom}",
            f"  truth         {sides} {kind} of {grid.pixel_mm:.4g} mm, to {peak:.3g} 1/mm",
            f"  wrote         {out}",
        ]
        events.said(lines, {"event": "simulated", "written": [str(out)], **scan.settings})
