"""Frames in HDF5: any order of axes, interleaved with other frames, chunked or not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctuq.frames import Array, ConstantFrame, Frames
from ctuq.hdf5 import find_dataset, text_of
from ctuq.remarks import Remarks

_SLAB = 64 * 2**20  # bytes read at a time
_STANDARD = (0, 1, 2)
_AXES = (("theta", "angle", "frame", "rotation"), ("y", "row", "detector_y"), ("x", "col", "detector_x"))
_COUNTED = ("views", "detector rows", "detector pixels")


@dataclass(frozen=True, eq=False)
class Hdf5Frames:
    """Frames (frame, row, col) of a dataset.

    Args:
        name: path of the dataset.
        dataset: of three axes, or two for a single frame.
        axes: which axes of the dataset are frame, row and col; a single frame has (row, col).
        chosen: which frames belong, ascending; None: all.
    """

    name: str
    dataset: Any
    axes: tuple[int, ...] = _STANDARD
    chosen: NDArray[np.int64] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(frame, row, col)."""
        rows, cols = (int(self.dataset.shape[axis]) for axis in self.axes[-2:])
        return self._n_stored if self.chosen is None else len(self.chosen), rows, cols

    @property
    def rows_together(self) -> int:
        """Rows in a chunk; 1 where the file has none."""
        chunks = self.dataset.chunks
        return 1 if chunks is None else min(int(chunks[self.axes[-2]]), self.shape[1])

    def of(self, chosen: NDArray[np.int64]) -> Hdf5Frames:
        """Only these of the stored frames, ascending."""
        return Hdf5Frames(self.name, self.dataset, self.axes, chosen)

    def read(self, start: int, stop: int) -> Array:
        """Rows start to stop of every frame, a slab of whole chunks at a time."""
        frames, _, cols = self.shape
        out = np.empty((frames, stop - start, cols), dtype=self.dataset.dtype.newbyteorder("="))
        chosen = np.arange(frames) if self.chosen is None else self.chosen
        step = self._frames_at_a_time((stop - start) * cols)
        for first in range(0, self._n_stored, step):
            low, high = np.searchsorted(chosen, (first, first + step))
            if low < high:
                begin, end = int(chosen[low]), int(chosen[high - 1]) + 1
                out[low:high] = self._slab(begin, end, start, stop)[chosen[low:high] - begin]
        return out

    @property
    def _n_stored(self) -> int:
        stored: int = self.dataset.shape[self.axes[0]] if len(self.axes) == 3 else 1
        return stored

    def _frames_at_a_time(self, pixels: int) -> int:
        together = 1 if self.dataset.chunks is None or len(self.axes) < 3 else int(self.dataset.chunks[self.axes[0]])
        fitting: int = _SLAB // max(1, pixels * int(self.dataset.dtype.itemsize))
        return together * max(1, fitting // together)

    def _slab(self, begin: int, end: int, start: int, stop: int) -> Array:
        if len(self.axes) == 2:
            window = [slice(None), slice(None)]
            window[self.axes[0]] = slice(start, stop)
            return np.transpose(self.dataset[tuple(window)], self.axes)[None]
        window = [slice(None)] * 3
        window[self.axes[0]], window[self.axes[1]] = slice(begin, end), slice(start, stop)
        return np.transpose(self.dataset[tuple(window)], self.axes)


def projections(file: Any, name: str, remarks: Remarks) -> Hdf5Frames | None:
    """The projections: a dataset of three axes, (theta, y, x) unless its attribute `axes` has another order."""
    dataset = find_dataset(file, name, "the projections (theta, y, x)", remarks)
    if dataset is None:
        return None
    shape = tuple(int(n) for n in dataset.shape)
    if len(shape) != 3:
        hint = "write data[:, None, :]" if len(shape) == 2 else "write one scan a file"
        remarks.problems.append(f"expected {name} with three axes (theta, y, x), got shape {shape}: {hint}")
        return None
    axes = _axes(dataset, name, remarks)
    if axes is None:
        return None
    frames = Hdf5Frames(name, dataset, axes)
    for count, what in zip(frames.shape, _COUNTED, strict=True):
        if count == 0:
            remarks.problems.append(
                f"expected {name} with at least one each of (views, rows, detectors), got zero {what}"
            )
    return frames


def reference_frames(file: Any, name: str, holds: str, like: Hdf5Frames | None, remarks: Remarks) -> Frames | None:
    """Flats or darks: a stack, a single frame, or one value for every pixel.

    Args:
        file: the file.
        name: path of the dataset.
        holds: flats or darks, for messages.
        like: the projections, whose detector they must have.
        remarks: to append to.
    """
    dataset = find_dataset(file, name, holds, remarks)
    if dataset is None or like is None:
        return None
    _, rows, cols = like.shape
    if dataset.size == 1 and rows * cols > 1:
        return ConstantFrame(name, float(np.asarray(dataset[()]).item()), rows, cols)
    fitting = [frames for frames in _readings(dataset, name, like, remarks) if frames.shape[1:] == (rows, cols)]
    if not fitting:
        remarks.problems.append(
            f"expected {holds} in {name} of the projections' detector (rows, pixels) = {(rows, cols)}, as a stack, one "
            f"frame or one value, got shape {tuple(dataset.shape)}: are they of another scan, or binned otherwise?"
        )
        return None
    if len({frames.axes for frames in fitting}) > 1:
        remarks.problems.append(
            f"expected one way to read {holds} in {name}, got shape {tuple(dataset.shape)}, which fits two orders of "
            f"axes: set its attribute axes, such as 'theta:y:x'"
        )
        return None
    return fitting[0]


def _readings(dataset: Any, name: str, like: Hdf5Frames, remarks: Remarks) -> list[Hdf5Frames]:
    """By its own attribute, or else in the standard order and in that of the projections."""
    if dataset.ndim == 2:
        order = tuple(sorted(like.axes[1:]))
        theirs = tuple(order.index(axis) for axis in like.axes[1:])
        return [Hdf5Frames(name, dataset, axes) for axes in dict.fromkeys(((0, 1), theirs))]
    if dataset.ndim != 3:
        return []
    if text_of(dataset.attrs.get("axes")):
        axes = _axes(dataset, name, remarks)
        return [] if axes is None else [Hdf5Frames(name, dataset, axes)]
    return [Hdf5Frames(name, dataset, axes) for axes in dict.fromkeys((_STANDARD, like.axes))]


def _axes(dataset: Any, name: str, remarks: Remarks) -> tuple[int, ...] | None:
    said = text_of(dataset.attrs.get("axes")).strip()
    if not said:
        return _STANDARD
    words = [word.lower() for word in re.split(r"[:,;\s]+", said) if word]
    found = tuple(
        next((place for place, word in enumerate(words) if word in known or word.split("_")[0] == known[0]), -1)
        for known in _AXES
    )
    if len(words) != 3 or sorted(found) != [0, 1, 2]:
        remarks.problems.append(
            f"expected the attribute axes of {name} to order theta, y and x, such as 'theta:y:x', got {said!r}: "
            f"correct that attribute"
        )
        return None
    return found
