"""Counts to line integrals: flats, darks and the logarithm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Transmission:
    """Line integrals of one detector row.

    Args:
        line_integrals: (angle, col), dimensionless.
        variance: of them, one a ray.
        notes: what was clipped.
    """

    line_integrals: NDArray[np.float64]
    variance: NDArray[np.float64]
    notes: tuple[str, ...] = ()


def line_integrals(counts: NDArray[Any], flats: NDArray[Any], darks: NDArray[Any]) -> Transmission:
    """-log((counts - dark) / (flat - dark)), with counts that are not above the dark clipped to half a count.

    Args:
        counts: (angle, col).
        flats: (frame, col), or (1, 1) for one value.
        darks: likewise.
    """
    measured = np.asarray(counts, dtype=np.float64)
    dark = np.asarray(darks, dtype=np.float64).mean(axis=0)
    signal = measured - dark
    open_beam = np.maximum(np.asarray(flats, dtype=np.float64).mean(axis=0) - dark, 0.5)
    notes = []
    for what, bad in (("zero", measured == 0), ("negative", measured < 0), ("dark", (measured > 0) & (signal <= 0))):
        if bad.any():
            notes.append(f"{int(bad.sum())} of {bad.size} counts are {what}: clipped to half a count above the dark")
    clipped = np.maximum(signal, 0.5)
    return Transmission(-np.log(clipped / open_beam), 1 / clipped + 1 / (open_beam * len(flats)), tuple(notes))
