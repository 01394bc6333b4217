"""The parts of a sinogram file, each read and checked by itself, so that one problem does not hide the next.

Every function takes the list that it appends problems to, and returns what it could read.
"""

import math
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from ctuq.hdf5 import text_of

DATA = "exchange/data"
THETA = "exchange/theta"
NOISE_VARIANCE = "exchange/noise_variance"
GEOMETRY = "measurement/instrument/ctuq_geometry"

_DEGREES = ("", "deg", "degree", "degrees", "°")
_RADIANS = ("rad", "radian", "radians")
# Fewer views than this may well lie within two pi degrees of each other.
_FEW_VIEWS = 3


@dataclass(frozen=True)
class GeometryFound:
    """What the geometry group says; None where it does not, or not understandably."""

    kind: str | None
    pitch_mm: float | None
    source_origin_mm: float | None
    origin_detector_mm: float | None
    cor_index: float | None


def projections(file: Any, problems: list[str]) -> Any:
    """The dataset of projections, or None."""
    return _dataset(file, DATA, "the projections (theta, y, x)", problems)


def shape(data: Any, problems: list[str]) -> tuple[int, ...]:
    """(theta, row, detector), or () when the data are of another kind."""
    if data is None:
        return ()
    found = tuple(int(n) for n in data.shape)
    if len(found) != 3:
        hint = "write data[:, None, :]" if len(found) == 2 else "write one scan a file"
        problems.append(f"expected {DATA} with three axes (theta, y, x), got shape {found}: {hint}")
        return ()
    axes = text_of(data.attrs.get("axes")) or "theta:y:x"
    if axes.replace(" ", "") != "theta:y:x":
        problems.append(f"expected {DATA} with axes theta:y:x, got {axes}: transpose the data")
    for count, what in zip(found, ("views", "detector rows", "detector pixels"), strict=True):
        if count == 0:
            problems.append(f"expected {DATA} with at least one each of (views, rows, detectors), got zero {what}")
    return found


def theta(file: Any, data_shape: tuple[int, ...], problems: list[str]) -> tuple[float, ...]:
    """View angles in degrees."""
    dataset = _dataset(file, THETA, "the view angles in degrees", problems)
    if dataset is None:
        return ()
    angles = np.asarray(dataset[...], dtype=np.float64).ravel()
    if data_shape and data_shape[0] and len(angles) != data_shape[0]:
        hint = "give one angle a view"
        if len(angles) in data_shape[1:]:
            hint = f"axis {data_shape.index(len(angles))} of the data has that length: move it to the front"
        elif len(angles) == data_shape[0] + 1:
            hint = "drop the last angle if it only closes the circle"
        problems.append(f"expected {data_shape[0]} angles, one a view of {DATA}, got {len(angles)} in {THETA}: {hint}")
    n_bad = int((~np.isfinite(angles)).sum())
    if n_bad:
        first = int(np.flatnonzero(~np.isfinite(angles))[0])
        problems.append(
            f"expected finite angles in {THETA}, got {n_bad} NaN or infinite (the first at view {first}): "
            f"drop those views"
        )
        return tuple(angles.tolist())
    problems += _unit_problems(angles, text_of(dataset.attrs.get("units")).strip().lower())
    return tuple(angles.tolist())


def _unit_problems(angles_deg: np.ndarray[Any, np.dtype[np.float64]], unit: str) -> list[str]:
    cure = f"If they are radians, write numpy.degrees(theta) with the attribute units='deg' to {THETA}"
    if unit in _RADIANS:
        return [f"expected {THETA} in degrees, got its attribute units = {unit!r}. {cure}"]
    if unit not in _DEGREES:
        return [f"expected {THETA} in degrees, got its attribute units = {unit!r}: convert them, and set units='deg'"]
    largest = float(np.abs(angles_deg).max(initial=0.0))
    if len(angles_deg) > _FEW_VIEWS and 0 < largest <= 2 * math.pi + 0.01:
        look = (
            f"expected {THETA} in degrees, got {len(angles_deg)} angles that look like radians: none exceeds "
            f"{largest:.4g}, where 2 pi = 6.283 and scans span 180 or 360 degrees. {cure}"
        )
        return [look]
    return []


def units(data: Any, problems: list[str]) -> str | None:
    """What the projections hold: "line_integral" or "counts"."""
    if data is None:
        return None
    found = text_of(data.attrs.get("units"))
    if found == "counts":
        problems.append(
            f"expected line integrals in {DATA}, got counts, which this version does not correct by flats and darks: "
            f"write -log((data - dark) / (flat - dark)) with the attribute units='line_integral'"
        )
    elif found != "line_integral":
        problems.append(
            f"expected the attribute units='line_integral' on {DATA}, got {found or 'none'!r}: "
            f"set it once you know that the values are -log(intensity / open beam)"
        )
    return found or None


def has_noise_variance(file: Any, data_shape: tuple[int, ...], problems: list[str]) -> bool:
    """Whether the file states the variance of its line integrals."""
    if NOISE_VARIANCE not in file:
        return False
    dataset = _dataset(file, NOISE_VARIANCE, "the variance of the line integrals", problems)
    if dataset is not None and data_shape and tuple(dataset.shape) not in ((), data_shape):
        problems.append(
            f"expected {NOISE_VARIANCE} to be one number or of the data's shape {data_shape}, "
            f"got shape {tuple(dataset.shape)}: leave it out to have the noise learned from the data"
        )
    return True


def geometry(file: Any, data_shape: tuple[int, ...], problems: list[str]) -> GeometryFound:
    """The attributes of the geometry group."""
    group = file.get(GEOMETRY)
    if group is None:
        problems.append(
            f"expected a group {GEOMETRY} with the attributes type, pitch_mm and, for a fan beam, source_origin_mm and "
            f"origin_detector_mm, got none: add it, or write the file with ctuq.sinogram_file.write_sinogram_file"
        )
        return GeometryFound(None, None, None, None, None)
    kind = text_of(group.attrs.get("type"))
    if kind not in ("parallel", "fan"):
        problems.append(f"expected type 'parallel' or 'fan' on {GEOMETRY}, got {kind or 'none'!r}: set that attribute")
    fan = kind == "fan"
    found = GeometryFound(
        kind=kind or None,
        pitch_mm=_number(group, "pitch_mm", required=True, least=0.0, problems=problems),
        source_origin_mm=_number(group, "source_origin_mm", required=fan, least=0.0, problems=problems),
        origin_detector_mm=_number(group, "origin_detector_mm", required=fan, problems=problems),
        cor_index=_number(group, "cor_index", required=False, problems=problems),
    )
    if found.cor_index is not None and data_shape and not -0.5 <= found.cor_index <= data_shape[2] - 0.5:
        problems.append(
            f"expected cor_index on the detector, from 0 to {data_shape[2] - 1}, got {found.cor_index:g}: it counts "
            f"pixels as stored, not mm and not pixels before binning"
        )
    return found


def _number(group: Any, name: str, *, required: bool, least: float = -math.inf, problems: list[str]) -> float | None:
    raw = group.attrs.get(name)
    if raw is None:
        if required:
            problems.append(f"expected the attribute {name} on {GEOMETRY}, got none: add it, a number in mm")
        return None
    try:
        value = float(np.asarray(raw).item())
    except (TypeError, ValueError):
        value = math.nan
    if not (math.isfinite(value) and value > least):
        wanted = "a finite number" if least == -math.inf else f"a finite number above {least:g}"
        problems.append(f"expected {wanted} as {name} on {GEOMETRY}, got {raw!r}: correct that attribute")
        return None
    return value


def _dataset(file: Any, name: str, holds: str, problems: list[str]) -> Any:
    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        got = "none" if found is None else "a group"
        present = ", ".join(f"/{key}" for key in file) or "nothing"
        problems.append(f"expected a dataset {name} with {holds}, got {got} (the file holds {present}): add it")
        return None
    if found.shape is None:
        problems.append(f"expected {name} with {holds}, got an empty dataset: write the values")
        return None
    if found.dtype.kind not in "fiub":
        problems.append(f"expected numbers in {name}, got type {found.dtype}: write it as float32")
        return None
    return found
