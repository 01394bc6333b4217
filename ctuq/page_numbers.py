"""Arrays as a page stores them: a byte or two a number, compressed, in text that its script unpacks."""

from __future__ import annotations

import base64
import gzip
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Packed = dict[str, Any]
"""What goes into the page's JSON; templates/unpack.js reads it."""


def finite(values: Iterable[float]) -> list[float | None]:
    """Numbers as JSON knows them, None in place of NaN and infinities."""
    return [float(value) if math.isfinite(value) else None for value in values]


def packed(content: bytes) -> str:
    """Compressed, in base64. The same bytes give the same text."""
    return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode("ascii")


def packed_levels(values: NDArray[Any], *, n_bytes: int) -> Packed:
    """Evenly spaced levels between the lowest and the highest finite value; the first level stands for all others.

    Args:
        values: (rows, cols).
        n_bytes: a number: 1 for what is only looked at, 2 (a step is 1/65,534 of the range) for what is read off.
    """
    finite = np.isfinite(values)
    low, high = (float(values[finite].min()), float(values[finite].max())) if finite.any() else (0.0, 0.0)
    step = (high - low) / (256**n_bytes - 2) or 1.0
    levels = np.zeros(values.shape, dtype=f"<u{n_bytes}")
    levels[finite] = 1 + np.rint((values[finite].astype(np.float64) - low) / step)
    shape = {"rows": values.shape[0], "cols": values.shape[1]}
    return {**shape, "low": low, "step": step, "n_bytes": n_bytes, "levels": packed(levels.tobytes())}


def averaged(values: NDArray[Any], factors: tuple[int, int]) -> NDArray[Any]:
    """(..., rows, cols) with blocks of so many rows and columns averaged into one number; a remainder is repeated."""
    if factors == (1, 1):
        return values
    ends = [(0, -n % factor) for n, factor in zip(values.shape[-2:], factors, strict=True)]
    padded = np.pad(values, [(0, 0)] * (values.ndim - 2) + ends, mode="edge")
    rows, cols = (n // factor for n, factor in zip(padded.shape[-2:], factors, strict=True))
    return np.asarray(padded.reshape(*values.shape[:-2], rows, factors[0], cols, factors[1]).mean(axis=(-3, -1)))
