"""Looking at a scan without computing: what was found, what it would cost, and every problem at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ctuq.config import load_config
from ctuq.errors import InputError
from ctuq.preparation import estimate, prepare
from ctuq.preprocessing import require_possible
from ctuq.scan import Scan
from ctuq.sinogram_file import SinogramHeader, inspect


@dataclass(frozen=True)
class Findings:
    """What `ctuq check` found.

    Args:
        facts: names and values in words, in the order to print.
        problems: each with what was expected, what came and what to try.
    """

    facts: dict[str, str]
    problems: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        """For people."""
        width = max(map(len, self.facts), default=0)
        found = [f"  {name:<{width}}  {value}" for name, value in self.facts.items()]
        if not self.problems:
            return [*found, "no problems"]
        count = f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''}:"
        return [*found, count, *(f"  - {problem}" for problem in self.problems)]


def check_scan(path: Path, *, config: Path | None = None, overrides: Sequence[str] = ()) -> Findings:
    """Read a scan's headers and judge what reconstructing it would take.

    Args:
        path: sinogram file.
        config: YAML file, or None for the defaults.
        overrides: "key=value" strings that win over the file.

    Raises:
        InputError: there is no such file, or it is not HDF5.
    """
    header = inspect(path)
    facts, problems = _facts(header), list(header.problems)
    try:
        settings = load_config(config, overrides=overrides)
    except InputError as error:
        return Findings(facts, (*problems, str(error)))
    if not problems:
        try:
            # The cost depends on shapes alone, so zeros stand in for the data, which stay on disk.
            geometry = header.geometry()
            zeros = torch.zeros(geometry.sinogram_shape)
            noise = torch.ones_like(zeros) if header.has_noise_variance else None
            stand_in = Scan(zeros, geometry, noise, header.name)
            require_possible(settings.preprocessing, geometry.n_detectors)
            cost = estimate(stand_in, settings)
            prepare(stand_in, settings)
        except InputError as error:
            return Findings(facts, (str(error),))
        facts["rays"] = f"{cost.n_rays:,} of one row, against {cost.n_weights:,} weights"
        facts["memory"] = f"about {cost.memory_bytes / 1e9:.1f} GB"
        facts["time"] = f"about {cost.seconds:.0f} s"
        problems += cost.problems
    return Findings(facts, tuple(problems))


def _facts(header: SinogramHeader) -> dict[str, str]:
    facts = {"file": str(header.path), "name": header.name, "source": header.source, "licence": header.licence}
    if len(header.shape) == 3:
        views, rows, detectors = header.shape
        facts["data"] = (
            f"{views} views × {rows} row{'s' if rows > 1 else ''} × {detectors} detector pixels, {_units(header)}"
        )
    if header.theta_deg:
        facts["angles"] = f"{min(header.theta_deg):g}° to {max(header.theta_deg):g}°"
    if header.kind:
        facts["geometry"] = _geometry(header)
    facts["noise"] = (
        "ratios between rays from the file, their scale learned"
        if header.has_noise_variance
        else "learned from the data"
    )
    return {name: value for name, value in facts.items() if value}


def _units(header: SinogramHeader) -> str:
    return {"line_integral": "line integrals", None: "units unknown"}.get(header.units, str(header.units))


def _geometry(header: SinogramHeader) -> str:
    distances = {
        "detector pitch": header.pitch_mm,
        "source to axis": header.source_origin_mm,
        "axis to detector": header.origin_detector_mm,
    }
    known = [f"{name} {value:g} mm" for name, value in distances.items() if value is not None]
    axis = (
        "axis at the detector's centre" if header.cor_index is None else f"axis at detector index {header.cor_index:g}"
    )
    return ", ".join([f"{header.kind} beam", *known, axis])
