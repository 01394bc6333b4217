"""In which order to measure views that were chosen together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence


def motor_order(angles_rad: Sequence[float], present_rad: float, *, endless: bool = True) -> list[int]:
    """The order of least travel from where the motor stands, exact for any number of views.

    On a line the shortest path goes to one end first and then to the other. On a circle there is a gap between
    neighbours that it never crosses, and then the circle is a line: all gaps are tried.

    Args:
        angles_rad: of the motor.
        present_rad: where it stands.
        endless: whether it turns through 2π and on; otherwise angles are places on a line, and it has to turn back.

    Returns:
        Indices of `angles_rad`.
    """
    offsets = [angle - present_rad for angle in angles_rad]
    if not endless:
        return _shorter(offsets)
    upwards = [offset % (2 * math.pi) for offset in offsets]
    gaps = sorted({*upwards, 2 * math.pi}, reverse=True)
    unrolled = ([up if up < gap else up - 2 * math.pi for up in upwards] for gap in gaps)
    return min((_shorter(offsets) for offsets in unrolled), key=lambda order: _travel(order, upwards))


def _shorter(offsets: Sequence[float]) -> list[int]:
    """Of all views on a line, from 0: the nearer end first."""
    order = sorted(range(len(offsets)), key=lambda i: offsets[i])
    below = [i for i in reversed(order) if offsets[i] < 0]
    above = [i for i in order if offsets[i] >= 0]
    reach_below, reach_above = -min([0.0, *offsets]), max([0.0, *offsets])
    return below + above if reach_below < reach_above else above + below


def _travel(order: Sequence[int], upwards: Sequence[float]) -> float:
    """Length of a path on the circle that always takes the shorter way."""
    stops = [0.0, *(upwards[i] for i in order)]
    apart = [abs(after - before) for before, after in itertools.pairwise(stops)]
    return sum(min(step, 2 * math.pi - step) for step in apart)
