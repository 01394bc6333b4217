"""The file of a simulated scan: Data Exchange with ctuq's geometry, and beside the rays the truth behind them.

/exchange/data             (theta, y, x): counts, attribute units = "counts", or float32 line integrals
/exchange/data_white       (frame, y, x) counts of the open beam, and data_dark without beam, where there are counts
/exchange/theta            degrees
/measurement/instrument/ctuq_geometry    as in ctuq's sinogram file
/simulation/truth          (row, col), 1/mm, attribute pixel_mm; its centre is the rotation axis
/simulation/line_integrals (theta, y, x) without noise; the attributes of the group say how it was simulated
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ctuq.rays import degrees_of, geometry_attributes
from ctuq.simulation import SimulatedCounts
from ctuq.whole_file import written_whole
from operators import Geometry

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SimulatedScan:
    """One detector row of a known object.

    Args:
        name: of the scan.
        geometry: of the rays, on the truth's grid.
        truth: (row, col), 1/mm.
        line_integrals: (angle, col), exact.
        measured: counts, or line integrals with noise (angle, col).
        settings: how it was simulated, by name.
    """

    name: str
    geometry: Geometry
    truth: Array
    line_integrals: Array
    measured: SimulatedCounts | Array
    settings: Mapping[str, str | float]


def write_simulated_scan(path: Path, scan: SimulatedScan, *, force: bool) -> None:
    """Write the file, whole or not at all.

    Raises:
        InputError: the folder is missing or read-only, or a file is there already and `force` is not given.
    """
    with written_whole(path, force=force) as part, h5py.File(part, "w") as file:
        file.attrs.update({"title": scan.name, "source": "simulated by ctuq", "licence": "CC0-1.0"})
        file["implements"] = "exchange:measurement"
        if isinstance(scan.measured, SimulatedCounts):
            for name, counts, frames in (
                ("data", scan.measured.counts, "theta"),
                ("data_white", scan.measured.flats, "theta_white"),
                ("data_dark", scan.measured.darks, "theta_dark"),
            ):
                _write(file, f"exchange/{name}", counts.astype(np.uint32), units="counts", axes=f"{frames}:y:x")
        else:
            integrals = scan.measured.astype(np.float32)
            _write(file, "exchange/data", integrals, units="line_integral", axes="theta:y:x")
        file["exchange/theta"] = degrees_of(scan.geometry.angles_rad)
        file["exchange/theta"].attrs["units"] = "deg"
        file.create_group("measurement/instrument/ctuq_geometry").attrs.update(geometry_attributes(scan.geometry))
        file.create_group("simulation").attrs.update(scan.settings)
        file["simulation/truth"] = scan.truth.astype(np.float32)
        file["simulation/truth"].attrs.update({"units": "1/mm", "pixel_mm": scan.geometry.grid.pixel_mm})
        exact = scan.line_integrals.astype(np.float32)
        _write(file, "simulation/line_integrals", exact, units="line_integral", axes="theta:y:x")


def _write(file: Any, name: str, row: NDArray[Any], *, units: str, axes: str) -> None:
    dataset = file.create_dataset(name, data=row[:, None, :], compression="gzip", shuffle=True)
    dataset.attrs.update({"units": units, "axes": axes})
