"""View angles as files have them: degrees or radians, said or guessed, one a view or not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctuq.amount import amount
from ctuq.hdf5 import find_dataset, text_of
from ctuq.remarks import Remarks

_DEGREES = ("deg", "degree", "degrees", "°")
_RADIANS = ("rad", "radian", "radians")
# Fewer views than this may well lie within two pi degrees of each other.
_FEW_VIEWS = 3
_MOST_VIEWS = 10_000_000
_FILES = (".npy", ".txt", ".csv")


@dataclass(frozen=True)
class ViewAngles:
    """Angles and where they are from.

    Args:
        degrees: one a view.
        origin: a path in the file, a file, or words.
    """

    degrees: tuple[float, ...] = ()
    origin: str = ""

    def of(self, views: NDArray[np.int64]) -> ViewAngles:
        """Those of the views with these indices, (n,), in their order."""
        return ViewAngles(tuple(self.degrees[i] for i in views), self.origin)


def named_angles(file: Any, name: str, remarks: Remarks) -> ViewAngles:
    """Angles that the user named: a path inside the file, or a file of degrees."""
    path = Path(name)
    return file_angles(path, remarks) if path.suffix.lower() in _FILES else dataset_angles(file, name, remarks)


def file_angles(path: Path, remarks: Remarks) -> ViewAngles:
    """Degrees from a .npy file, or from text, one a line or with commas."""
    remarks.files.append(path)
    try:
        if path.suffix.lower() == ".npy":
            values = np.load(path)
        else:
            values = np.asarray(path.read_text(encoding="utf-8").replace(",", " ").split(), dtype=np.float64)
        degrees = np.asarray(values, dtype=np.float64).ravel()
    except (OSError, ValueError, TypeError, EOFError) as error:
        remarks.problems.append(f"expected angles in degrees in {path}, one a line or as .npy, got: {error}")
        return ViewAngles()
    return checked_angles(degrees, "deg", str(path), remarks)


def dataset_angles(file: Any, name: str, remarks: Remarks) -> ViewAngles:
    """Angles of a dataset, in the unit that its attribute `units` says or that its values give away."""
    dataset = find_dataset(file, name, "the view angles in degrees", remarks)
    if dataset is None:
        return ViewAngles()
    if dataset.size > _MOST_VIEWS:
        remarks.problems.append(f"expected one angle a view in {name}, got shape {dataset.shape}: name another dataset")
        return ViewAngles()
    values = np.asarray(dataset[()], dtype=np.float64).ravel()
    unit = text_of(dataset.attrs.get("units")).strip().lower()
    return checked_angles(values, unit, name, remarks)


def check_count(angles: ViewAngles, data_name: str, shape: tuple[int, ...], remarks: Remarks) -> None:
    """One a view, and not all the same."""
    found, views = len(angles.degrees), shape[0]
    if not found or not views:
        return
    if found != views:
        hint = "give one angle a view"
        if found in shape[1:]:
            hint = f"axis {shape.index(found)} of the data has that length: move it to the front, or set its axes"
        elif found == views + 1:
            hint = "drop the last angle if it only closes the circle"
        remarks.problems.append(
            f"expected {amount(views, 'angle')}, one a view of {data_name}, got {found} in {angles.origin}: {hint}"
        )
    elif found > 1 and min(angles.degrees) == max(angles.degrees):
        remarks.problems.append(
            f"expected views from several angles in {angles.origin}, got {found} times {angles.degrees[0]:g} degrees: "
            f"did the encoder stand still? Name others with --angles"
        )


def checked_angles(values: NDArray[np.float64], unit: str, name: str, remarks: Remarks) -> ViewAngles:
    """Angles in degrees of values in a unit, which is guessed where it is empty."""
    return ViewAngles(tuple(_degrees(values, unit, name, remarks).tolist()), name)


def _degrees(values: NDArray[np.float64], unit: str, name: str, remarks: Remarks) -> NDArray[np.float64]:
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        remarks.problems.append(
            f"expected finite angles in {name}, got {len(bad)} NaN or infinite (the first at view {bad[0]}): "
            f"drop those views"
        )
        return values
    if unit in _RADIANS:
        return np.degrees(values)
    if unit and unit not in _DEGREES:
        remarks.problems.append(
            f"expected {name} in degrees or radians, got its attribute units = {unit!r}: convert them, "
            f"and set units='deg'"
        )
        return values
    return _guessed(values, unit, name, remarks)


def _guessed(values: NDArray[np.float64], unit: str, name: str, remarks: Remarks) -> NDArray[np.float64]:
    """Degrees where that is said, or where radians are out of the question."""
    largest = float(np.abs(values).max(initial=0.0))
    if len(values) <= _FEW_VIEWS or largest > 2 * math.pi + 0.01 or largest == 0:
        if not unit:
            why = f"they reach {largest:g}, more than 2 pi" if largest > 2 * math.pi else "too few to tell from radians"
            remarks.notes.append(f"{name} says no unit: taken as degrees, as {why}")
        return values
    if unit:
        remarks.notes.append(
            f"{name} is taken as degrees, as is said, though none of {len(values)} angles exceeds {largest:.4g}: if "
            f"they are radians, convert them or name others with --angles"
        )
        return values
    span = float(values.max() - values.min())
    step = span / (len(values) - 1)
    # A half or a whole turn, with its end point or without.
    if min(abs(span + s - turn) for s in (0.0, step) for turn in (math.pi, 2 * math.pi)) < step / 4 + 1e-3:
        remarks.notes.append(f"{name} says no unit: taken as radians, as the views span {span / math.pi:.4g} pi")
        return np.degrees(values)
    remarks.problems.append(
        f"expected {name} in degrees, got {len(values)} angles that look like radians: none exceeds {largest:.4g}, "
        f"where 2 pi = 6.283 and scans span 180 or 360 degrees. Set its attribute units='rad' or, if they are degrees, "
        f"units='deg'; or name others with --angles"
    )
    return values
