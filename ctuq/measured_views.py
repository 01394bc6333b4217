"""Views that an instrument measured, from whatever file it wrote them to."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from ctuq.errors import InputError
from ctuq.rays import geometry_attributes
from ctuq.scan import Scan
from ctuq.source_choice import SourceChoice
from ctuq.survivable_scan import read_survivable_scan
from operators import Geometry

_FOUND_AS_IT_IS = SourceChoice()


@dataclasses.dataclass(frozen=True, eq=False)
class MeasuredViews:
    """Line integrals and where they were taken.

    Args:
        angles_rad: (view,) float64.
        sinogram: (view, detector) float64, dimensionless.
        noise_variance: likewise, of each line integral; None where it is not stated.
    """

    angles_rad: NDArray[np.float64]
    sinogram: NDArray[np.float64]
    noise_variance: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, scan: Scan) -> Self:
        """The views of a scan, with their variances where they were stated."""
        given = scan.noise_variance
        variance = None if given is None else torch.as_tensor(given, dtype=torch.float64).expand(scan.sinogram.shape)
        angles_rad = np.asarray(scan.geometry.angles_rad, dtype=np.float64)
        return cls(angles_rad, scan.sinogram.double().numpy(), None if variance is None else variance.numpy())


def read_views(
    path: Path, instrument: Geometry, *, row: int | None = None, choice: SourceChoice = _FOUND_AS_IT_IS
) -> MeasuredViews:
    """Read views from a scan's file, or a table with a view a row: its angle in degrees, then its line integrals.

    Args:
        path: .h5, .toml, .npy or .csv (without a header, or with one that starts with #). In a table, as many variances
            may follow the line integrals.
        instrument: that they must be from.
        row: detector row of a scan's file, from 0; None: the middle one.
        choice: what a scan's file does not say, or says wrongly.

    Raises:
        InputError: another format, another instrument, another detector, values that are not finite, or variances that
            are not positive.
    """
    is_table = path.suffix.lower() in (".npy", ".csv")
    if not is_table and path.suffix.lower() not in (".h5", ".hdf5", ".nxs", ".toml"):
        raise InputError(f"expected measured views as .h5, .toml, .npy or .csv, got {path.name}")
    if not path.is_file():
        raise InputError(f"{path}: expected a file of measured views, got no such file: check the path")
    if is_table and choice != SourceChoice():
        raise InputError(f"expected no part of {path.name} to be named, as it is a table of views: leave that out")
    views = _from_table(path, instrument.n_detectors) if is_table else _from_scan(path, instrument, row, choice)
    if views.sinogram.shape[1] != instrument.n_detectors:
        raise InputError(
            f"{path}: expected views of {instrument.n_detectors} line integrals, one a detector pixel, got "
            f"{views.sinogram.shape[1]}: is it of another detector, or without the angle in front? As many "
            "variances may follow"
        )
    bad = ~(np.isfinite(views.sinogram).all(axis=1) & np.isfinite(views.angles_rad))
    if bad.any():
        raise InputError(
            f"{path}: expected finite numbers, got {int(bad.sum())} views with others (the first is view "
            f"{int(bad.argmax())}): measure them again, or report them with --failed"
        )
    variance = views.noise_variance
    if variance is not None and not (np.isfinite(variance) & (variance > 0)).all():
        raise InputError(
            f"{path}: expected variances that are positive and finite, got {float(np.min(variance)):g} as the least: "
            "give a ray without information a large one"
        )
    return views


def _from_table(path: Path, n_detectors: int) -> MeasuredViews:
    try:
        table = np.load(path) if path.suffix.lower() == ".npy" else np.loadtxt(path, delimiter=",", ndmin=2)
        rows = np.atleast_2d(np.asarray(table, dtype=np.float64))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a table of numbers, a view a row, got: {error}") from error
    if rows.ndim != 2 or rows.shape[1] < 2:
        raise InputError(
            f"{path}: expected a view a row, its angle in degrees and then its line integrals, got shape {rows.shape}"
        )
    angles_rad, values = np.radians(rows[:, 0]), rows[:, 1:]
    if values.shape[1] == 2 * n_detectors:
        return MeasuredViews(angles_rad, values[:, :n_detectors], values[:, n_detectors:])
    return MeasuredViews(angles_rad, values)


def _from_scan(path: Path, instrument: Geometry, row: int | None, choice: SourceChoice) -> MeasuredViews:
    scan = read_survivable_scan(path, row=row, choice=choice)
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
    return MeasuredViews.of(scan)
