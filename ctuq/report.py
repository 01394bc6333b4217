"""The report: one HTML file that needs no network, with the pictures, the evidence and where everything came from."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from ctuq.page import chart_page
from ctuq.reconstruction import Reconstruction
from ctuq.report_numbers import BEYOND, least_certain, report_numbers, thinning
from ctuq.summary import summarise
from ctuq.verdict import EDGE, RULE, with_error
from ctuq.volume_slices import middle_slice, middle_z_mm
from ctuq.whole_file import write_text_whole
from operators import VolumeGrid

_SCRIPTS = ("statistics.js", "report_charts.js", "marks.js", "maps.js", "report.js")

_MEANINGS = {
    "chosen_step": "training steps that the choosing rays chose",
    "tv_weight": "weight of total variation that they chose",
    "misfit_floor": "white share of the misfit that they chose (inf: least squares)",
    "refit_misfit": "what the refit to all rays left of the fitted ones, by what the fit before did (1.1: unsettled)",
    "image_scale_per_mm": "image in units of, 1/mm",
    "n_variance_samples": "samples behind the deviation (0: exact)",
    "worst_sample_residual": "largest relative residual of a sample's solve",
    "log_density": "log density of the choosing rays, and a share of the evidence",
    "evidence_evaluations": "evaluations spent on the variances",
    "evidence_converged": "variances at their optimum (1) or still improving (0)",
    "linearisation_error": "how far the network strays from the straight line that the error bars follow, at weights "
    "drawn for them (0: not at all, 1: as far as the move itself). It matters little: "
    "the error bars take only their shape from it, and the test rays judge them as they are",
    "variance_noise": "variance of noise of one ray, in scaled units",
    "variance_smooth": "variance of errors that rays of one view share",
    "variance_representation": "variance of representation errors",
    "variance_pixels": "variance of a pixel beyond the network",
    "variance_all": "variance of the network's weights",
    "variance_network": "variance of the networks' tangent kernel",
    "variance_flat": "variance of the kernel without the sigmoid's slope",
}


@dataclass(frozen=True)
class Stage:
    """One line of the table of times: `share` is of the whole, 0 to 100."""

    name: str
    seconds: float
    share: float


def write_report(reconstruction: Reconstruction, path: Path) -> Path:
    """Write the report, in place of an older one.

    Args:
        reconstruction: fresh, or read back from its file.
        path: the file, usually ending in .html.

    Returns:
        The path.

    Raises:
        InputError: its folder is missing or read-only.
    """
    return write_text_whole(render_report(reconstruction), path)


def render_report(reconstruction: Reconstruction) -> str:
    """The report as one string of HTML; every name and note that came from outside is escaped."""
    provenance, found = reconstruction.provenance, reconstruction.calibration
    summary, shown = summarise(reconstruction), middle_slice(reconstruction)
    grid, numbers = shown.plane, report_numbers(shown)
    return chart_page(
        "report.html.j2",
        scripts=_SCRIPTS,
        numbers=numbers,
        content={
            "summary": summary,
            "worst": least_certain(shown),
            "of_the_volume": _of_the_volume(reconstruction),
            "floor": numbers["relative_floor"],
            "rule": f"{RULE} {EDGE}" if summary.verdict.at_the_edge else RULE,
            "calibration": found,
            "chi_square": with_error(found.chi_square, found.chi_square_error, 3),
            "coverage": with_error(100 * found.coverage_95, 100 * found.coverage_error, 1),
            "provenance": provenance,
            "config": json.dumps(dict(provenance.config), indent=2, ensure_ascii=False),
            "stages": _stages(reconstruction),
            "seconds": sum(provenance.stage_seconds.values()),
            "diagnostics": _diagnostics(reconstruction),
            "n_samples": numbers["samples"]["n"],
            "sinogram": numbers["sinogram"],
            "expected_beyond": [100 * math.erfc(limit / math.sqrt(2)) for limit in BEYOND],
            "thinning": thinning(grid),
            # Room for axes and colour bar below the map.
            "tall": f"{min(max(0.9 * grid.shape[0] / grid.shape[1], 0.4), 2.5) + 0.2:.2f}",
        },
    )


def _of_the_volume(reconstruction: Reconstruction) -> str:
    """Which part of a volume the page shows; empty for an image, which it shows whole."""
    grid = reconstruction.grid
    if not isinstance(grid, VolumeGrid):
        return ""
    return (
        f"the middle slice of {grid.shape[0]} across the rotation axis, at z = {middle_z_mm(grid):.4g} mm; the file "
        "has the whole volume, and the picture beside it two planes along the axis"
    )


def _stages(reconstruction: Reconstruction) -> list[Stage]:
    seconds = reconstruction.provenance.stage_seconds
    total = sum(seconds.values()) or 1.0
    return [Stage(name, value, 100 * value / total) for name, value in seconds.items()]


def _diagnostics(reconstruction: Reconstruction) -> list[tuple[str, str]]:
    """Meanings and values for the table of diagnostics; the name stands for itself where a block of weights has one."""
    noise = [("noise, standard deviation of a line integral", f"{reconstruction.noise_variance**0.5:.4g}")]
    numbers = reconstruction.diagnostics.items()
    return noise + [(_MEANINGS.get(name, name.replace("_", " ")), f"{value:.6g}") for name, value in numbers]
