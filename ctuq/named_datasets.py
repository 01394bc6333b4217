"""HDF5 files of no layout that ctuq knows: the user names the datasets."""

from __future__ import annotations

from typing import Any

from ctuq.beam import CTUQ_GEOMETRY, parallel_beam
from ctuq.frames import Frames
from ctuq.hdf5 import text_of
from ctuq.hdf5_frames import Hdf5Frames, projections, reference_frames
from ctuq.measured_units import measured_units
from ctuq.remarks import Remarks
from ctuq.scan_header import ScanParts
from ctuq.source_choice import SourceChoice
from ctuq.view_angles import ViewAngles, named_angles


def find_parts(file: Any, choice: SourceChoice, remarks: Remarks) -> ScanParts:
    """The parts that were named."""
    why = "it has neither detectors with an image_key nor a group exchange"
    if choice.data is None:
        present = ", ".join(f"/{key}" for key in file) or "nothing"
        remarks.problems.append(
            f"expected NXtomo (a detector with an image_key), Data Exchange (a group exchange) or {CTUQ_GEOMETRY}, got "
            f"neither (the file holds {present}): name the datasets with --data, --angles, --flats and --darks"
        )
        return ScanParts("HDF5", why)
    data = projections(file, choice.data, remarks)
    flats = _reference(file, choice.flats, "frames of the open beam", data, remarks)
    darks = _reference(file, choice.darks, "frames without beam", data, remarks)
    angles = ViewAngles()
    if choice.angles is None:
        remarks.problems.append("expected the view angles of the named data, got none: name them with --angles")
    else:
        angles = named_angles(file, choice.angles, remarks)
    said = "" if data is None else text_of(data.dataset.attrs.get("units")).strip()
    units, units_why, flats, darks = measured_units(said, flats, darks, remarks)
    return ScanParts(
        layout="HDF5",
        why=why,
        data=data,
        units=units,
        units_why=units_why,
        angles=angles,
        flats=flats,
        darks=darks,
        beam=parallel_beam(file, (), remarks),
    )


def _reference(file: Any, name: str | None, holds: str, data: Hdf5Frames | None, remarks: Remarks) -> Frames | None:
    return None if name is None else reference_frames(file, name, holds, data, remarks)
