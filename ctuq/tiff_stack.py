"""Scans as TIFF files, with a TOML file beside them that says what they are.

title = "tooth"
units = "counts"                     # or "line_integral"
data = "projections/*.tif"           # one frame a file, or several; numbers in names are sorted as numbers
flats = "flats.tif"                  # with counts
darks = "darks.tif"                  # optional
angles_deg = [0.0, 1.0, 2.0]         # or {start = 0, stop = 180, endpoint = true}, or the name of a .txt, .csv, .npy
[geometry]                           # left out: parallel rays, lengths in detector pixels
type = "parallel"                    # or "fan" or "cone", with source_origin_mm and origin_detector_mm
pitch_mm = 0.005
cor_index = 295.6                    # left out: the centre
"""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

import numpy as np

from ctuq.beam import beam_from, parallel_beam
from ctuq.errors import InputError
from ctuq.measured_units import measured_units
from ctuq.remarks import Remarks
from ctuq.scan_header import ScanParts
from ctuq.source_choice import SourceChoice
from ctuq.tiff_frames import TiffFrames, tiff_frames
from ctuq.view_angles import ViewAngles, checked_angles, file_angles

_KEYS = ("title", "source", "licence", "units", "data", "flats", "darks", "angles_deg", "geometry")


def find_parts(path: Path, choice: SourceChoice, remarks: Remarks) -> ScanParts:
    """The parts that a TOML file names.

    Raises:
        InputError: it cannot be read as TOML.
    """
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: expected a TOML file that describes TIFF files, got: {error}") from error
    unknown = [name for name in said if name not in _KEYS]
    if unknown:
        remarks.problems.append(f"expected the keys {', '.join(_KEYS)} in {path.name}, got {unknown[0]}: correct it")
    if choice.entry is not None:
        remarks.problems.append(
            f"expected no --entry, as {path.name} describes one scan, got {choice.entry}: leave it out"
        )
    data = _frames(path, said, "data", choice.data, "the projections", remarks, required=True)
    flats = _frames(path, said, "flats", choice.flats, "frames of the open beam", remarks)
    darks = _frames(path, said, "darks", choice.darks, "frames without beam", remarks)
    named = said.get("units")
    units, units_why, kept_flats, kept_darks = measured_units(
        named if isinstance(named, str) else "", flats, darks, remarks
    )
    for frames, name in ((flats, "flats"), (darks, "darks")):
        if data is not None and frames is not None and frames.detector != data.detector:
            remarks.problems.append(
                f"expected {name} of the projections' detector (rows, pixels) = {data.detector}, got {frames.detector}"
            )
    geometry = said.get("geometry")
    return ScanParts(
        layout="TIFF stack",
        why="it is a TOML file",
        name=str(said.get("title", "")),
        source=str(said.get("source", "")),
        licence=str(said.get("licence", "")),
        data=data,
        units=units,
        units_why=units_why,
        angles=(
            _angles(path, said.get("angles_deg"), data, remarks)
            if choice.angles is None
            else file_angles(Path(choice.angles), remarks)
        ),
        flats=kept_flats,
        darks=kept_darks,
        beam=(
            parallel_beam({}, (), remarks)
            if not isinstance(geometry, dict)
            else beam_from(geometry, f"[geometry] of {path.name}", remarks)
        ),
    )


def _frames(
    path: Path,
    said: dict[str, Any],
    key: str,
    named: str | None,
    holds: str,
    remarks: Remarks,
    *,
    required: bool = False,
) -> TiffFrames | None:
    pattern = named or said.get(key)
    if isinstance(pattern, str) and pattern:
        folder = path.parent
        if named:  # on the command line, hence from where that is typed
            whole = Path(named).resolve()
            folder, pattern = Path(whole.anchor), str(whole.relative_to(whole.anchor))
        return tiff_frames(folder, pattern, holds, remarks)
    if required or pattern is not None:
        got = "none" if pattern is None else repr(pattern)
        remarks.problems.append(f"expected the key {key} in {path.name}, such as 'proj/*.tif', with {holds}, got {got}")
    return None


def _angles(path: Path, said: Any, data: TiffFrames | None, remarks: Remarks) -> ViewAngles:
    if isinstance(said, str):
        return file_angles(path.parent / said, remarks)
    where = f"angles_deg of {path.name}"
    if isinstance(said, dict) and {"start", "stop"} <= set(said) <= {"start", "stop", "endpoint"}:
        said = [] if data is None else _range(said, data.shape[0])
    try:
        degrees = np.asarray(said, dtype=np.float64)
    except (TypeError, ValueError):
        degrees = np.empty((0, 0))
    if degrees.ndim != 1:
        remarks.problems.append(
            f"expected {where} as a list of degrees, {{start = 0, stop = 180}} or the name of a file, got {said!r}"
        )
        return ViewAngles()
    return checked_angles(degrees, "deg", where, remarks)


def _range(said: dict[str, Any], views: int) -> Any:
    start, stop = said["start"], said["stop"]
    if not all(isinstance(each, (int, float)) and math.isfinite(each) for each in (start, stop)):
        return said
    return np.linspace(start, stop, views, endpoint=bool(said.get("endpoint", True)))
