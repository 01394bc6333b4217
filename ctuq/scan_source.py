"""A scan on disk: its header, and rows of its detector when they are asked for, never the volume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from ctuq.errors import InputError
from ctuq.frames import Array, Frames
from ctuq.hdf5 import damage_named
from ctuq.scan_header import ScanHeader, ScanParts


@dataclass(frozen=True, eq=False)
class CountRows:
    """Raw counts of some detector rows.

    Args:
        counts: (angle, row, col).
        flats: (frame, row, col), of the open beam; (1, row, 1) where the file has one value for all pixels.
        darks: (frame, row, col), without beam, likewise; zeros where there are none.
    """

    counts: Array
    flats: Array
    darks: Array


@dataclass(frozen=True, eq=False)
class LineIntegralRows:
    """Line integrals of some detector rows.

    Args:
        values: (angle, row, col), dimensionless.
        noise_variance: as the values, one number, or None where the file does not say.
    """

    values: Array
    noise_variance: Array | float | None


Rows: TypeAlias = CountRows | LineIntegralRows


@dataclass(frozen=True, eq=False)
class ScanSource:
    """An open scan; `ctuq.scan_file.opened_scan` lends one.

    Args:
        header: what the file says of itself.
        parts: where its numbers are.
    """

    header: ScanHeader
    parts: ScanParts

    def rows(self, start: int, stop: int) -> Rows:
        """Detector rows start to stop, as the file has them. Memory is what they take.

        Blocks that start and stop at multiples of `header.rows_together` unpack nothing twice.

        Raises:
            InputError: the header has problems, there are no such rows, or what is on disk is damaged or was never
                written. Counts that are no numbers are passed on, see `ctuq.missing_counts`.
        """
        path, data = self.header.path, self.parts.data
        if self.header.problems or data is None:
            problems = [f"- {problem}" for problem in self.header.problems]
            raise InputError("\n".join([f"{path} cannot be read as a scan:", *problems]))
        n_rows = data.shape[1]
        if not 0 <= start < stop <= n_rows:
            wanted = f"{start}" if stop == start + 1 else f"{start} to {stop - 1}"
            raise InputError(f"{path}: expected a row from 0 to {n_rows - 1}, got {wanted}: choose one of those")
        with damage_named(path):
            values = data.read(start, stop)
            if self.header.units == "line_integral":
                return LineIntegralRows(values, self._noise_variance(start, stop))
            flats, darks = (_read(frames, start, stop) for frames in (self.parts.flats, self.parts.darks))
        return CountRows(values, flats, darks)

    def _noise_variance(self, start: int, stop: int) -> Array | float | None:
        variance = self.parts.noise_variance
        return variance if variance is None or isinstance(variance, float) else variance.read(start, stop)


def _read(frames: Frames | None, start: int, stop: int) -> Array:
    return np.zeros((1, stop - start, 1)) if frames is None else frames.read(start, stop)
