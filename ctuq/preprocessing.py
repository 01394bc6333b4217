"""What is done to a scan's rays before they are reconstructed: masking, ring removal, the rotation axis."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch

from ctuq.amount import amount
from ctuq.errors import InputError
from ctuq.processing_step import ProcessingStep
from ctuq.rings import RingMethod, remove_rings, require_algotom
from ctuq.rotation_axis import find_rotation_axis
from ctuq.scan import Scan, ScanGeometry
from operators import ConeBeam


@dataclass(frozen=True, kw_only=True)
class PreprocessingSettings:
    """What to do to the rays.

    Args:
        centre: rotation axis: "file" as the scan has it, "find" from the rays, or its detector index.
        broken_columns: detector columns to mask, beside those found in counts.
        largest_line_integral: rays that reach it are masked, since their counts were clipped; None: no limit.
        rings: how they are removed, if at all; see `remove_rings`.

    Raises:
        ValueError: numbers out of range.
    """

    centre: Literal["file", "find"] | float = "file"
    broken_columns: tuple[int, ...] = ()
    largest_line_integral: float | None = None
    rings: Literal["none"] | RingMethod = "none"

    def __post_init__(self) -> None:
        if not isinstance(self.centre, str) and not math.isfinite(self.centre):
            raise ValueError(f"centre must be file, find or a detector index, got {self.centre}")
        if any(column < 0 for column in self.broken_columns):
            raise ValueError(f"broken_columns must count from 0, got {min(self.broken_columns)}")
        if self.largest_line_integral is not None and not self.largest_line_integral > 0:
            raise ValueError(f"largest_line_integral must be positive, got {self.largest_line_integral}")


def require_possible(settings: PreprocessingSettings, geometry: ScanGeometry) -> None:
    """Say now what cannot be done.

    Raises:
        InputError: columns or an axis beyond the detector, ring removal without its library, or what knows slices only
            for a volume.
    """
    n_detectors = geometry.n_detectors
    if isinstance(geometry, ConeBeam) and (settings.rings != "none" or settings.centre == "find"):
        raise InputError(
            "expected preprocessing.rings=none and preprocessing.centre=file or a detector index for a cone beam's "
            f"volume, got rings={settings.rings} and centre={settings.centre}: both work on slices"
        )
    stored = "it counts pixels as stored, not mm and not pixels before binning"
    if max(settings.broken_columns, default=0) >= n_detectors:
        raise InputError(
            f"expected preprocessing.broken_columns from 0 to {n_detectors - 1}, got {max(settings.broken_columns)}: "
            f"{stored}"
        )
    if not isinstance(settings.centre, str) and not -0.5 <= settings.centre <= n_detectors - 0.5:
        raise InputError(
            f"expected preprocessing.centre on the detector, from 0 to {n_detectors - 1}, got {settings.centre:g}: "
            f"{stored}"
        )
    if settings.rings != "none":
        require_algotom()


def preprocess(
    scan: Scan, settings: PreprocessingSettings, *, on_step: Callable[[int, int], None] | None = None
) -> Scan:
    """The scan with its rays masked, freed of rings and its axis set, and with the steps that were taken.

    Args:
        scan: all views and detector columns.
        settings: what to do.
        on_step: called as (done, total) while the axis is searched.

    Raises:
        InputError: as `require_possible`, or every ray is masked.
    """
    require_possible(settings, scan.geometry)
    scan = _without_broken_columns(scan, settings.broken_columns)
    scan = _without_clipped(scan, settings.largest_line_integral)
    scan = scan.with_masked(torch.zeros_like(scan.masked))  # what came in masked is interpolated too
    if settings.rings != "none":
        scan = remove_rings(scan, settings.rings)
    if settings.centre == "find":
        found = find_rotation_axis(scan.planar, scan.sinogram, on_step=on_step)
        return _with_axis(scan, found.cor_index, found.step)
    return scan if settings.centre == "file" else _with_given_axis(scan, settings.centre)


def _without_broken_columns(scan: Scan, columns: tuple[int, ...]) -> Scan:
    if not columns:
        return scan
    rays = torch.zeros_like(scan.masked)
    rays[..., list(columns)] = True
    text = f"masked {amount(len(columns), 'detector column')}, as named: {', '.join(map(str, columns))}"
    step = ProcessingStep("named columns", text, {"columns": columns})
    return replace(scan.with_masked(rays), steps=(*scan.steps, step))


def _without_clipped(scan: Scan, largest: float | None) -> Scan:
    if largest is None:
        return scan
    rays = scan.sinogram >= largest
    n_rays = int((rays & ~scan.masked).sum())
    text = f"masked {n_rays:,} of {rays.numel():,} rays with line integrals from {largest:g} on, as clipped"
    step = ProcessingStep("clipped rays", text, {"rays": n_rays, "largest_line_integral": largest})
    return replace(scan.with_masked(rays), steps=(*scan.steps, step))


def _with_given_axis(scan: Scan, centre: float) -> Scan:
    text = f"rotation axis at detector index {centre:.6g}, as given"
    step = ProcessingStep("rotation axis", text, {"cor_index": centre})
    return _with_axis(scan, float(centre), step)


def _with_axis(scan: Scan, cor_index: float, step: ProcessingStep) -> Scan:
    return replace(scan, geometry=replace(scan.geometry, cor_index=cor_index), steps=(*scan.steps, step))
