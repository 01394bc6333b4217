"""Views that an instrument measured, from whatever file it wrote them to."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctuq.errors import InputError
from ctuq.rays import geometry_attributes
from ctuq.source_choice import SourceChoice
from ctuq.survivable_scan import read_survivable_scan
from operators import Geometry


@dataclasses.dataclass(frozen=True, eq=False)
class MeasuredViews:
    """Line integrals and where they were taken.

    Args:
        angles_rad: (view,) float64.
        sinogram: (view, detector) float64, dimensionless.
    """

    angles_rad: NDArray[np.float64]
    sinogram: NDArray[np.float64]


def read_views(path: Path, instrument: Geometry) -> MeasuredViews:
    """Read views from a sinogram file, or a table with a view a row: its angle in degrees, then its line integrals.

    Args:
        path: .h5, .npy or .csv (without a header, or with one that starts with #).
        instrument: that they must be from.

    Raises:
        InputError: another format, another instrument, another detector, or values that are not finite.
    """
    if path.suffix.lower() not in (".npy", ".csv", ".h5", ".hdf5", ".nxs"):
        raise InputError(f"expected measured views as .h5, .npy or .csv, got {path.name}")
    if not path.is_file():
        raise InputError(f"{path}: expected a file of measured views, got no such file: check the path")
    views = _from_table(path) if path.suffix.lower() in (".npy", ".csv") else _from_scan(path, instrument)
    if views.sinogram.shape[1] != instrument.n_detectors:
        raise InputError(
            f"{path}: expected views of {instrument.n_detectors} line integrals, one a detector pixel, got "
            f"{views.sinogram.shape[1]}: is it of another detector, or without the angle in front?"
        )
    bad = ~(np.isfinite(views.sinogram).all(axis=1) & np.isfinite(views.angles_rad))
    if bad.any():
        raise InputError(
            f"{path}: expected finite numbers, got {int(bad.sum())} views with others (the first is view "
            f"{int(bad.argmax())}): measure them again, or report them with --failed"
        )
    return views


def _from_table(path: Path) -> MeasuredViews:
    try:
        table = np.load(path) if path.suffix.lower() == ".npy" else np.loadtxt(path, delimiter=",", ndmin=2)
        rows = np.atleast_2d(np.asarray(table, dtype=np.float64))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a table of numbers, a view a row, got: {error}") from error
    if rows.ndim != 2 or rows.shape[1] < 2:
        raise InputError(
            f"{path}: expected a view a row, its angle in degrees and then its line integrals, got shape {rows.shape}"
        )
    return MeasuredViews(np.radians(rows[:, 0]), rows[:, 1:])


def _from_scan(path: Path, instrument: Geometry) -> MeasuredViews:
    scan = read_survivable_scan(path, row=None, choice=SourceChoice())
    ours, theirs = geometry_attributes(instrument), geometry_attributes(scan.geometry)
    for name in sorted({*ours, *theirs}):
        mine, other = ours.get(name), theirs.get(name)
        if mine != other and not (
            isinstance(mine, float) and isinstance(other, float) and math.isclose(mine, other, rel_tol=1e-6)
        ):
            raise InputError(
                f"{path}: expected views of the instrument that the acquisition was started with, got {name} {other} "
                f"instead of {mine}: is it of another scan?"
            )
    return MeasuredViews(np.asarray(scan.geometry.angles_rad), scan.sinogram.double().numpy())
