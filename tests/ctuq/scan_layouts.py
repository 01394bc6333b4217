"""One measurement, written to disk in every layout that ctuq reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile
from numpy.typing import NDArray

from ctuq.beam import CTUQ_GEOMETRY


@dataclass(frozen=True, eq=False)
class Measurement:
    """Counts, or line integrals where there are no flats.

    Args:
        data: (angle, row, col).
        theta_deg: (angle,).
        flats: (frame, row, col), or None.
        darks: likewise.
        geometry: attributes as ctuq's sinogram file has them; empty: nothing is known.
    """

    data: NDArray[Any]
    theta_deg: NDArray[Any]
    flats: NDArray[Any] | None = None
    darks: NDArray[Any] | None = None
    geometry: Mapping[str, Any] = field(default_factory=dict)

    @property
    def units(self) -> str:
        return "line_integral" if self.flats is None else "counts"

    @property
    def references(self) -> dict[str, NDArray[Any]]:
        """Flats and darks, by the names of Data Exchange."""
        named = {"data_white": self.flats, "data_dark": self.darks}
        return {name: frames for name, frames in named.items() if frames is not None}


def measurement(*, views: int = 12, rows: int = 3, cols: int = 10, seed: int = 0) -> Measurement:
    """Poisson counts behind something random, in uint16."""
    rng = np.random.default_rng(seed)
    flats = rng.poisson(2000 + 500 * rng.random((rows, cols)), size=(4, rows, cols))
    counts = rng.poisson(1500 * np.exp(-rng.random((views, rows, cols))))
    return Measurement(
        data=(counts + 100).astype(np.uint16),
        theta_deg=np.arange(views) * 180.0 / views,
        flats=(flats + 100).astype(np.uint16),
        darks=rng.poisson(100, size=(3, rows, cols)).astype(np.uint16),
    )


def write_data_exchange(
    path: Path,
    scan: Measurement,
    *,
    axes: str = "theta:y:x",
    theta: bool = True,
    group: str = "exchange",
    mode: str = "w",
    **options: Any,
) -> Path:
    """Data Exchange; ctuq's own file where the geometry is known.

    Args:
        path: of the file.
        scan: what to write.
        axes: their order in data, data_white and data_dark.
        theta: whether angles are written.
        group: name of the group.
        mode: of h5py.
        options: of h5py's create_dataset, for the projections.
    """
    order = [("theta", "y", "x").index(name) for name in axes.split(":")]
    with h5py.File(path, mode) as file:
        data = file.create_dataset(f"{group}/data", data=np.transpose(scan.data, order), **options)
        data.attrs.update({"units": scan.units, "axes": axes})
        for name, frames in scan.references.items():
            file[f"{group}/{name}"] = np.transpose(frames, order)
            file[f"{group}/{name}"].attrs["axes"] = axes.replace("theta", f"theta{name.removeprefix('data')}")
        if theta:
            file[f"{group}/theta"] = scan.theta_deg
            file[f"{group}/theta"].attrs["units"] = "deg"
        if scan.geometry:
            file.require_group(CTUQ_GEOMETRY).attrs.update(scan.geometry)
    return path


def interleaved(scan: Measurement) -> tuple[NDArray[Any], NDArray[Any]]:
    """Frames and image keys: a flat, a dark or an invalid frame between the projections, wherever there is one."""
    flats, darks = (
        list(scan.flats if scan.flats is not None else []),
        list(scan.darks if scan.darks is not None else []),
    )
    frames, keys = [], []
    for number, view in enumerate(scan.data):
        if darks and number % 2 == 0:
            frames.append(darks.pop(0))
            keys.append(2)
        if flats and number % 3 == 0:
            frames.append(flats.pop(0))
            keys.append(1)
        if number == 5:
            frames.append(np.zeros_like(view))
            keys.append(3)
        frames.append(view)
        keys.append(0)
    frames += [*flats, *darks]
    keys += [1] * len(flats) + [2] * len(darks)
    return np.stack(frames), np.array(keys)


def write_nxtomo(
    path: Path, scan: Measurement, *, entry: str = "entry", unit: str = "deg", mode: str = "w", **options: Any
) -> Path:
    """NXtomo with interleaved flats and darks, and an invalid frame."""
    frames, keys = interleaved(scan)
    angles = np.zeros(len(keys))
    angles[keys == 0] = scan.theta_deg if unit == "deg" else np.radians(scan.theta_deg)
    with h5py.File(path, mode) as file:
        group = file.create_group(entry)
        group.attrs["NX_class"] = "NXentry"
        group["definition"] = "NXtomo"
        group["title"] = f"{entry} of {path.stem}"
        for name, kind in (("instrument", "NXinstrument"), ("instrument/det", "NXdetector"), ("sample", "NXsample")):
            group.create_group(name).attrs["NX_class"] = kind
        group.create_dataset("instrument/det/data", data=frames, **options)
        group["instrument/det/image_key"] = keys
        group["sample/rotation_angle"] = angles
        group["sample/rotation_angle"].attrs["units"] = unit
    return path


def write_tiff_stack(path: Path, scan: Measurement, *, one_file: bool = False) -> Path:
    """A TOML file, and projections, flats and darks beside it."""
    lines = [f'units = "{scan.units}"', f"angles_deg = {scan.theta_deg.tolist()}"]
    for name, frames in {"data": scan.data, "flats": scan.flats, "darks": scan.darks}.items():
        if frames is None:
            continue
        lines.append(f'{name} = "{name}{"" if one_file else "_*"}.tif"')
        if one_file:
            tifffile.imwrite(path.parent / f"{name}.tif", frames, photometric="minisblack", compression="zlib")
        else:  # numbers that a plain sort would put in another order
            for number, frame in enumerate(frames):
                tifffile.imwrite(path.parent / f"{name}_{number}.tif", frame)
    if scan.geometry:
        lines.append("[geometry]")
        lines += [f"{name} = {json.dumps(value)}" for name, value in scan.geometry.items()]
    path.write_text("\n".join(lines))
    return path
