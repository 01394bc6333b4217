"""The master file of a volume: its parts, one a detector row, seen as one stack through virtual datasets.

/entry/data (data, data_errors in 1/mm, NaN where a row is missing; z, y, x in mm), /entry/rows (row, state).
z counts from row 0 in steps of the detector's pitch at the rotation axis. Paths to parts are relative: the folder
may be moved as a whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from ctuq.errors import CtuqError
from ctuq.whole_file import written_whole


@dataclass(frozen=True)
class VolumeRow:
    """One row of a volume.

    Args:
        row: of the detector.
        z_mm: where it lies.
        part: its result file, relative to the master's folder.
        state: done, or why it is missing.
        key: hash of what it was made from.
    """

    row: int
    z_mm: float
    part: str
    state: str
    key: str = ""


def write_volume(path: Path, rows: Sequence[VolumeRow]) -> bool:
    """Write the master of a volume, unless the one that is there says the same.

    Args:
        path: the master.
        rows: by rising row; at least one of them done.

    Returns:
        Whether it was written.

    Raises:
        CtuqError: parts that do not belong together, or that cannot be read.
    """
    digest = hashlib.sha256(json.dumps([vars(row) for row in rows]).encode()).hexdigest()
    if _digest_of(path) == digest:
        return False
    with written_whole(path, force=True) as part:
        # Written in the parts' folder, so that the relative paths hold when they are checked.
        _write(part, path.parent, rows, digest)
    return True


def _digest_of(path: Path) -> str:
    try:
        with h5py.File(path, "r") as file:
            return str(file["entry"].attrs.get("rows_sha256", ""))
    except (OSError, KeyError):
        return ""


def _write(path: Path, folder: Path, rows: Sequence[VolumeRow], digest: str) -> None:
    done = [row for row in rows if row.state == "done"]
    try:
        with h5py.File(folder / done[0].part, "r") as first:
            image = first["entry/data/data"].shape[-2:]
            axes = {axis: first[f"entry/data/{axis}"][()] for axis in ("y", "x")}
            title = first["entry/title"].asstr()[()]
    except (OSError, KeyError) as error:
        raise CtuqError(f"{folder / done[0].part}: expected a result to build a volume from, got: {error}") from error
    with h5py.File(path, "w", libver=("earliest", "v110")) as file:
        file.attrs.update({"NX_class": "NXroot", "default": "entry", "creator": "ctuq"})
        entry = _group(file, "entry", "NXentry", default="data", rows_sha256=digest)
        entry["definition"] = "NXtomoproc"
        entry["title"] = title.rpartition(" row ")[0] or title
        data = _group(entry, "data", "NXdata", signal="data")
        data.attrs["axes"], data.attrs["auxiliary_signals"] = ["z", "y", "x"], ["data_errors"]
        for name in ("data", "data_errors"):
            stack = _virtual(data, name, rows, image)
            stack.attrs.update({"units": "1/mm", "interpretation": "image"})
        data["z"] = np.array([row.z_mm for row in rows])
        data.update(axes)
        for axis in ("z", "y", "x"):
            data[axis].attrs["units"] = "mm"
        states = _group(entry, "rows", "NXcollection")
        states["row"] = [row.row for row in rows]
        states.create_dataset("state", data=[row.state for row in rows], dtype=h5py.string_dtype())


def _group(parent: h5py.Group, name: str, nx_class: str, **attributes: str) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs.update({"NX_class": nx_class} | attributes)
    return group


def _virtual(data: h5py.Group, name: str, rows: Sequence[VolumeRow], image: tuple[int, int]) -> h5py.Dataset:
    layout = h5py.VirtualLayout(shape=(len(rows), *image), dtype=np.float32)
    for z, row in enumerate(rows):
        if row.state == "done":
            layout[z] = h5py.VirtualSource(row.part, f"entry/data/{name}", shape=(1, *image))[0]
    return data.create_virtual_dataset(name, layout, fillvalue=np.nan)
