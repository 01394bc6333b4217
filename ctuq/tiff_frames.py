"""Frames in TIFF files, one a file or several in one, read a frame at a time."""

from __future__ import annotations

import math
import re
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile

from ctuq.frames import Array
from ctuq.remarks import Remarks

_NUMBERS = "fiu"


@dataclass(frozen=True, eq=False)
class TiffFrames:
    """Frames (frame, row, col), in the order of their names.

    Args:
        name: pattern that they were found by.
        pages: file and number of the page of each frame.
        detector: (row, col) of every page.
        dtype: of every page.
    """

    name: str
    pages: tuple[tuple[Path, int], ...]
    detector: tuple[int, int]
    dtype: np.dtype[np.generic]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(frame, row, col)."""
        return len(self.pages), *self.detector

    @property
    def rows_together(self) -> int:
        """All: a frame is unpacked as a whole."""
        return self.detector[0]

    def read(self, start: int, stop: int) -> Array:
        """Rows start to stop of every frame; one frame at a time is in memory."""
        out = np.empty((len(self.pages), stop - start, self.detector[1]), dtype=self.dtype)
        with ExitStack() as stack:
            opened: dict[Path, tifffile.TiffFile] = {}
            for index, (path, page) in enumerate(self.pages):
                if path not in opened:
                    stack.close()
                    opened = {path: stack.enter_context(tifffile.TiffFile(path))}
                out[index] = opened[path].pages[page].asarray()[start:stop]
        return out


def tiff_frames(folder: Path, pattern: str, holds: str, remarks: Remarks) -> TiffFrames | None:
    """The frames of the files that match a pattern, numbers in their names in the order of numbers.

    Args:
        folder: that the pattern starts from.
        pattern: a file's name, or one with * and ?.
        holds: what they are to hold, for messages.
        remarks: to append to.
    """
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        remarks.problems.append(f"expected {holds} below {folder}, got {pattern}: name them from that folder")
        return None
    paths = sorted((path for path in folder.glob(pattern) if path.is_file()), key=_by_number)
    if not paths:
        remarks.problems.append(f"expected {holds} as {folder / pattern}, got no such file: check the name")
        return None
    remarks.files += [folder, *paths, *(path.parent for path in paths)]
    pages: list[tuple[Path, int]] = []
    kinds: dict[tuple[tuple[int, ...], np.dtype[np.generic]], str] = {}
    for path in paths:
        try:
            with tifffile.TiffFile(path) as file:
                sizes = _pages(file)
                kinds.update((kind, path.name) for kind in sizes)
                pages += [(path, number) for number in range(len(sizes))]
        except Exception as error:  # noqa: BLE001  what tifffile has for files that it cannot make sense of
            remarks.problems.append(f"expected an undamaged TIFF file, got {path.name}, which is not: {error}")
            return None
    if len(kinds) > 1:
        got = ", ".join(f"{shape} {dtype} in {name}" for (shape, dtype), name in list(kinds.items())[:3])
        remarks.problems.append(f"expected {holds} of one shape and type in {pattern}, got {got}: sort them out")
        return None
    (shape, dtype), name = next(iter(kinds.items()))
    if len(shape) != 2 or dtype.kind not in _NUMBERS:
        remarks.problems.append(
            f"expected grey images (row, col) of numbers in {pattern}, got {shape} {dtype} in {name}: convert them"
        )
        return None
    return TiffFrames(pattern, tuple(pages), (shape[0], shape[1]), dtype)


def _pages(file: tifffile.TiffFile) -> list[tuple[tuple[int, ...], np.dtype[np.generic]]]:
    """Shape and type of every page; raises ValueError where pixels are missing."""
    found: list[tuple[tuple[int, ...], np.dtype[np.generic]]] = []
    size = file.filehandle.size
    for page in file.pages:
        ends = [begin + length for begin, length in zip(page.dataoffsets, page.databytecounts, strict=True)]
        if not ends or max(ends) > size or min(page.databytecounts) == 0:
            raise ValueError("it is cut short")
        kind = page.keyframe
        if kind is None or kind.dtype is None:
            raise ValueError("its pixels are of no type")
        found.append((kind.shape, kind.dtype))
    if file.series and file.series[0].size > sum(math.prod(shape) for shape, _ in found):
        raise ValueError("it holds more frames than pages; write a page a frame")
    return found


def _by_number(path: Path) -> list[tuple[int, str]]:
    """Sorts projection_2 before projection_10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", str(path))]
