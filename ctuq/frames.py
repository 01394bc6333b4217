"""A stack of detector frames that stays on disk until rows of it are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]


class Frames(Protocol):
    """(frame, row, col), in whatever file and order."""

    @property
    def name(self) -> str:
        """Where it is, for messages."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(frame, row, col)."""

    @property
    def rows_together(self) -> int:
        """Rows that cost no more than one, as they are stored together."""

    def read(self, start: int, stop: int) -> Array:
        """Rows start to stop of every frame, (frame, row, col) or (1, row, 1), as numbers of the file's own type."""


@dataclass(frozen=True)
class ConstantFrame:
    """One frame with the same value everywhere.

    Args:
        name: where the value is.
        value: of every pixel.
        rows: of the frame.
        cols: of the frame.
    """

    name: str
    value: float
    rows: int
    cols: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(1, row, col)."""
        return 1, self.rows, self.cols

    @property
    def rows_together(self) -> int:
        """All: there is one number."""
        return self.rows

    def read(self, start: int, stop: int) -> Array:
        """(1, row, 1) float64: a row of it is one number, which is exact, where a frame would have noise."""
        return np.full((1, stop - start, 1), self.value)
