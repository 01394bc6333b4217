"""Data Exchange files, ctuq's own among them, which say where source and detector are.

/exchange/data             projections, (theta, y, x) unless its attribute axes says otherwise; /exchange_N for
                           further scans
/exchange/data_white       frames of the open beam, a stack, one frame or one value; data_dark: without beam
/exchange/theta            degrees, or what its attribute units says; missing: /process/acquisition/rotation/*,
                           then a half turn with its end point
/exchange/noise_variance   optional, of line integrals: one number, or as the data
/measurement/instrument/ctuq_geometry      attributes, see `ctuq.sinogram_file`
"""

from __future__ import annotations

import re
from typing import Any

import h5py
import numpy as np

from ctuq.beam import CTUQ_GEOMETRY, Beam, beam_from, parallel_beam
from ctuq.frames import Frames
from ctuq.hdf5 import find_dataset, follow, is_linked, text_of
from ctuq.hdf5_frames import Hdf5Frames, projections, reference_frames
from ctuq.measured_units import measured_units
from ctuq.remarks import Remarks
from ctuq.scan_header import ScanParts
from ctuq.source_choice import SourceChoice
from ctuq.view_angles import ViewAngles, dataset_angles, named_angles

_ROTATION = "process/acquisition/rotation"
# At the object first: the detector's own pixels are larger by the objective's magnification.
_PIXEL_SIZES = (
    "measurement/instrument/detection_system/objective/resolution",
    "measurement/instrument/detector/actual_pixel_size_x",
    "measurement/instrument/detector/x_pixel_size",
    "measurement/instrument/detector/pixel_size_x",
    "measurement/instrument/detector/pixel_size",
)


def find_parts(file: Any, choice: SourceChoice, remarks: Remarks) -> ScanParts | None:
    """The parts of a Data Exchange file; None for a file of another layout."""
    groups = tuple(sorted(name for name in file if re.fullmatch(r"exchange(_\d+)?", name)))
    if not groups:
        return None
    group = _chosen_group(groups, choice.entry, remarks)
    own = follow(file, CTUQ_GEOMETRY)
    is_own = isinstance(own, h5py.Group)
    layout = "ctuq sinogram file" if is_own else "Data Exchange"
    why = f"it has a group {group or groups[0]}" + (f" and {CTUQ_GEOMETRY}" if is_own else "")
    if group is None:
        return ScanParts(layout, why, groups)
    data = projections(file, choice.data or f"{group}/data", remarks)
    flats = _reference(file, choice.flats, f"{group}/data_white", "frames of the open beam", data, remarks)
    darks = _reference(file, choice.darks, f"{group}/data_dark", "frames without beam", data, remarks)
    said = "" if data is None else text_of(data.dataset.attrs.get("units")).strip()
    units, units_why, flats, darks = measured_units(said, flats, darks, remarks)
    return ScanParts(
        layout=layout,
        why=why,
        entries=groups if len(groups) > 1 else (),
        name=text_of(file.attrs.get("title")) or text_of(follow(file, f"{group}/title")),
        source=text_of(file.attrs.get("source")),
        licence=text_of(file.attrs.get("licence")),
        data=data,
        units=units,
        units_why=units_why,
        angles=_angles(file, group, choice, data, remarks, required=is_own),
        flats=flats,
        darks=darks,
        noise_variance=_noise_variance(file, f"{group}/noise_variance", data, units, remarks),
        beam=_beam(file, own, units, remarks),
    )


def _chosen_group(groups: tuple[str, ...], entry: str | None, remarks: Remarks) -> str | None:
    if entry is not None:
        if entry.strip("/") in groups:
            return entry.strip("/")
        remarks.problems.append(f"expected --entry to be one of {', '.join(groups)}, got {entry}: choose one of those")
        return None
    if "exchange" in groups or len(groups) == 1:
        group = "exchange" if "exchange" in groups else groups[0]
        if len(groups) > 1:
            remarks.notes.append(f"the file holds {', '.join(groups)}: {group} is read; --entry chooses another")
        return group
    remarks.problems.append(f"expected one scan, got {len(groups)}: choose one with --entry {groups[0]}, or another")
    return None


def _reference(
    file: Any, named: str | None, usual: str, holds: str, data: Hdf5Frames | None, remarks: Remarks
) -> Frames | None:
    """Flats or darks; None, without a problem, where none were named and none are there."""
    if named is None and not is_linked(file, usual):
        return None
    return reference_frames(file, named or usual, holds, data, remarks)


def _angles(
    file: Any, group: str, choice: SourceChoice, data: Hdf5Frames | None, remarks: Remarks, *, required: bool
) -> ViewAngles:
    if choice.angles is not None:
        return named_angles(file, choice.angles, remarks)
    usual = f"{group}/theta"
    if required or data is None or is_linked(file, usual):
        return dataset_angles(file, usual, remarks)
    views = data.shape[0]
    start, step, stop = (_number(file, names) for names in (("start",), ("step",), ("stop", "end")))
    turn = _number(file, ("range",))
    if step is not None:
        degrees = (start or 0.0) + step * np.arange(views)
        words = f"{_ROTATION}: from {start or 0:g} in steps of {step:g}"
    elif stop is not None or turn is not None:
        last = stop if stop is not None else (start or 0.0) + (turn or 0.0)
        degrees = np.linspace(start or 0.0, last, views)
        words = f"{_ROTATION}: from {start or 0:g} to {last:g}, end point included"
    else:
        degrees = np.linspace(0.0, 180.0, views)
        words = "0 to 180 degrees, end point included"
    remarks.notes.append(f"no {usual} in the file: angles are taken from {words}; --angles names others")
    return ViewAngles(tuple(degrees.tolist()), words)


def _number(file: Any, names: tuple[str, ...]) -> float | None:
    for name in (known for each in names for known in (f"rotation_{each}", each)):
        found = follow(file, f"{_ROTATION}/{name}")
        if isinstance(found, h5py.Dataset) and found.size == 1 and found.dtype.kind in "fiu":
            value = float(np.asarray(found[()]).item())
            if np.isfinite(value):
                return value
    return None


def _noise_variance(
    file: Any, name: str, data: Hdf5Frames | None, units: str | None, remarks: Remarks
) -> Frames | float | None:
    """Of line integrals; counts have their own."""
    if not is_linked(file, name):
        return None
    dataset = find_dataset(file, name, "the variance of the line integrals", remarks)
    if dataset is None or data is None:
        return None
    if tuple(dataset.shape) not in ((), tuple(data.dataset.shape)):
        remarks.problems.append(
            f"expected {name} to be one number or of the data's shape {tuple(data.dataset.shape)}, "
            f"got shape {tuple(dataset.shape)}: leave it out to have the noise learned from the data"
        )
        return None
    if units == "counts":
        remarks.notes.append(f"{name} is left out: the noise of counts follows from them")
        return None
    return Hdf5Frames(name, dataset, data.axes) if dataset.ndim else float(dataset[()])


def _beam(file: Any, own: Any, units: str | None, remarks: Remarks) -> Beam:
    if isinstance(own, h5py.Group):
        return beam_from(own.attrs, CTUQ_GEOMETRY, remarks)
    if units == "line_integral":  # nobody but ctuq calls them so, hence the group got lost
        remarks.problems.append(
            f"expected a group {CTUQ_GEOMETRY} with the attributes type, pitch_mm and, for a fan beam, "
            f"source_origin_mm and origin_detector_mm, got none: add it, or write the file with "
            "ctuq.sinogram_file.write_sinogram_file"
        )
        return Beam()
    return parallel_beam(file, _PIXEL_SIZES, remarks)
