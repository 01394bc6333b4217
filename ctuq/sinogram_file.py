"""ctuq's own sinogram file: Data Exchange, plus a group that says where source, axis and detector are.

    /exchange/data             (theta, y, x) float32, attributes units = "line_integral" | "counts", axes = "theta:y:x"
    /exchange/theta            degrees, attribute units = "deg"
    /exchange/noise_variance   optional: one number, or (theta, y, x)
    /measurement/instrument/ctuq_geometry
                               attributes type = "parallel" | "fan", pitch_mm, for a fan source_origin_mm and
                               origin_detector_mm, and cor_index where the axis is not at the detector's centre
    attributes of the file     title, source, licence

`ctuq.sinogram_header` reads the headers alone, and finds every problem at once.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from torch import Tensor

from ctuq.errors import InputError
from ctuq.hdf5 import damage_named, opened
from ctuq.rays import degrees_of, geometry_attributes
from ctuq.scan import Scan
from ctuq.sinogram_checks import DATA, GEOMETRY, NOISE_VARIANCE, THETA
from ctuq.sinogram_header import SinogramHeader, find_problems, inspect, read_header
from ctuq.whole_file import written_whole

__all__ = ["SinogramHeader", "find_problems", "inspect", "read_scan", "write_sinogram_file"]


def read_scan(
    path: str | Path, *, row: int | None = None, size: int | None = None, pixel_mm: float | None = None
) -> Scan:
    """Read one detector row of a sinogram file; the others stay on disk.

    Args:
        path: the file.
        row: detector row, from 0; None: the middle one.
        size: pixels a side of the square image grid; None: as many as detectors.
        pixel_mm: side of a pixel; None: the grid covers the field of view at the rotation axis.

    Raises:
        InputError: the file or the request is wrong; every problem of the file's headers is named at once.
    """
    path = Path(path)
    with opened(path) as file, damage_named(path):
        header = read_header(path, file)
        if header.problems:
            raise InputError("\n".join([f"{path} cannot be read as a scan:", *(f"- {p}" for p in header.problems)]))
        n_rows = header.shape[1]
        index = n_rows // 2 if row is None else row
        if not 0 <= index < n_rows:
            raise InputError(f"{path}: expected a row from 0 to {n_rows - 1}, got {row}: choose one of those")
        sinogram = file[DATA][:, index, :]
        variance = _noise_variance(file, index) if header.has_noise_variance else None
    name = header.name if n_rows == 1 else f"{header.name} row {index}"
    try:
        return Scan(sinogram, header.geometry(size, pixel_mm), variance, name, file_name=path.name)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


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


def _noise_variance(file: Any, row: int) -> Any:
    dataset = file[NOISE_VARIANCE]
    return dataset[:, row, :] if dataset.ndim else dataset[()]


def _write_rays(file: Any, scan: Scan) -> None:
    file["implements"] = "exchange:measurement"
    data = _write_image_stack(file, DATA, scan.sinogram)
    data.attrs.update({"units": "line_integral", "axes": "theta:y:x"})
    file[THETA] = degrees_of(scan.geometry.angles_rad)
    file[THETA].attrs["units"] = "deg"
    if isinstance(scan.noise_variance, Tensor):
        _write_image_stack(file, NOISE_VARIANCE, scan.noise_variance)
    elif scan.noise_variance is not None:
        file[NOISE_VARIANCE] = scan.noise_variance
    file.create_group(GEOMETRY).attrs.update(geometry_attributes(scan.geometry))


def _write_image_stack(file: Any, name: str, values: Tensor) -> Any:
    one_row = values.cpu().numpy()[:, None, :].astype(np.float32)
    return file.create_dataset(name, data=one_row, compression="gzip", compression_opts=9, shuffle=True)
