"""What projections hold, counts or line integrals, by what their file says and what lies beside them."""

from __future__ import annotations

from typing import NamedTuple

from ctuq.frames import Frames
from ctuq.remarks import Remarks


class MeasuredUnits(NamedTuple):
    """Units and what belongs to them.

    Args:
        units: line_integral, counts or what the file says instead; None where it says nothing.
        why: what they were guessed from; empty where the file says them.
        flats: frames of the open beam; line integrals have none.
        darks: frames without beam; likewise.
    """

    units: str | None
    why: str
    flats: Frames | None
    darks: Frames | None


def measured_units(said: str, flats: Frames | None, darks: Frames | None, remarks: Remarks) -> MeasuredUnits:
    """What is said where ctuq knows it, else counts where there are frames of the open beam.

    Args:
        said: in the file; empty for nothing.
        flats: found beside the projections, or named.
        darks: likewise.
        remarks: where it goes that frames are left out.
    """
    if said == "line_integral":
        if flats is not None or darks is not None:
            remarks.notes.append("flats and darks are left out: the data are line integrals already")
        return MeasuredUnits(said, "", None, None)
    if said == "counts" or flats is None:
        return MeasuredUnits(said or None, "", flats, darks)
    why = f"they say units {said or 'none'!r}, and there are frames of the open beam"
    return MeasuredUnits("counts", why, flats, darks)
