"""What `ctuq simulate` does: a phantom, its scan with noise, and the file of both."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ctuq.errors import InputError
from ctuq.phantoms import PHANTOMS, phantom, volume_phantom
from ctuq.scan import ScanGeometry
from ctuq.simulated_file import SimulatedScan, write_simulated_scan
from ctuq.simulation import absorbing, counted
from ctuq.whole_file import require_writable
from operators import ConeBeam, FanBeam, Geometry, ImageGrid, ParallelBeam, VolumeGrid

_PIXELS_A_DETECTOR = 2  # of the truth, finer than what will be reconstructed


@dataclass(frozen=True, kw_only=True)
class SimulateRequest:
    """One scan that was asked for.

    Args:
        out: file to write.
        phantom: a name, or a picture's path.
        geometry: of the beam.
        views: evenly over `arc_deg`, without its end.
        detectors: pixels of a row.
        rows: of a cone beam's detector; None: as many as pixels of a row.
        pitch_mm: their distance.
        arc_deg: None: 180 for parallel rays, 360 for a fan or cone.
        source_origin_mm: of a fan or cone; None: four times the detector's width.
        origin_detector_mm: likewise; None: twice its width.
        cor_index: of the rotation axis; None: the detector's centre.
        absorption: largest line integral.
        photons: in a ray without an object; None: none are counted, and `noise` says how noisy line integrals are.
        noise: standard deviation of line integrals, as a share of their mean; None with photons.
        flats: frames of the open beam; None: as many as views, since the noise of fewer makes rings.
        darks: frames without beam; None: likewise.
        dark_level: counts of a dark pixel, which add to all counts.
        seed: of phantom and noise.
        force: whether an existing file may be replaced.
    """

    out: Path
    phantom: str = "shepp-logan"
    geometry: Literal["parallel", "fan", "cone"] = "parallel"
    views: int = 60
    detectors: int = 128
    rows: int | None = None
    pitch_mm: float = 1.0
    arc_deg: float | None = None
    source_origin_mm: float | None = None
    origin_detector_mm: float | None = None
    cor_index: float | None = None
    absorption: float = 2.0
    photons: float | None = None
    noise: float | None = None
    flats: int | None = None
    darks: int | None = None
    dark_level: float = 0.0
    seed: int = 0
    force: bool = False


def simulate_to_file(request: SimulateRequest) -> SimulatedScan:
    """Simulate a scan and write its file.

    Raises:
        InputError: the request is wrong.
    """
    require_writable(request.out, force=request.force)
    _require_sense(request)
    rng = np.random.default_rng(request.seed)
    size = _PIXELS_A_DETECTOR * request.detectors
    geometry: ScanGeometry
    if request.geometry == "cone":
        geometry = _cone(request, size)
        image = volume_phantom(request.phantom, size)
    else:
        geometry = _slice(request, size)
        image = phantom(request.phantom, size, rng=rng)
    truth, exact = absorbing(image, geometry, request.absorption)
    if request.noise is None:
        measured = counted(
            exact,
            photons=request.photons or 0.0,
            n_flats=request.views if request.flats is None else request.flats,
            n_darks=request.views if request.darks is None else request.darks,
            dark_level=request.dark_level,
            rng=rng,
        )
        how: dict[str, float] = {"photons": request.photons or 0.0, "dark_level": request.dark_level}
    else:
        measured = exact + request.noise * np.abs(exact).mean() * rng.standard_normal(exact.shape)
        how = {"noise": request.noise}
    # A picture goes by its name alone: folders say something of the machine.
    source = request.phantom if request.phantom in PHANTOMS else Path(request.phantom).name
    settings: dict[str, str | float] = {
        "phantom": source,
        "absorption": request.absorption,
        "seed": request.seed,
        **how,
    }
    scan = SimulatedScan(request.out.stem, geometry, truth, exact, measured, settings)
    write_simulated_scan(request.out, scan, force=request.force)
    return scan


def _require_sense(request: SimulateRequest) -> None:
    if (request.photons is None) == (request.noise is None):
        raise InputError(
            "expected either --photons or --noise, got "
            + ("neither" if request.photons is None else "both")
            + ": try --photons 10000 for counts, or --noise 0.02 for line integrals"
        )
    for name, value in (("pitch", request.pitch_mm), ("absorption", request.absorption), ("photons", request.photons)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise InputError(f"expected a positive --{name}, got {value}: try --{name} 1")
    if request.rows is not None and request.geometry != "cone":
        raise InputError(f"expected --rows with --geometry cone only, got it with {request.geometry}: leave it out")
    if request.dark_level > 0 and request.darks == 0:
        raise InputError(f"expected darks where the dark level is {request.dark_level:g}, got none: try --darks 10")


def _slice(request: SimulateRequest, size: int) -> Geometry:
    """Rays and the largest centred square that every view sees, so that no picture's corners are cut off."""
    fan = request.geometry == "fan"
    angles = _angles_rad(request)
    source, detector = _distances_mm(request)
    seen = _seen_mm(request)
    radius = source * math.sin(math.atan(seen / (source + detector))) if fan else seen
    try:
        grid = ImageGrid(shape=(size, size), pixel_mm=math.sqrt(2) * radius / size)
        if not fan:
            return ParallelBeam(
                grid=grid,
                angles_rad=angles,
                n_detectors=request.detectors,
                pitch_mm=request.pitch_mm,
                cor_index=request.cor_index,
            )
        return FanBeam(
            grid=grid,
            angles_rad=angles,
            n_detectors=request.detectors,
            pitch_mm=request.pitch_mm,
            source_origin_mm=source,
            origin_detector_mm=detector,
            cor_index=request.cor_index,
        )
    except ValueError as error:
        raise InputError(f"expected a scan that can be made: {error}") from error


def _cone(request: SimulateRequest, size: int) -> ConeBeam:
    """Rays and the largest centred cube whose inscribed ball every view sees: the head lies within it."""
    rows = request.detectors if request.rows is None else request.rows
    source, detector = _distances_mm(request)
    seen = min(_seen_mm(request), rows * request.pitch_mm / 2)
    radius = source * math.sin(math.atan(seen / (source + detector)))
    try:
        return ConeBeam(
            grid=VolumeGrid(shape=(size, size, size), pixel_mm=2 * radius / size),
            angles_rad=_angles_rad(request),
            n_rows=rows,
            n_detectors=request.detectors,
            pitch_mm=request.pitch_mm,
            source_origin_mm=source,
            origin_detector_mm=detector,
            cor_index=request.cor_index,
        )
    except ValueError as error:
        raise InputError(f"expected a scan that can be made: {error}") from error


def _angles_rad(request: SimulateRequest) -> NDArray[np.float64]:
    arc = math.radians(request.arc_deg or (180.0 if request.geometry == "parallel" else 360.0))
    angles: NDArray[np.float64] = np.arange(request.views) * arc / request.views
    return angles


def _seen_mm(request: SimulateRequest) -> float:
    """How far the detector reaches from the axis' projection, on its shorter side."""
    offset = 0.0 if request.cor_index is None else abs(request.cor_index - (request.detectors - 1) / 2)
    seen = (request.detectors / 2 - offset) * request.pitch_mm
    if not seen > 0:
        raise InputError(
            f"expected --cor-index on the detector, from 0 to {request.detectors - 1}, got {request.cor_index}"
        )
    return seen


def _distances_mm(request: SimulateRequest) -> tuple[float, float]:
    """Source to axis, and axis to detector."""
    width = request.detectors * request.pitch_mm
    source = 4 * width if request.source_origin_mm is None else request.source_origin_mm
    return source, 2 * width if request.origin_detector_mm is None else request.origin_detector_mm
