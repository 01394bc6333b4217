"""ctuq's own sinogram file: Data Exchange, plus a group that says where source, axis and detector are.

    /exchange/data             (theta, y, x) float32, attributes units = "line_integral" | "counts", axes = "theta:y:x"
    /exchange/data_white       with counts: frames of the open beam, (frame, y, x); data_dark: without beam
    /exchange/theta            degrees, attribute units = "deg"
    /exchange/noise_variance   optional, of line integrals: one number, or (theta, y, x)
    /measurement/instrument/ctuq_geometry
                               attributes type = "parallel" | "fan", pitch_mm, for a fan source_origin_mm and
                               origin_detector_mm, and cor_index where the axis is not at the detector's centre
    attributes of the file     title, source, licence

`ctuq.scan_file` reads it, as it reads other layouts.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from torch import Tensor

from ctuq.beam import CTUQ_GEOMETRY
from ctuq.rays import degrees_of, geometry_attributes
from ctuq.scan import Scan
from ctuq.whole_file import written_whole

_DATA = "exchange/data"
_THETA = "exchange/theta"
_NOISE_VARIANCE = "exchange/noise_variance"


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
        _write_rays(file, scan)


def _write_rays(file: Any, scan: Scan) -> None:
    file["implements"] = "exchange:measurement"
    data = _write_image_stack(file, _DATA, scan.sinogram)
    data.attrs.update({"units": "line_integral", "axes": "theta:y:x"})
    file[_THETA] = degrees_of(scan.geometry.angles_rad)
    file[_THETA].attrs["units"] = "deg"
    if isinstance(scan.noise_variance, Tensor):
        _write_image_stack(file, _NOISE_VARIANCE, scan.noise_variance)
    elif scan.noise_variance is not None:
        file[_NOISE_VARIANCE] = scan.noise_variance
    file.create_group(CTUQ_GEOMETRY).attrs.update(geometry_attributes(scan.geometry))


def _write_image_stack(file: Any, name: str, values: Tensor) -> Any:
    one_row = values.cpu().numpy()[:, None, :].astype(np.float32)
    return file.create_dataset(name, data=one_row, compression="gzip", compression_opts=9, shuffle=True)
