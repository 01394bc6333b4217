"""Views that an instrument measured, from whatever file it wrote them to."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from ctuq.amount import amount
from ctuq.errors import InputError
from ctuq.hdf5 import require_survivable
from ctuq.rays import geometry_attributes
from ctuq.scan import Scan
from ctuq.scan_file import inspect, read_scan
from ctuq.source_choice import SourceChoice
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
    path: Path,
    instrument: Geometry,
    *,
    row: int | None = None,
    variances: bool = False,
    choice: SourceChoice = _FOUND_AS_IT_IS,
) -> MeasuredViews:
    """Read views from a scan's file, or a table with a view a row: its angle in degrees, then its line integrals.

    Args:
        path: .h5, .toml, .npy or .csv (without a header, or with one that starts with #).
        instrument: that they must be from, as a scan's file says it.
        row: detector row of a scan's file, from 0; None: the middle one. A file of one row has that one.
        variances: whether as many variances follow a table's line integrals. A scan's file says so itself.
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
    if variances and not is_table:
        raise InputError(
            f"expected --variances with a table of views, got {path.name}, which says its own: leave it out"
        )
    views = _from_table(path, instrument, variances) if is_table else _from_scan(path, instrument, row, choice)
    bad = ~(np.isfinite(views.sinogram).all(axis=1) & np.isfinite(views.angles_rad))
    if bad.any():
        raise InputError(
            f"{path}: expected finite numbers, got {amount(int(bad.sum()), 'view')} with others (the first is view "
            f"{int(bad.argmax())}): measure them again, or report them with --failed"
        )
    variance = views.noise_variance
    if variance is not None and not (np.isfinite(variance) & (variance > 0)).all():
        raise InputError(
            f"{path}: expected variances that are positive and finite, got {float(np.min(variance)):g} as the least: "
            "give a ray without information a large one"
        )
    return views


def _from_table(path: Path, instrument: Geometry, variances: bool) -> MeasuredViews:
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
    n_detectors, width = instrument.n_detectors, values.shape[1]
    if width != (2 if variances else 1) * n_detectors:
        raise InputError(
            f"{path}: expected views of {n_detectors} line integrals, one a detector pixel"
            f"{', and as many variances' if variances else ''}, got {width}: {_likely(width, n_detectors)}"
        )
    return MeasuredViews(angles_rad, values[:, :n_detectors], values[:, n_detectors:] if variances else None)


def _likely(width: int, n_detectors: int) -> str:
    """What is wrong with a table of this many values beside the angle, and what to try."""
    if width == 2 * n_detectors:
        return "try --variances where the second half are variances, or bin a detector of twice as many pixels"
    if width == n_detectors:
        return "leave --variances out where there are none"
    return "is it of another detector, or without the angle in front?"


def _from_scan(path: Path, instrument: Geometry, row: int | None, choice: SourceChoice) -> MeasuredViews:
    require_survivable(path)
    shape = inspect(path, choice).shape
    # The pilots' row is of the pilots' files: an instrument may write the rows of a view to files of their own.
    scan = read_scan(path, row=0 if shape and shape[1] == 1 else row, choice=choice)
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
    if scan.geometry.n_detectors != instrument.n_detectors:
        raise InputError(
            f"{path}: expected views of {instrument.n_detectors} line integrals, one a detector pixel, got "
            f"{scan.geometry.n_detectors}: is it of another detector?"
        )
    return MeasuredViews.of(scan)
