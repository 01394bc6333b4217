"""Where source, axis and detector are, as files say it, and what is assumed where they do not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ctuq.hdf5 import follow, text_of
from ctuq.remarks import Remarks

CTUQ_GEOMETRY = "measurement/instrument/ctuq_geometry"

_MM = {
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1e-6),
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometre", "micrometers"), 1e-3),
    **dict.fromkeys(("mm", "millimeter", "millimetre", "millimeters"), 1.0),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 10.0),
    **dict.fromkeys(("m", "meter", "metre", "meters"), 1e3),
}


@dataclass(frozen=True)
class Beam:
    """The kind of beam and its lengths; None where the file does not say, or not understandably.

    Args:
        kind: "parallel", "fan" or "cone".
        pitch_mm: distance of detector pixels.
        source_origin_mm: source to rotation axis, fan and cone beam only.
        origin_detector_mm: rotation axis to detector, fan and cone beam only.
        cor_index: detector index of the rotation axis; None: the centre.
        row_pitch_mm: distance of detector rows, cone beam only; None: square pixels.
        mid_row_index: detector row level with the source, cone beam only; None: the centre.
    """

    kind: str | None = None
    pitch_mm: float | None = None
    source_origin_mm: float | None = None
    origin_detector_mm: float | None = None
    cor_index: float | None = None
    row_pitch_mm: float | None = None
    mid_row_index: float | None = None


def beam_from(attributes: Mapping[str, Any], where: str, remarks: Remarks) -> Beam:
    """What attributes say, each checked by itself.

    Args:
        attributes: type, pitch_mm and, for a fan or cone beam, source_origin_mm and origin_detector_mm; optionally
            cor_index, and for a cone row_pitch_mm and mid_row_index.
        where: they are, for messages.
        remarks: to append to.
    """
    kind = text_of(attributes.get("type"))
    if kind not in ("parallel", "fan", "cone"):
        remarks.problems.append(
            f"expected type 'parallel', 'fan' or 'cone' on {where}, got {kind or 'none'!r}: choose one of those"
        )
    point, cone = kind in ("fan", "cone"), kind == "cone"

    def number(name: str, *, required: bool, least: float = -math.inf) -> float | None:
        return _number(attributes.get(name), name, where, required=required, least=least, remarks=remarks)

    return Beam(
        kind=kind or None,
        pitch_mm=number("pitch_mm", required=True, least=0.0),
        source_origin_mm=number("source_origin_mm", required=point, least=0.0),
        origin_detector_mm=number("origin_detector_mm", required=point),
        cor_index=number("cor_index", required=False),
        row_pitch_mm=number("row_pitch_mm", required=False, least=0.0) if cone else None,
        mid_row_index=number("mid_row_index", required=False) if cone else None,
    )


def parallel_beam(file: Any, places: tuple[str, ...], remarks: Remarks) -> Beam:
    """Parallel rays, as the file names no geometry; their distance is the first of these datasets with a known unit.

    Args:
        file: the file.
        places: paths of pixel sizes, those at the object first.
        remarks: to append to.
    """
    for place in places:
        pitch_mm = _length_mm(follow(file, place), place, remarks)
        if pitch_mm is not None:
            remarks.notes.append(f"no geometry in the file: parallel rays, {pitch_mm:g} mm apart as {place} says")
            return Beam("parallel", pitch_mm)
    remarks.notes.append(
        "no geometry and no pixel size in the file: parallel rays; lengths are in detector pixels, attenuation is per "
        "detector pixel, wherever mm are named"
    )
    return Beam("parallel", 1.0)


def _length_mm(found: Any, place: str, remarks: Remarks) -> float | None:
    """The length in a dataset, with its unit; None where there is none to be believed."""
    shape = getattr(found, "shape", None)
    if shape is None or math.prod(shape) != 1 or found.dtype.kind not in "fiu":
        return None
    value, unit = float(np.asarray(found[()]).item()), text_of(found.attrs.get("units")).strip().lower()
    if unit in _MM and math.isfinite(value) and value > 0:
        return value * _MM[unit]
    remarks.notes.append(f"{place} is left out: {value:g} with units {unit or 'none'!r} is no length")
    return None


def _number(raw: Any, name: str, where: str, *, required: bool, least: float, remarks: Remarks) -> float | None:
    if raw is None:
        if required:
            remarks.problems.append(f"expected {name} on {where}, got none: add it, a number in mm")
        return None
    try:
        value = float(np.asarray(raw).item())
    except (TypeError, ValueError):
        value = math.nan
    if not (math.isfinite(value) and value > least):
        wanted = "a finite number" if least == -math.inf else f"a finite number above {least:g}"
        remarks.problems.append(f"expected {wanted} as {name} on {where}, got {raw!r}: correct it")
        return None
    return value
