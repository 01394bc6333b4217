"""ctuq's own sinogram file: Data Exchange, plus a group that says where source, axis and detector are.

    /exchange/data             (theta, y, x), attributes units = "line_integral" (float32) | "counts",
                               axes = "theta:y:x"
    /exchange/data_white       with counts: frames of the open beam, (frame, y, x); data_dark: without beam
    /exchange/theta            degrees, attribute units = "deg"
    /exchange/noise_variance   optional, of line integrals: one number, or (theta, y, x)
    /measurement/instrument/ctuq_geometry
                               attributes type = "parallel" | "fan" | "cone", pitch_mm, for a fan or cone
                               source_origin_mm and origin_detector_mm, and cor_index where the axis is not at the
                               detector's centre; for a cone row_pitch_mm where pixels are not square, and
                               mid_row_index where the source is not level with the detector's middle
    attributes of the file     title, source, licence

A cone beam's rows are one scan, of a volume. `ctuq.scan_file` reads it, as it reads other layouts.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ctuq.beam import CTUQ_GEOMETRY
from ctuq.rays import degrees_of, geometry_attributes
from ctuq.scan import Scan, ScanGeometry
from ctuq.simulation import SimulatedCounts
from ctuq.whole_file import written_whole


def write_sinogram_file(
    path: str | Path, scan: Scan, *, source: str = "", licence: str = "", force: bool = False
) -> None:
    """Write a scan's rays as a sinogram file; its name becomes the title. The image grid is the reader's to choose.

    Args:
        path: where to; the folder must exist.
        scan: what to write.
        source: where the data come from.
        licence: the terms they come under, with attribution.
        force: replace a file that is there already.

    Raises:
        InputError: the folder is missing or read-only, or a file is there already and `force` is not given.
    """
    with written_whole(Path(path), force=force) as part, h5py.File(part, "w") as file:
        file.attrs.update({"title": scan.name, "source": source, "licence": licence})
        write_rays(file, scan.sinogram.cpu().numpy(), scan.geometry)
        if isinstance(scan.noise_variance, Tensor):
            write_frames(file, "exchange/noise_variance", scan.noise_variance.cpu().numpy().astype(np.float32))
        elif scan.noise_variance is not None:
            file["exchange/noise_variance"] = scan.noise_variance


def write_rays(file: Any, measured: SimulatedCounts | NDArray[Any], geometry: ScanGeometry) -> None:
    """Write what a detector row, or a cone beam's detector, measured into an open file, and where.

    Args:
        file: of h5py.
        measured: counts, or line integrals (angle, col) or (angle, row, col).
        geometry: of the rays.
    """
    file["implements"] = "exchange:measurement"
    if isinstance(measured, SimulatedCounts):
        for name, counts, frames in (
            ("data", measured.counts, "theta"),
            ("data_white", measured.flats, "theta_white"),
            ("data_dark", measured.darks, "theta_dark"),
        ):
            data = write_frames(file, f"exchange/{name}", counts.astype(np.uint32))
            data.attrs.update({"units": "counts", "axes": f"{frames}:y:x"})
    else:
        data = write_frames(file, "exchange/data", measured.astype(np.float32))
        data.attrs.update({"units": "line_integral", "axes": "theta:y:x"})
    file["exchange/theta"] = degrees_of(geometry.angles_rad)
    file["exchange/theta"].attrs["units"] = "deg"
    file.create_group(CTUQ_GEOMETRY).attrs.update(geometry_attributes(geometry))


def write_frames(file: Any, name: str, frames: NDArray[Any]) -> Any:
    """Write frames (frame, row, col), or those of a detector row (frame, col), and return h5py's dataset."""
    stack = frames[:, None, :] if frames.ndim == 2 else frames
    return file.create_dataset(name, data=stack, compression="gzip", compression_opts=9, shuffle=True)
