"""Counts that are not there: how many of a detector row a scan can do without, and when it was never measured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctuq.errors import InputError


def require_counts(frames: NDArray[np.float64], name: str) -> None:
    """Say what no correction can mend, of one detector row.

    Args:
        frames: (view or frame, col).
        name: what they are, for the message.

    Raises:
        InputError: views with nothing but zeros.
    """
    empty = (frames == 0).all(axis=1)
    if empty.any():
        raise InputError(
            f"expected counts in all {name}, got {int(empty.sum())} of {len(empty)} with nothing but zeros (the "
            f"first is {int(empty.argmax())}): was the file never finished? Mark them invalid, or leave them out"
        )
