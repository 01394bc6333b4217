"""Counts that are not there: how many of a detector row a scan can do without, and when it was never measured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctuq.errors import InputError

MOST_MISSING = 0.1
"""Share of a row's counts that may be NaN or infinite: those rays are masked. More is a file gone wrong."""


def require_counts(frames: NDArray[np.float64], name: str, *, may_be_zero: bool = False) -> None:
    """Say what no correction can mend, of one detector row.

    Args:
        frames: (view or frame, col); NaN where there is no count.
        name: what they are, for the message.
        may_be_zero: whether frames of nothing but zeros are measurements.

    Raises:
        InputError: more counts are missing than `MOST_MISSING`, or all of a view or frame.
    """
    missing = np.isnan(frames)
    if missing.mean() > MOST_MISSING:
        raise InputError(
            f"expected finite counts in the {name}, got {int(missing.sum())} of {missing.size} NaN or infinite, more "
            f"than {MOST_MISSING:.0%}, which could be masked: was the file written whole? Leave those frames out"
        )
    nothing = missing if may_be_zero else missing | (frames == 0)
    empty = np.asarray(nothing.all(axis=1))
    if empty.any():
        what = "NaN" if may_be_zero else "zeros or NaN"
        raise InputError(
            f"expected counts in all {name}, got {int(empty.sum())} of {len(empty)} with nothing but {what} (the "
            f"first is {int(empty.argmax())}): was the file never finished? Mark them invalid, or leave them out"
        )
