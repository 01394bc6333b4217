"""Looking at a scan without computing: what was found, what it would cost, and every problem at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.filesize import decimal

from ctuq.amount import amount
from ctuq.beam import Beam
from ctuq.config import NEIGHBOUR, Config, load_config
from ctuq.errors import InputError
from ctuq.hdf5 import require_survivable
from ctuq.preparation import estimate, prepare
from ctuq.preprocessing import require_possible
from ctuq.progress import duration
from ctuq.scan import Scan, ScanGeometry
from ctuq.scan_file import inspect
from ctuq.scan_header import ScanHeader
from ctuq.source_choice import SourceChoice
from dip.holdout import FEWEST_WHOLE_VIEWS
from operators import ConeBeam

_FOUND_AS_IT_IS = SourceChoice()
_WEAK = (
    f"with fewer than {FEWEST_WHOLE_VIEWS} views single rays test the error bars, a weaker test than whole views: it "
    "does not show errors that all rays of a view share"
)


@dataclass(frozen=True)
class Findings:
    """What `ctuq check` found.

    Args:
        facts: names and values in words, in the order to print.
        notes: what was guessed or left out, and why.
        problems: each with what was expected, what came and what to try.
    """

    facts: dict[str, str]
    notes: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        """All of it as lines for a terminal."""
        width = max(map(len, self.facts), default=0)
        found = [f"  {name:<{width}}  {value}" for name, value in self.facts.items()]
        found += [f"  {'note':<{width}}  {note}" for note in self.notes]
        if not self.problems:
            return [*found, "no problems"]
        count = f"{amount(len(self.problems), 'problem')}:"
        return [*found, count, *(f"  - {problem}" for problem in self.problems)]


def check_scan(
    path: Path,
    *,
    choice: SourceChoice = _FOUND_AS_IT_IS,
    config: Path | None = None,
    overrides: Sequence[str] = (),
) -> Findings:
    """Read a scan's headers and judge what reconstructing it would take.

    Args:
        path: file of any layout that ctuq reads.
        choice: what the file does not say, or says wrongly.
        config: YAML file, or None for the defaults.
        overrides: "key=value" strings that win over the file.

    Raises:
        InputError: there is no such file, or it is none that can be opened.
    """
    require_survivable(path)
    header = inspect(path, choice)
    facts, problems = _facts(header), list(header.problems)
    try:
        settings = load_config(config, overrides=overrides)
    except InputError as error:
        return Findings(facts, header.notes, (*problems, str(error)))
    if not problems:
        facts |= _rows(header, settings, problems)
        if "start" in facts:  # of the next rows; the first is as any other
            settings = settings.from_random_weights
        try:
            # The cost depends on shapes alone, so zeros stand in for the data, which stay on disk.
            geometry = header.geometry()
            zeros = torch.zeros(geometry.sinogram_shape)
            stated = header.has_noise_variance or header.units == "counts"
            stand_in = Scan(zeros, geometry, torch.ones_like(zeros) if stated else None, header.name)
            require_possible(settings.preprocessing, geometry)
            cost = estimate(stand_in, settings)
            prepared = prepare(stand_in, settings).geometry
        except InputError as error:
            return Findings(facts, header.notes, (*problems, str(error)))
        facts["volume" if header.is_volume else "image"] = (
            f"{' × '.join(map(str, reversed(prepared.grid.shape)))} {'voxels' if header.is_volume else 'pixels'} of "
            f"{prepared.grid.pixel_mm:.4g} mm"
        )
        facts["rays"] = f"{_rays(prepared, geometry, settings)}, against {cost.n_weights:,} weights"
        facts["memory"] = f"about {decimal(cost.memory_bytes)}"
        a_row = " a row" if header.shape[1] > 1 and not header.is_volume else ""
        facts["time"] = f"about {duration(cost.seconds)}{a_row}, on two fast, idle cores (ctuq doctor: on this machine)"
        problems += cost.problems
        if prepared.n_angles < FEWEST_WHOLE_VIEWS:
            return Findings(facts, (*header.notes, _WEAK), tuple(problems))
    return Findings(facts, header.notes, tuple(problems))


def _rows(header: ScanHeader, settings: Config, problems: list[str]) -> dict[str, str]:
    """Which row is reconstructed; of a cone beam all are."""
    rows, row = header.shape[1], settings.scan.row
    if header.is_volume:
        if row is not None:
            problems.append(f"expected no scan.row for a cone beam, whose rows are one volume, got {row}: leave it out")
        return {"row": f"all {rows}, of one volume"}
    index = rows // 2 if row is None else row
    if index >= rows:
        problems.append(f"expected a row from 0 to {rows - 1}, got {row}: choose one of those")
    said = {"row": f"{index} of 0 to {rows - 1}{', the middle one' if row is None else ''}"}
    if settings.fit.init == NEIGHBOUR and rows > 1:
        said["start"] = "of every row the one before it, with --rows A:B alone (fit.init=neighbour)"
    return said


def _rays(prepared: ScanGeometry, stored: ScanGeometry, settings: Config) -> str:
    """What is left of the scan's views and detector pixels, in words."""
    views, columns = amount(prepared.n_angles, "view"), amount(prepared.n_detectors, "detector pixel")
    if prepared.n_angles < stored.n_angles:
        views = f"{prepared.n_angles} of {stored.n_angles} views (scan.angle_step={settings.scan.angle_step})"
    if prepared.n_detectors < stored.n_detectors:
        factor = stored.n_detectors // prepared.n_detectors
        why = f"scan.detector_bin={factor}" + ("" if settings.scan.detector_bin else ", by grid.size")
        columns = f"{prepared.n_detectors} of {stored.n_detectors} detector pixels ({why})"
    n_rays = math.prod(prepared.sinogram_shape)
    if isinstance(prepared, ConeBeam):
        return f"{n_rays:,} of the volume: {views} × {amount(prepared.n_rows, 'detector row')} × {columns}"
    return f"{n_rays:,} of one row: {views} × {columns}"


def _facts(header: ScanHeader) -> dict[str, str]:
    facts = {
        "file": str(header.path),
        "layout": f"{header.layout}: {header.why}",
        "entries": ", ".join(header.entries),
        "name": header.name,
        "source": header.source,
        "licence": header.licence,
    }
    if header.shape:
        views, rows, detectors = header.shape
        facts["data"] = " × ".join([amount(views, "view"), amount(rows, "row"), amount(detectors, "detector pixel")])
        together = header.rows_together
        facts["data"] += f", {together} rows stored together" if together > 1 else ""
        facts["units"] = _units(header)
    if header.units == "counts":
        facts["flats"], facts["darks"] = str(header.n_flats), str(header.n_darks)
    if header.theta_deg:
        facts["angles"] = f"{min(header.theta_deg):g}° to {max(header.theta_deg):g}°, from {header.angles_from}"
    if header.beam.kind:
        facts["geometry"] = _geometry(header.beam)
    facts["noise"] = _noise(header)
    return {name: value for name, value in facts.items() if value}


def _units(header: ScanHeader) -> str:
    said = {"line_integral": "line integrals", None: "unknown"}.get(header.units, str(header.units))
    return f"{said}, guessed: {header.units_why}" if header.units_why else said


def _noise(header: ScanHeader) -> str:
    if header.units == "counts":
        return "ratios between rays from the counts, their scale learned"
    return (
        "ratios between rays from the file, their scale learned"
        if header.has_noise_variance
        else ("learned from the data")
    )


def _geometry(beam: Beam) -> str:
    distances = {
        "detector pitch": beam.pitch_mm,
        "source to axis": beam.source_origin_mm,
        "axis to detector": beam.origin_detector_mm,
    }
    known = [f"{name} {value:g} mm" for name, value in distances.items() if value is not None]
    axis = "axis at the detector's centre" if beam.cor_index is None else f"axis at detector index {beam.cor_index:g}"
    return ", ".join([f"{beam.kind} beam", *known, axis])
