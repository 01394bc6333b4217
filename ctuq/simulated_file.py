"""The file of a simulated scan: Data Exchange with ctuq's geometry, and beside the rays the truth behind them.

/exchange, /measurement    as in ctuq's sinogram file, see `ctuq.sinogram_file`
/simulation/truth          (row, col), of a cone beam (slice, row, col), 1/mm, attribute pixel_mm; its centre is the
                           rotation axis
/simulation/line_integrals (theta, y, x) without noise; the attributes of the group say how it was simulated
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from ctuq.scan import ScanGeometry
from ctuq.simulation import SimulatedCounts
from ctuq.sinogram_file import write_frames, write_rays
from ctuq.whole_file import written_whole

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SimulatedScan:
    """One detector row of a known object, or a cone beam's scan of it.

    Args:
        name: of the scan.
        geometry: of the rays, on the truth's grid.
        truth: (row, col), or (slice, row, col), 1/mm.
        line_integrals: (angle, col), or (angle, row, col), exact.
        measured: counts, or line integrals with noise, likewise.
        settings: how it was simulated, by name.
    """

    name: str
    geometry: ScanGeometry
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
        write_rays(file, scan.measured, scan.geometry)
        file.create_group("simulation").attrs.update(scan.settings)
        file["simulation/truth"] = scan.truth.astype(np.float32)
        file["simulation/truth"].attrs.update({"units": "1/mm", "pixel_mm": scan.geometry.grid.pixel_mm})
        exact = write_frames(file, "simulation/line_integrals", scan.line_integrals.astype(np.float32))
        exact.attrs.update({"units": "line_integral", "axes": "theta:y:x"})
